"""Children forked from a process in which values lie in shared memory: how long they may look at it.

A pipe's writing end is left open in the child and in what it forks; its end is the end of the last of them.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable

_kept: list[int] = []
"""In a child: the writing ends. They are closed by the kernel, also when the child becomes another program."""


class ForkGuards:
    """The forks whose children may live."""

    def __init__(self) -> None:
        self._open: dict[int, Callable[[], None]] = {}
        self._new: list[tuple[int, int]] = []

    def open(self, on_end: Callable[[], None]) -> None:
        """Before a fork; `look` calls `on_end` after the end of the child."""
        reader, writer = os.pipe()
        self._new.append((reader, writer))
        self._open[reader] = on_end

    def forked(self, *, is_child: bool) -> None:
        """After the fork, on both sides."""
        while self._new:
            _, writer = self._new.pop()
            if is_child:
                _kept.append(writer)
            else:
                os.close(writer)
        if is_child:
            for reader in self._open:
                os.close(reader)
            self._open.clear()

    def has_open(self) -> bool:
        return bool(self._open)

    def look(self) -> None:
        """Tell of children that have ended."""
        if not self._open:
            return
        poll = select.poll()
        for reader in self._open:
            poll.register(reader, select.POLLIN)
        for reader, _ in poll.poll(0):
            os.close(reader)
            self._open.pop(reader)()
