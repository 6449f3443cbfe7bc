"""The other programs of the cluster: which actors with names there are, as the head says, and the way to and from them.

user's thread ── find, claim ──► head ── NameTold ──► user's thread
ForeignLife ── call ──► Owners ══ link ══► Guests of the owner ──► Hosted
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import msgspec

from distpool.base_errors import HeadUnreachable
from distpool.config import Settings
from distpool.ids import CLIENT, Address
from distpool.logic.outbox import Outbox
from distpool.logic.times import earlier
from distpool.protocol.cluster import LetIn, Rejoined
from distpool.protocol.messages import Message
from distpool.protocol.names import ActorStarted, ActorTold, ClaimName, FreeName, NamedActor, NameTold, Place
from distpool.roles.role import unexpected
from distpool.runtime.guests import Guests, Serve
from distpool.runtime.handles import Wait
from distpool.runtime.hosting import RemoteHead
from distpool.runtime.joining import own_host
from distpool.runtime.owners import Owners
from distpool.transport.keys import Identity

OF_HEAD = NameTold | LetIn | Rejoined

_log = logging.getLogger("distpool")


class SessionEnded(Exception):
    """The session had nothing to do, and has ended before it could ask: the next one can."""


class Question(msgspec.Struct, eq=False):
    """One that a thread waits for the answer to. `to_head`: that is said again to the next head; `life`: of the owner
    that was asked instead. `is_over`: it is answered, or will not be any more."""

    to_head: Message | None = None
    life: int = 0
    answer: NameTold | ActorStarted | None = None
    is_over: bool = False


class Programs:
    """Stands in the loop of a program that uses a cluster. Owned by whoever holds it, but for what says otherwise."""

    def __init__(self, identity: Identity, head: RemoteHead, settings: Settings) -> None:
        self.outbox = Outbox()
        self.life = head.greeting.life
        """Of this program."""
        self.name = head.name
        self.serve: Serve = _ignore
        """Sees to what guests say."""
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
        self._post: Callable[..., None] = _ignore
        self.wait: Wait = _ignore
        self._is_over: Callable[[], bool] = bool
        self._numbers = count(1)
        self._questions: dict[int, Question] = {}
        # Names of this program's actors, to be claimed again of another head.
        self._claims: dict[tuple[str, str], NamedActor] = {}

    def begin(self, post: Callable[..., None], wait: Wait, is_over: Callable[[], bool]) -> None:
        """By the session that uses it. `post`: have the holder of the loop do something; `wait`: let this thread wait
        until something is so, at most so many seconds; `is_over`: the session has ended."""
        self._post, self.wait, self._is_over = post, wait, is_over

    # By any thread --------------------------------------------------------------------------------------------------

    def are_used(self) -> bool:
        """Somebody waits for an answer, or has a handle of another program's actor."""
        return bool(self._questions) or self.has_handles()

    def ask_head(self, question: Callable[[int], Message]) -> NameTold:
        """What it says of a name. Raises HeadUnreachable when it does not answer in time, and SessionEnded."""
        number = next(self._numbers)
        asked = Question(question(number))
        told = self._ask(number, asked, partial(self._tell_head, asked.to_head), self._settings.connect_limit_s)
        if isinstance(told, NameTold):
            return told
        raise HeadUnreachable(
            f"the head at {self._head.connection.endpoint}, which knows the names of actors, did not answer within "
            f"{self._settings.connect_limit_s:g} s: does it run, and can it be reached?"
        )

    def ask_owner(self, place: Place, question: Callable[[int], Message]) -> ActorStarted | None:
        """What it answers; None when it is lost before. Raises SessionEnded."""
        number = next(self._numbers)
        told = self._ask(number, Question(life=place.life), partial(self._say_now, place, question(number)), None)
        return told if isinstance(told, ActorStarted) else None

    def _ask(
        self, number: int, question: Question, say: Callable[[], None], limit_s: float | None
    ) -> NameTold | ActorStarted | None:
        self._questions[number] = question
        try:
            self._post(say)
            self.wait(lambda: question.is_over, limit_s)
        finally:
            del self._questions[number]
            question.is_over = True
        if question.answer is None and self._is_over():
            raise SessionEnded
        return question.answer

    def say(self, place: Place, message: Message) -> None:
        """To an owner."""
        self._post(self._say_now, place, message)

    def free(self, actor: NamedActor) -> None:
        """It is dead."""
        self._post(self._free, actor)

    # By the holder --------------------------------------------------------------------------------------------------

    def listen(self, serve: Serve) -> Guests:
        """Hear other programs from now on. Raises DistpoolError when that cannot be."""
        if self._guests is None:
            host = own_host(self._head.connection.endpoint)
            self._guests = Guests(f"tcp://{host}:0", self._identity, self.life, self._settings, serve)
            for descriptor in self._guests.descriptors():
                self._watch(descriptor)
        return self._guests

    def answer(self, guest: str, message: Message) -> None:
        """To a guest, if it is still there."""
        if self._guests is not None:
            self._guests.send(guest, message)

    def have_guests(self) -> bool:
        return self._guests is not None and self._guests.are_there()

    def hear(self, message: Any, now: float) -> None:
        """What the head says."""
        match message:
            case NameTold():
                self._name_told(message)
            case LetIn():
                if self._guests is not None:
                    self._guests.let_in(message)
            case Rejoined():
                for claimed in self._claims.values():
                    self._tell_head(ClaimName(0, claimed))
                for question in list(self._questions.values()):
                    if question.to_head is not None:
                        self._tell_head(question.to_head)

    def _name_told(self, told: NameTold) -> None:
        question = self._questions.get(told.number)
        if question is not None:
            question.answer = told
            question.is_over = True
        actor = told.actor
        if actor is None:
            return
        key = actor.namespace, actor.name
        if actor.life != self.life:
            if self._claims.pop(key, None) is not None:
                _log.warning(
                    "the name %r of an actor is that of one of %s now: the head had given this program up",
                    actor.name,
                    actor.program,
                )
        elif question is not None and isinstance(question.to_head, ClaimName):
            if question.to_head.actor.actor == actor.actor:
                self._claims[key] = question.to_head.actor
        elif key not in self._claims:
            self._tell_head(FreeName(*key, actor.actor))  # nobody waits for it any more

    def _owner_lost(self, life: int, why: str, is_gone: bool) -> None:
        for question in list(self._questions.values()):
            if question.life == life:
                question.is_over = True
        self.lost(life, why, is_gone)

    def _owner_told(self, message: Message) -> None:
        if isinstance(message, ActorTold):
            self.told(message)
        elif isinstance(message, ActorStarted):
            question = self._questions.get(message.number)
            if question is not None:
                question.answer = message
                question.is_over = True

    def _tell_head(self, message: Message | None) -> None:
        self._head.handle(CLIENT, message, time.monotonic())

    def _say_now(self, place: Place, message: Message) -> None:
        self._owners.say(place, message, time.monotonic())

    def _free(self, actor: NamedActor) -> None:
        if self._claims.pop((actor.namespace, actor.name), None) is not None:
            self._tell_head(FreeName(actor.namespace, actor.name, actor.actor))

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
        for question in list(self._questions.values()):
            question.is_over = True
        self.over()
        self._owners.close()
        if self._guests is not None:
            self._guests.close()


def _ignore(*args: Any) -> None:
    pass
