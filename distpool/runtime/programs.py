"""The other programs of the cluster: which actors with names there are, as the head says, and the way to and from them.

user's thread ── find, claim ──► head ── NameTold ──► user's thread
ForeignLife ── call ──► Owners ══ link ══► Guests of the owner ──► Hosted
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from distpool.config import Settings
from distpool.ids import CLIENT, Address
from distpool.logic.outbox import Outbox
from distpool.logic.times import earlier
from distpool.protocol.cluster import LetIn, Listens, Rejoined
from distpool.protocol.messages import Message
from distpool.protocol.names import ActorStarted, ActorTold, NamedActor, NameTold, Place
from distpool.roles.role import unexpected
from distpool.runtime.guests import Guests, Serve
from distpool.runtime.handles import Wait
from distpool.runtime.head_names import HeadNames
from distpool.runtime.hosting import RemoteHead
from distpool.runtime.joining import own_host
from distpool.runtime.owners import Owners
from distpool.runtime.questions import Questions
from distpool.transport.keys import Identity

OF_HEAD = NameTold | LetIn | Rejoined


class SessionEnded(Exception):
    """The session had nothing to do, and has ended before it could ask: the next one can."""


class Programs:
    """Stands in the loop of a program that uses a cluster. Owned by whoever holds it, but for what says otherwise."""

    def __init__(self, identity: Identity, head: RemoteHead, settings: Settings) -> None:
        self.outbox = Outbox()
        self.life = head.greeting.life
        """Of this program."""
        self.name = head.name
        self.told: Callable[[ActorTold], None] = _ignore
        """Sees to what owners say of calls."""
        self.lost: Callable[[int, str, bool], None] = _ignore
        """See `Owners`."""
        self.over: Callable[[], None] = _ignore
        """This program leaves the cluster."""
        self.has_handles: Callable[[], bool] = bool
        """Whether handles of other programs' actors keep this one in its cluster."""
        self._identity = identity
        self._head = head
        self._settings = settings
        self._guests: Guests | None = None
        self._owners = Owners(identity, head.greeting, settings, self._owner_told, self._owner_lost)
        self._watch: Callable[[int], None] = _ignore
        self._questions = Questions()
        self.names = HeadNames(head, self._questions, settings)
        self.post: Callable[..., None] = _ignore
        self.wait: Wait = _ignore
        self._is_over: Callable[[], bool] = bool
        self._uses = 0

    def begin(self, post: Callable[..., None], wait: Wait, is_over: Callable[[], bool]) -> None:
        """See `Questions.begin`."""
        self.post, self.wait, self._is_over = post, wait, is_over
        self._questions.begin(post, wait, is_over)

    def are_used(self) -> bool:
        """Somebody is about to ask, or has a handle of another program's actor."""
        return bool(self._uses) or self.has_handles()

    def begin_use(self) -> None:
        """This program stays in its cluster until `end_use`. With the helm held. Raises SessionEnded when it has left
        already."""
        if self._is_over():
            raise SessionEnded
        self._uses += 1

    def end_use(self) -> None:
        """With the helm held."""
        self._uses -= 1

    # By any thread --------------------------------------------------------------------------------------------------

    def ask_owner(self, place: Place, question: Callable[[int], Message]) -> ActorStarted | None:
        """What it answers; None when it is lost before. Raises DistpoolError when this program leaves its cluster."""
        told = self._questions.ask(question, partial(self._say_now, place), None, place.life)
        return told if isinstance(told, ActorStarted) else None

    def say(self, place: Place, message: Message) -> None:
        """To an owner."""
        self.post(self._say_now, place, message)

    def free(self, actor: NamedActor) -> None:
        """It is dead."""
        self.post(self.names.free, actor)

    # By the holder --------------------------------------------------------------------------------------------------

    def listen(self, serve: Serve) -> Guests:
        """Hear other programs from now on; the head says which, before it tells anybody of an actor that is claimed
        after this. Raises DistpoolError when that cannot be."""
        if self._guests is None:
            host = own_host(self._head.connection.endpoint)
            self._guests = Guests(f"tcp://{host}:0", self._identity, self.life, self._settings, serve)
            for descriptor in self._guests.descriptors():
                self._watch(descriptor)
            self._tell_head(Listens())
        return self._guests

    def answer(self, guest: str, message: Message) -> None:
        """To a guest, if it is still there."""
        if self._guests is not None:
            self._guests.send(guest, message)

    def head_heard_at(self) -> float:
        """When the head was heard of last."""
        return self._head.heard_at

    def have_guests(self) -> bool:
        return self._guests is not None and self._guests.are_there()

    def hear(self, message: Any, now: float) -> None:
        """What the head says."""
        match message:
            case NameTold():
                self.names.told(message)
            case LetIn():
                if self._guests is not None:
                    self._guests.let_in(message)
            case Rejoined():
                if self._guests is not None:
                    self._tell_head(Listens())
                self.names.head_is_another()

    def _owner_lost(self, life: int, why: str, is_gone: bool) -> None:
        self._questions.owner_lost(life)
        self.lost(life, why, is_gone)

    def _owner_told(self, message: Message) -> None:
        if isinstance(message, ActorTold):
            self.told(message)
        elif isinstance(message, ActorStarted):
            self._questions.answered(message.number, message)

    def _tell_head(self, message: Message) -> None:
        self._head.handle(CLIENT, message, time.monotonic())

    def _say_now(self, place: Place, message: Message) -> None:
        self._owners.say(place, message, time.monotonic())

    # As a stand-in --------------------------------------------------------------------------------------------------

    def attach(self, watch: Callable[[int], None]) -> None:
        self._watch = watch
        self._owners.attach(watch)

    def has_some(self) -> bool:
        return self._owners.has_some() or (self._guests is not None and self._guests.has_some())

    def handle(self, sender: Address, message: Any, now: float) -> None:
        raise unexpected("programs", sender, message)

    def receive(self, now: float) -> None:
        if self._guests is not None:
            self._guests.receive(now)
        self._owners.receive(now)

    def decide(self, now: float) -> float | None:
        return None

    def flush(self, now: float) -> float | None:
        """Send what is due; when to be asked again."""
        due = self._owners.flush(now)
        return due if self._guests is None else earlier(due, self._guests.flush(now))

    def close(self) -> None:
        self._questions.end()
        self.over()
        self._owners.close()
        if self._guests is not None:
            self._guests.close()


def _ignore(*args: Any) -> None:
    pass
