"""What workers ask their program for with regard to actors: it starts them, finds them by their names, and ends them.

What asks the head of a cluster for names does so on a thread of its own: a turn that waited within another for what
that one has begun would wait for ever.

For each handle that a worker gets there is a promise that the worker has given a number and keeps: it stands for the
actor, as the one does by which a handle travels.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from distpool.actors.foreign import ForeignLife
from distpool.actors.life import LIVES, Life
from distpool.actors.names import all_names, begun, find
from distpool.base_errors import InvalidRef
from distpool.ids import GroupId, LeaseId
from distpool.logic.promises import Promise
from distpool.objects.promises import is_above
from distpool.objects.refs import FROM_ABOVE
from distpool.objects.whole import whole_of
from distpool.protocol.upcalls import FindActor, KillActor, StartActor
from distpool.runtime.addresses import head_address
from distpool.runtime.aside import Aside
from distpool.runtime.own_way_up import way_up
from distpool.tasks.numbered import all_known

if TYPE_CHECKING:
    from distpool.tasks.questions import Questions


class ActorsServed:
    """Of the workers of one session. Called at rest."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._aside = Aside()

    def start(
        self, lease: LeaseId, asked: StartActor, promise: Promise, call: Any, needed: list[Promise | None]
    ) -> None:
        """`call`: its constructor's, pickled."""

        class_plan, options = pickle.loads(asked.plan)

        def started() -> Life | ForeignLife:
            found = all_known(needed, f"actor {class_plan.name}")
            life = Life(class_plan, options)
            return begun(
                life, lambda: life.begin_pickled(call, found), lambda main: _for_keeper(class_plan.name, call, found)
            )

        asks_head = options.name is not None or options.lifetime == "detached"
        self._give(lease, asked.number, promise, started, asks_head=asks_head)

    def find(self, lease: LeaseId, asked: FindActor, promise: Promise, group: GroupId | None) -> None:
        """`group`: that the worker is of."""

        def found() -> Life | ForeignLife:
            try:
                return find(asked.name, asked.namespace) if asked.name else _life_of(group)
            except ValueError as error:
                if FROM_ABOVE:
                    error.add_note(
                        f"worker {os.getpid()} has made the pool of the worker that asks, which finds the actors of "
                        "that worker and not those of its program"
                    )
                raise

        self._give(lease, asked.number, promise, found, asks_head=bool(asked.name))

    def list(self, lease: LeaseId, number: int) -> None:
        self._answer(lease, number, all_names, asks_head=True)

    def kill(self, promise: Promise | None, may_restart: bool) -> None:
        if promise is not None and is_above(promise):
            way_up().tell(KillActor(promise.number, may_restart))
        elif promise is not None and promise.call is not None:
            promise.call.kill(no_restart=not may_restart)

    def _give(
        self, lease: LeaseId, number: int, promise: Promise, get: Callable[[], Life | ForeignLife], *, asks_head: bool
    ) -> None:
        def given() -> Any:
            life = get()
            promise.name = f"actor {life.class_plan.name}"
            promise.call = life
            return life.class_plan, life.traits, life.number

        self._answer(lease, number, given, asks_head=asks_head)

    def _answer(self, lease: LeaseId, number: int, get: Callable[[], Any], *, asks_head: bool) -> None:
        """Tell the worker what `get` gives or raises."""
        if asks_head and head_address() is not None:
            self._aside.run(lambda: self._questions.answer_soon(lease, number, _what_it_gives(get)))
        else:
            self._questions.answer(lease, number, get)


def _what_it_gives(get: Callable[[], Any]) -> Callable[[], Any]:
    """It is called now, and what it has given or raised is given or raised again."""
    try:
        value = get()
    except Exception as error:
        return partial(_raise, error)
    return lambda: value


def _raise(error: Exception) -> None:
    raise error


def _for_keeper(name: str, call: Any, needed: list[Promise]) -> bytes:
    """The call of a constructor as another process can use it, which was pickled for this one's workers. Raises
    InvalidRef for one that has refs in it."""
    if type(call) is bytes:
        pickled: Any = call
    else:
        pickled = call.pickled if call.claim.needs_nothing() else whole_of(call.pickled)
    if needed or not isinstance(pickled, bytes):
        raise InvalidRef(
            f"a worker has started a detached actor of class {name} with refs among its constructor's arguments, which "
            "are good in this program only: give it values, or start it in the program"
        )
    return pickled


def _life_of(group: GroupId | None) -> Life:
    life = None if group is None else LIVES.get(group)
    if life is None:
        raise RuntimeError("the worker is no actor's, or nobody has a handle of that actor any more")
    return life
