"""`concurrent.futures` on distpool's runtime: the process pool is distpool's, all else the standard library's."""

from __future__ import annotations

from concurrent import futures as _standard
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    InvalidStateError,
    ThreadPoolExecutor,
    TimeoutError,
)
from typing import Any

from distpool.interrupts import deferred

with deferred():  # see there what an interrupt does in an import
    from distpool.futures.completion import as_completed, wait
    from distpool.futures.process import BrokenProcessPool, ProcessPoolExecutor


def __getattr__(name: str) -> Any:
    """What the standard module of a newer Python has beside these names."""
    return getattr(_standard, name)


__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "BrokenExecutor",
    "BrokenProcessPool",
    "CancelledError",
    "Executor",
    "Future",
    "InvalidStateError",
    "ProcessPoolExecutor",
    "ThreadPoolExecutor",
    "TimeoutError",
    "as_completed",
    "wait",
]
