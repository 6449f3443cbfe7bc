"""Actors of other programs of the cluster: this one calls them through their owners, as a guest.

    ForeignLife.method(...).remote ──► ForeignWorkers ── CallActor ──► owner
    TaskRef ──► Promise ◄── ForeignCalls ◄────────────── ActorTold ◄── owner

Calls have promises of this program, as its own have. What arguments need travels in their pickle.
"""

from __future__ import annotations

import pickle
import time
import weakref
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import msgspec

from distpool.actors.methods import ActorMethod
from distpool.actors.options import ActorOptions, MethodOptions
from distpool.actors.reference import Referable
from distpool.actors.traits import decoded
from distpool.actors.turns import Turns
from distpool.base_errors import ForeignProcess, InvalidRef
from distpool.logic.streams import STREAM
from distpool.objects.promises import TaskRef
from distpool.objects.refs import ObjectRef, noting_refs
from distpool.objects.stores import get_value
from distpool.objects.whole import whole
from distpool.protocol.actors import ActorEnd
from distpool.protocol.messages import CallMode, OutcomeKind
from distpool.protocol.names import ActorTold, CallActor, CancelActorCall, EndActor, NamedActor, place_of
from distpool.runtime.instance import MADE_OF, Method, Traits, construct
from distpool.runtime.main_view import ImportedMain, MainView
from distpool.runtime.notices import Notice
from distpool.serialization.buffers import parts_of
from distpool.serialization.pickling import blame, named_arguments
from distpool.serialization.remote_errors import encode_failure
from distpool.tasks.calls import Task

if TYPE_CHECKING:
    from distpool.runtime.programs import Programs
    from distpool.runtime.session import Session


class ForeignCalls:
    """Those of one session that have not ended. Owned by whoever holds its loop, but for what says otherwise."""

    def __init__(self, session: Session, programs: Programs) -> None:
        self.session = session
        self.programs = programs
        self.lives: WeakValueDictionary[tuple[int, int], ForeignLife] = WeakValueDictionary()
        """By the life of their owner and its number of them. Any thread may look."""
        self.mains: dict[int, MainView] = {}
        """What the workers of owners have of this program's `__main__`, by the lives of those where it is anything."""
        self.has_keeper = False
        """There is a keeper, which the next detached actor will want."""
        self.gone: dict[int, str] = {}
        """Why, of owners that have ended."""
        self._pending: dict[int, tuple[ForeignLife, Task]] = {}
        self._numbers = count(1)
        programs.told, programs.lost, programs.over = self._told, self._lost, self._over
        programs.has_handles = lambda: bool(self.lives or self._pending or self.has_keeper)

    def life_of(self, actor: NamedActor) -> ForeignLife:
        """By any thread; the same for all handles. Raises ProtocolError."""
        key = actor.life, actor.actor
        life = self.lives.get(key)
        if life is None:
            life = self.lives.setdefault(key, ForeignLife(self, actor))
            weakref.finalize(life, _look_again, self.session).atexit = False
        return life

    def send(self, life: ForeignLife, task: Task, message: CallActor) -> None:
        if not task.begin():
            return  # it was cancelled
        why = self.gone.get(life.actor.life)
        if why is not None:
            self._end(life, task, OutcomeKind.ACTOR_DIED, why)
            return
        number = next(self._numbers)
        self._pending[number] = (life, task)
        self.programs.say(life.place, msgspec.structs.replace(message, number=number))

    def cancel(self, task: Task) -> None:
        """It has ended as cancelled."""
        for number, (life, other) in self._pending.items():
            if other is task:
                self.programs.say(life.place, CancelActorCall(number))
                return

    def _told(self, told: ActorTold) -> None:
        life, task = self._pending.pop(told.number, (None, None))
        if life is None or task is None:
            return
        kind, payload = told.kind, told.payload
        if kind in (OutcomeKind.ACTOR_DIED, OutcomeKind.ACTOR_UNAVAILABLE):
            try:
                end = msgspec.msgpack.decode(payload, type=ActorEnd)
            except msgspec.DecodeError:
                end = ActorEnd("its owner does not say why", life.class_plan.name, 0.0)
            payload = msgspec.msgpack.encode(msgspec.structs.replace(end, at=time.monotonic() - max(0.0, end.at)))
        self._at_rest(task, (kind, payload), told.cause)

    def _lost(self, owner: int, why: str, is_gone: bool) -> None:
        """With the calls that it had. Of an owner that is gone nothing more can be had."""
        if is_gone:
            self.gone[owner] = why
        lost = [number for number, (life, _) in self._pending.items() if life.actor.life == owner]
        for number in lost:
            life, task = self._pending.pop(number)
            if is_gone:
                self._end(life, task, OutcomeKind.ACTOR_DIED, why)
            else:
                text = f"{task.promises[0].name} may have run, and its result is lost: {why}"
                self._end(life, task, OutcomeKind.ACTOR_UNAVAILABLE, text)

    def _over(self) -> None:
        """This program leaves the cluster."""
        while self._pending:
            _, (_, task) = self._pending.popitem()
            task.end((int(OutcomeKind.TERMINATED), b""))

    def _end(self, life: ForeignLife, task: Task, kind: OutcomeKind, text: str) -> None:
        end = ActorEnd(text, life.class_plan.name, time.monotonic())
        self._at_rest(task, (int(kind), msgspec.msgpack.encode(end)), "")

    def _at_rest(self, task: Task, outcome: tuple[int, Any], cause: str) -> None:
        self.session.loop.completions.append(Notice(task.end, outcome, cause))  # type: ignore[arg-type]


class ForeignArguments:
    """Of calls of one actor: pickles with all that they need."""

    def __init__(self, main: MainView) -> None:
        self._main = main

    def function_named(self, method: Method, name: str) -> Method:
        """Methods travel by their names."""
        return method

    def pickle_arguments(self, method: Method, inline: None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Raises what pickling raises, and InvalidRef for refs inside values. Refs themselves arrive as values."""
        return self._pickled((), args, kwargs)

    def pickle_call(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], leading: tuple[str, ...] = ()
    ) -> bytes:
        """The same with what is to be called. `leading`: see `named_arguments`."""
        return self._pickled((function,), args, kwargs, leading)

    def _pickled(
        self, function: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any], leading: tuple[str, ...] = ()
    ) -> bytes:
        values = tuple(get_value(value) if type(value) is ObjectRef else value for value in args)
        named = {name: get_value(value) if type(value) is ObjectRef else value for name, value in kwargs.items()}
        try:
            return self.whole((*function, values, named))
        except InvalidRef:
            raise
        except Exception as error:
            blamed = [*named_arguments(args, kwargs, leading), *(("the function", each) for each in function)]
            raise blame(error, blamed, self._main) from None

    def dump(self, value: Any) -> Any:
        return parts_of(value, self._main)

    def whole(self, value: Any) -> bytes:
        parts, refs = noting_refs(self.dump, value)
        if refs:
            raise InvalidRef(
                f"{refs[0]!r} is inside an argument for an actor of another program, where nobody could ask for it: "
                "pass the ref itself, which arrives as its value, or the value"
            )
        return whole(parts)


def pickled_construction(
    main: MainView, actor_class: type, traits: Traits, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> bytes:
    """The call of an actor's constructor, for another process to have it run; refs among the arguments are waited for.
    Raises what pickling raises, InvalidRef, and what the tasks have raised."""
    args = tuple(value.result() if type(value) is TaskRef else value for value in args)
    kwargs = {name: value.result() if type(value) is TaskRef else value for name, value in kwargs.items()}
    return ForeignArguments(main).pickle_call(construct, (actor_class, tuple(traits), *args), kwargs, MADE_OF)


class ForeignWorkers:
    """In the place of an actor's group of workers, for its methods."""

    def __init__(self, calls: ForeignCalls, life: ForeignLife) -> None:
        self._calls = calls
        self._life = weakref.ref(life)
        self.arguments = ForeignArguments(calls.mains.get(life.actor.life) or ImportedMain(importable=False))
        self.poke = calls.session.helm.poke

    def hand_in_call(
        self, method: Method, call: Any, task: Task, options: Any, name: str = "", mode: CallMode = CallMode.CALL
    ) -> None:
        """See `Workers.hand_in_call`."""
        life = self._life()
        if life is None or self._calls.session.is_foreign:
            raise ForeignProcess("an actor of another program is called by the process that has found it")
        try:
            # What lies in the store of this process, others cannot reach.
            pickled = call if type(call) is bytes else self.arguments.whole(pickle.loads(call.pickled))
        except Exception as error:
            task.end((int(OutcomeKind.ERROR), encode_failure(error)))
            return
        group = method.group or None
        message = CallActor(0, life.actor.actor, method.name, pickled, group, options.retries, method.returns)
        self._calls.session.loop.post(self._calls.send, life, task, message)

    def wait(
        self, is_done: Callable[[], bool], timeout_s: float | None, passively: Callable[[float | None], Any]
    ) -> bool:
        """See `Workers.wait`."""
        return self._calls.session.wait(is_done, timeout_s, passively)

    def look_again(self) -> None:
        """See `Workers.look_again`."""
        self._calls.session.post(_do_nothing)

    def cancel(self, task: Task, *, force: bool) -> None:
        """See `Workers.cancel`. `force` would be the actor's end."""
        self._calls.session.post(self._calls.cancel, task)


class ForeignLife(Referable):
    """An actor of another program, for as long as there is a handle of it here: its owner does not know of that."""

    def __init__(self, calls: ForeignCalls, actor: NamedActor) -> None:
        """Raises ProtocolError."""
        self.actor = actor
        self.place = place_of(actor)
        self.class_plan, self.traits, retries = decoded(actor.traits)
        self.options = ActorOptions(max_task_retries=retries, name=actor.name)
        self.number = hash((actor.life, actor.actor))
        self.turns = Turns()
        self.workers: Any = ForeignWorkers(calls, self)
        self._calls = calls

    def method(self, name: str, options: MethodOptions) -> ActorMethod:
        """Raises TypeError for a generator."""
        if options.returns == STREAM:
            raise TypeError(
                f"{self.class_plan.name}.{name} is a generator, and {self!r} is of another program, to which its items "
                "do not travel one by one: have a method that returns a list of them"
            )
        return ActorMethod(self, name, options)

    def kill(self, *, no_restart: bool) -> None:
        """See `kill`."""
        self._calls.programs.say(self.place, EndActor(self.actor.actor, not no_restart))

    def __repr__(self) -> str:
        name = f" {self.actor.name!r}" if self.actor.name else ""
        return f"<actor {self.class_plan.name}{name} of {self.actor.program}>"


def _look_again(session: Session) -> None:
    """The last handle of an actor is gone: see whether the session is needed."""
    if not (session.is_foreign or session.loop.is_closed):
        session.post(_do_nothing)


def _do_nothing() -> None:
    pass
