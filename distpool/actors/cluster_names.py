"""Names of actors that all programs of a cluster find: claimed of its head, and looked up there.

A name is claimed before its actor begins: of two programs that ask for the same at once, one starts the actor, and the
other finds it, or hears who has it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from distpool.actors.foreign import ForeignCalls, ForeignLife
from distpool.actors.hosted import Hosted
from distpool.actors.life import Life
from distpool.actors.traits import encoded
from distpool.base_errors import DistpoolError
from distpool.logic.actor_plan import ActorState
from distpool.protocol.names import NamedActor, NameTold
from distpool.runtime.guests import Guests
from distpool.runtime.programs import Programs, SessionEnded
from distpool.runtime.session import Session, session_of_cluster

_TRIES = 5

Result = TypeVar("Result")


class ClusterNames:
    """Of one session. Any thread may call any method."""

    def __init__(self, session: Session, programs: Programs) -> None:
        self.session = session
        self.programs = programs
        self.hosted = Hosted(session, programs)
        self.foreign = ForeignCalls(session, programs)

    def begin_named(
        self, life: Life, namespace: str, name: str, begin: Callable[[], None], *, is_detached: bool = False
    ) -> NamedActor:
        """Begin this actor, if nobody else has its name: the actor that has it. Raises what `begin` raises, ValueError
        for a name that cannot be had, and HeadUnreachable."""
        guests = self.listening()
        traits = encoded(life.class_plan, life.traits, life.options)
        class_name = life.class_plan.name
        actor = NamedActor(
            namespace, name, guests.endpoint, guests.public, life.number, class_name, traits, is_detached
        )
        is_ours = False
        self.hosted.expect(life.number)
        try:
            told = self.programs.names.claim(actor)
            if told.actor is None:
                raise ValueError(f"the actor cannot have the name {name!r}: {told.refusal}")
            if (told.actor.life, told.actor.actor) == (self.programs.life, life.number):
                try:
                    begin()
                except BaseException:
                    self.programs.free(actor)
                    raise
                is_ours = True
                life.workers.on_over = partial(self.programs.free, actor)
            return told.actor
        finally:
            self.hosted.begun(life.number, life if is_ours else None)

    def find(self, namespace: str, name: str) -> NameTold:
        """What the head knows of it. Raises HeadUnreachable."""
        return self.programs.names.find(namespace, name)

    def life_of(self, actor: NamedActor) -> Life | ForeignLife | None:
        """None: it is this program's, and dead. Raises RuntimeError as `Hosted.await_begin` does."""
        if actor.life != self.programs.life:
            return self.foreign.life_of(actor)
        self.hosted.await_begin(actor.actor)
        life = self.hosted.find(actor.actor)
        if life is None or life.state is ActorState.DEAD:
            self.programs.free(actor)
            return None
        return life

    def listening(self) -> Guests:
        """Have others call actors of this program. Raises DistpoolError when it cannot listen."""

        def listen() -> Guests:
            if self.session.loop.is_closed:
                raise DistpoolError("this program has left its cluster")
            return self.programs.listen(self.hosted.serve)

        return self.session.helm.exclusively(listen)


def in_cluster(do: Callable[[ClusterNames], Result]) -> Result:
    """What `do` gives with the names of this process's cluster, in which it stays meanwhile. Raises DistpoolError
    without its head."""
    while True:
        names = cluster_names()
        exclusively = names.session.helm.exclusively
        try:
            exclusively(names.programs.begin_use)
        except SessionEnded:
            continue  # it had nothing to do, and has ended in this moment: there is another
        try:
            return do(names)
        finally:
            exclusively(names.programs.end_use)
            names.session.stay()


def named(life: Life, namespace: str, begin: Callable[[], None]) -> Life | ForeignLife:
    """The actor that has the name which `life` is to have: this one, which begins then, or another."""
    return in_cluster(lambda names: _named(names, life, namespace, begin))


def _named(names: ClusterNames, life: Life, namespace: str, begin: Callable[[], None]) -> Life | ForeignLife:
    name = life.options.name or ""
    for _ in range(_TRIES):
        actor = names.begin_named(life, namespace, name, begin)
        found = names.life_of(actor)
        if found is life or (found is not None and life.options.get_if_exists):
            return found
        if found is not None:
            raise ValueError(taken_text(name, namespace, actor))
    raise RuntimeError(f"the name {name!r} was taken by an actor that had died, {_TRIES} times one after the other")


def taken_text(name: str, namespace: str, actor: NamedActor) -> str:
    return (
        f"the name {name!r} in namespace {namespace!r} is taken by an actor of class {actor.class_name} of "
        f"{actor.program}: take another, kill that actor, or say get_if_exists=True to have it"
    )


def found(name: str, namespace: str) -> tuple[Life | ForeignLife | None, tuple[str, ...]]:
    """The actor of this name; or None, and others that there are."""
    return in_cluster(lambda names: _found(names, name, namespace))


def _found(names: ClusterNames, name: str, namespace: str) -> tuple[Life | ForeignLife | None, tuple[str, ...]]:
    told = names.find(namespace, name)
    return (None if told.actor is None else names.life_of(told.actor)), told.others


_current: list[ClusterNames] = []
_making = threading.Lock()


def cluster_names() -> ClusterNames:
    """Those of this process's session. Raises DistpoolError without its head, and where it uses no cluster."""
    session = session_of_cluster()
    if session is None or session.far is None:
        raise DistpoolError("this program uses no cluster any more: distpool.shutdown, or init, was called meanwhile")
    with _making:
        if not _current or _current[0].session is not session:
            _current[:] = [ClusterNames(session, session.far.programs)]
        return _current[0]


def _after_fork_in_child() -> None:
    global _making
    _making = threading.Lock()
    _current.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
