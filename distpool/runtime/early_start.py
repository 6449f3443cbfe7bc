"""The template of a program's first pool: it starts before the runtime is imported, so that both happen at once.

It imports what only workers need while the program imports the rest, and its plan is sent when it is made.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from distpool.runtime.forks import Fork
from distpool.runtime.interpreter import Interpreter

_OF_BOTH_SIDES = (
    "objects.stores",
    "runtime.descendants",
    "runtime.descriptor_limit",
    "runtime.main_view",
    "runtime.template_plan",
    "runtime.yielding",
    "serialization.remote_errors",
    "transport.lanes",
)
"""Imported before a fork, once, as the program and its workers need it."""

_local = threading.local()


@contextmanager
def starting_early(start_method: str) -> Iterator[None]:
    """Within, this thread opens a pool: the process of its template starts at once."""
    _local.early = early_fork() if start_method == "fork" else Interpreter([])
    try:
        yield
    finally:
        early, _local.early = _local.early, None
        if early is not None:
            early.discard()


def early_fork() -> Fork | None:
    """None where another thread may hold a lock, of an import for one, for which the child would wait for ever."""
    for name in _OF_BOTH_SIDES:
        import_module(f"distpool.{name}")
    return Fork() if len(sys._current_frames()) == 1 else None


def take_interpreter(descriptors: list[int]) -> Interpreter:
    """One for the pool that this thread opens: it inherits `descriptors`."""
    early = getattr(_local, "early", None)
    if not isinstance(early, Interpreter) or descriptors:
        return Interpreter(descriptors)
    _local.early = None
    return early


def take_fork() -> Fork | None:
    """The one that this thread has forked for the pool that it opens, if it has."""
    early = getattr(_local, "early", None)
    if not isinstance(early, Fork):
        return None
    _local.early = None
    return early
