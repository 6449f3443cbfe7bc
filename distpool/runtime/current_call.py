"""In a worker: which of its calls runs, for what that starts. A thread that has outlived its own call counts to it."""

from __future__ import annotations

from contextvars import ContextVar

DEPTH = [0]
"""Its one item: how many calls the one that this worker runs is in."""

NUMBER = [0]
"""Its one item: which call this worker runs, or is to run next, of all that it begins one after another."""

NUMBER_BESIDE: ContextVar[int | None] = ContextVar("NUMBER_BESIDE", default=None)
"""Which call this thread or coroutine is of, where calls run beside each other."""


def be_new() -> None:
    """This worker has run none yet, whatever ran in the process that it was forked from."""
    DEPTH[0] = NUMBER[0] = 0


def number_of_call() -> int:
    """Of the call that starts another."""
    beside = NUMBER_BESIDE.get()
    return NUMBER[0] if beside is None else beside
