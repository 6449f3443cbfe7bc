"""What people ask of the process of a head or node, and its answers: its log, and what its threads and workers do.

Files and other processes take their time, so each question has a thread of its own; the answers are taken by the loop's
holder.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path

from distpool.ids import Address
from distpool.protocol.cluster import AskLog
from distpool.protocol.inquiries import (
    LOG_BYTES,
    STACK_CHARACTERS,
    STACKS_CHARACTERS,
    LogTold,
    NodeTold,
    NotTold,
    ProcessStack,
    Question,
    StacksTold,
)
from distpool.runtime.own_log import Place, log_path, log_place, part_of_log
from distpool.runtime.stacks import askable_processes, stacks_of, those_below

_MOST_AT_ONCE = 4


class Inquiries:
    """Owned by whoever holds the loop."""

    def __init__(self, home: Path, name: str) -> None:
        """`home`: the cluster's folder. `name`: of this node, or "head"."""
        self._log = log_path(home, name)
        self._place = log_place(home, name)
        self._under_way = 0
        self._answers: deque[tuple[Address, NodeTold]] = deque()
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Ready when there are answers."""
        # Held while the counter is changed, and the descriptor used or closed.
        self._lock = threading.Lock()
        self._is_closed = False

    def handle(self, asker: Address, question: Question) -> None:
        if self._under_way >= _MOST_AT_ONCE:
            why = f"{_MOST_AT_ONCE} questions are being answered there already: ask again"
            self._answers.append((asker, NodeTold(question.number, NotTold(why))))
            return
        with self._lock:
            self._under_way += 1
        threading.Thread(target=self._run, args=(asker, question), name="distpool-inquiry", daemon=True).start()

    def has_answers(self) -> bool:
        return bool(self._answers)

    def take_answers(self) -> list[tuple[Address, NodeTold]]:
        """Each with who has asked."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.descriptor)
        answers = []
        while self._answers:
            answers.append(self._answers.popleft())
        return answers

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            os.close(self.descriptor)

    # By a thread ----------------------------------------------------------------------------------------------------

    def _run(self, asker: Address, question: Question) -> None:
        try:
            answer: LogTold | StacksTold | NotTold = self._told(question) if isinstance(question, AskLog) else _stacks()
        except Exception as error:  # whatever it is, somebody waits for an answer
            answer = NotTold(str(error) or repr(error))
        with self._lock:
            self._under_way -= 1
            self._answers.append((asker, NodeTold(question.number, answer)))
            if not self._is_closed:
                os.eventfd_write(self.descriptor, 1)

    def _told(self, asked: AskLog) -> LogTold:
        after = Place(asked.file, asked.offset) if asked.file else None
        text, place = part_of_log(self._log, after, LOG_BYTES)
        return LogTold(text, place.file, place.offset, self._place)


def _stacks() -> StacksTold:
    """Of this process and its workers, and no more of them than may be told."""
    processes = those_below({os.getpid()}, askable_processes())
    left = STACKS_CHARACTERS
    told = []
    for process, stack in zip(processes, stacks_of(processes), strict=True):
        shown = _cut(stack, min(STACK_CHARACTERS, left))
        left -= len(shown)
        told.append(ProcessStack(process.pid, process.role, shown))
    return StacksTold(told)


def _cut(stack: str, most: int) -> str:
    note = f"\n(cut off: it has {len(stack)} characters)"
    return stack if len(stack) <= most else f"{stack[: max(0, most - len(note))]}{note}"[:most]
