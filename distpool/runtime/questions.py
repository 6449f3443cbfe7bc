"""Questions of threads to other processes: each waits for its answer, which the loop hears."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec

from distpool.base_errors import DistpoolError
from distpool.protocol.messages import Message
from distpool.runtime.handles import Wait


class Question(msgspec.Struct, eq=False):
    """One that is asked. `to_head`: that is said again to the next head; `life`: of the owner that is asked instead.
    `is_over`: it is answered, or will not be any more."""

    to_head: Message | None = None
    life: int = 0
    answer: Any = None
    is_over: bool = False


class Questions:
    """Those that are open. Owned by whoever holds the loop, but for `ask`, which any thread may call."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._open: dict[int, Question] = {}
        self._post: Callable[..., None] = _refuse
        self._wait: Wait = _refuse
        self._is_over: Callable[[], bool] = bool

    def begin(self, post: Callable[..., None], wait: Wait, is_over: Callable[[], bool]) -> None:
        """By the session that uses it. `post`: have the holder of the loop do something; `wait`: let this thread wait
        until something is so, at most so many seconds; `is_over`: the session has ended."""
        self._post, self._wait, self._is_over = post, wait, is_over

    def ask(
        self, message: Callable[[int], Message], say: Callable[[Message], None], limit_s: float | None, life: int = 0
    ) -> Any:
        """Have `message(number)` said: the answer, or None when there is none. `life`: of the owner that is asked, and
        not the head. Raises DistpoolError when this program leaves its cluster meanwhile."""
        number = next(self._numbers)
        asked = message(number)
        question = self._open[number] = Question(life=life) if life else Question(asked)
        try:
            self._post(say, asked)
            self._wait(lambda: question.is_over, limit_s)
        finally:
            del self._open[number]
            question.is_over = True
        if question.answer is None and self._is_over():
            raise DistpoolError("this program has left its cluster while it asked: distpool.shutdown was called")
        return question.answer

    def answered(self, number: int, answer: Message) -> Question | None:
        """The question; None: nobody waits for the answer any more."""
        question = self._open.get(number)
        if question is not None:
            question.answer = answer
            question.is_over = True
        return question

    def to_head(self) -> list[Message]:
        """Those that a head has not answered."""
        return [question.to_head for question in list(self._open.values()) if question.to_head is not None]

    def owner_lost(self, life: int) -> None:
        """Those to it are not answered any more."""
        for question in list(self._open.values()):
            if question.life == life:
                question.is_over = True

    def end(self) -> None:
        """No question is answered any more."""
        for question in list(self._open.values()):
            question.is_over = True


def _refuse(*args: Any) -> None:
    raise DistpoolError("this program takes no part in its cluster yet")
