"""Ctrl-C reaches every process of a terminal: while one is being started, the driver alone hears it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SIGINT = {signal.SIGINT}


@contextmanager
def held_back() -> Iterator[bool]:
    """Within, this thread does not take it, and a process that it starts does not either until it lets it in. Gives
    whether it is to do so, as this thread did."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGINT)
    try:
        yield signal.SIGINT not in before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def let_in() -> None:
    """In a process that was started so, when it knows what to do."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGINT)


def disregard(signum: int, frame: Any) -> None:
    """The handler of a worker that is not ready. Not SIG_IGN, which programs that it starts would inherit."""
