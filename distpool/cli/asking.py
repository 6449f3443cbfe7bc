"""Questions of commands to nodes on whatever machine, by way of the head."""

from __future__ import annotations

from itertools import count
from types import TracebackType
from typing import TypeVar

import msgspec

from distpool.base_errors import DistpoolError, HeadUnreachable
from distpool.logic.shown import shown_lines
from distpool.protocol.inquiries import LogTold, NodeTold, NotTold, Question, StacksTold
from distpool.settings import current
from distpool.transport.keys import KeyFolder, Part

_ANSWER_LIMIT_S = 10.0

Answer = TypeVar("Answer", LogTold, StacksTold)


class Asking:
    """A connection to the head, which needs a driver's key. To be used by `with`."""

    def __init__(self, address: str | None) -> None:
        """`address`: of the head, by argument. Raises DistpoolError."""
        from distpool.runtime.contact import find_head
        from distpool.runtime.joining import join

        settings = current().constants
        folder = KeyFolder.of_user()
        self._head = join(find_head(address, folder), "question", folder.identity(Part.DRIVER), settings)
        # It is a node that answers, which may have to look at many processes.
        limit_s = max(_ANSWER_LIMIT_S, settings.connect_limit_s)
        self._settings = msgspec.structs.replace(settings, connect_limit_s=limit_s)
        self._numbers = count(1)

    def next_number(self) -> int:
        """Of a question."""
        return next(self._numbers)

    def answer(self, question: Question, kind: type[Answer]) -> Answer:
        """Raises DistpoolError when there is none, and says why."""
        from distpool.runtime.joining import ask

        try:
            told = ask(self._head, question, NodeTold, self._settings)
        except HeadUnreachable as error:
            if error.step != "answer":
                raise
            raise DistpoolError(
                f"node {question.node!r} has not answered within {self._settings.connect_limit_s:g} s: is its process "
                "stopped, or its machine busy? `distpool status` shows whether it is there"
            ) from None
        if isinstance(told.answer, NotTold):
            raise DistpoolError(shown_lines(told.answer.why))
        assert isinstance(told.answer, kind)
        return told.answer

    def __enter__(self) -> Asking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._head.leave()
