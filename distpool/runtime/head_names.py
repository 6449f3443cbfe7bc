"""What a program asks its head about names of actors, and those that its own have, of which the next head is told."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from distpool.base_errors import HeadUnreachable
from distpool.config import Settings
from distpool.ids import CLIENT
from distpool.protocol.messages import Message
from distpool.protocol.names import ClaimName, FindName, FreeName, NamedActor, NameTold
from distpool.runtime.hosting import RemoteHead
from distpool.runtime.questions import Questions

_log = logging.getLogger("distpool")


class HeadNames:
    """Owned by whoever holds the loop, but for what says otherwise."""

    def __init__(self, head: RemoteHead, questions: Questions, settings: Settings) -> None:
        self._head = head
        self._questions = questions
        self._settings = settings
        self._life = head.greeting.life
        self._claims: dict[tuple[str, str], NamedActor] = {}

    # By any thread --------------------------------------------------------------------------------------------------

    def claim(self, actor: NamedActor) -> NameTold:
        """Have this actor of this program get its name; who has it then. Raises HeadUnreachable when the head does not
        answer in time, and DistpoolError when this program leaves its cluster meanwhile."""
        return self._ask(lambda number: ClaimName(number, actor))

    def find(self, namespace: str, name: str) -> NameTold:
        """Who has it. Raises the same."""
        return self._ask(lambda number: FindName(number, namespace, name))

    def _ask(self, question: Callable[[int], Message]) -> NameTold:
        told = self._questions.ask(question, self._tell, self._settings.connect_limit_s)
        if isinstance(told, NameTold):
            return told
        raise HeadUnreachable(
            f"the head at {self._head.connection.endpoint}, which knows the names of actors, did not answer within "
            f"{self._settings.connect_limit_s:g} s: does it run, and can it be reached?"
        )

    # By the holder --------------------------------------------------------------------------------------------------

    def free(self, actor: NamedActor) -> None:
        """It is dead. Said twice, it changes nothing."""
        if self._claims.pop((actor.namespace, actor.name), None) is not None:
            self._tell(FreeName(actor.namespace, actor.name, actor.actor))

    def told(self, told: NameTold) -> None:
        """An answer of the head."""
        question = self._questions.answered(told.number, told)
        asked = None if question is None else question.to_head
        actor = told.actor
        if actor is None:
            return
        key = actor.namespace, actor.name
        if actor.life != self._life:
            if self._claims.pop(key, None) is not None:
                _log.warning(
                    "the name %r of an actor is that of one of %s now: the head had given this program up",
                    actor.name,
                    actor.program,
                )
        elif isinstance(asked, ClaimName):
            if asked.actor.actor == actor.actor:
                self._claims[key] = asked.actor
        elif key not in self._claims:
            self._tell(FreeName(*key, actor.actor))  # it was claimed, and nobody waited for the answer any more

    def head_is_another(self) -> None:
        """Or has given this program up: it is told and asked again."""
        for claimed in self._claims.values():
            self._tell(ClaimName(0, claimed))
        for question in self._questions.to_head():
            self._tell(question)

    def _tell(self, message: Message) -> None:
        self._head.handle(CLIENT, message, time.monotonic())
