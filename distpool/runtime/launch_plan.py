"""How a group's workers are started, and what they need to know of the program."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from distpool.runtime.native_threads import share_of_processors
from distpool.runtime.worker_setup import WorkerSetup
from distpool.store.create import own_memory


class LaunchPlan(msgspec.Struct, frozen=True):
    """How a group's workers are started. `names`: `ForkPoolWorker` gives ForkPoolWorker-1 and so on. `shares`: groups
    with the same have one template; it is that of the first, so they have no initializer, and plans alike but for
    `threads`: of BLAS and OpenMP in a worker; 0: its share of the processors. `needs_all`: it is an error if this
    process cannot have so many."""

    start_method: str
    size: int
    names: str
    daemon: bool
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    maybe_encoding_error: bool = False
    breaks: bool = False
    extended_results: bool = False
    shares: str = ""
    threads: int = 0
    needs_all: bool = False

    def native_threads(self) -> int:
        """How many BLAS and OpenMP have in each worker, on this machine."""
        return self.threads or share_of_processors(self.size)


def worker_setup(plan: LaunchPlan, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> WorkerSetup:
    """What the workers of a group of this process need to know, as it is now."""
    return WorkerSetup(
        initializer,
        initargs,
        maybe_encoding_error=plan.maybe_encoding_error,
        breaks=plan.breaks,
        extended_results=plan.extended_results,
        program=own_memory()[0],
        native_threads=plan.native_threads(),
        log_levels=_log_levels(),
        interruptible=signal.getsignal(signal.SIGINT) is not signal.SIG_IGN,
    )


def _log_levels() -> dict[str, int]:
    """The levels that this process has set."""
    if "logging" not in sys.modules:
        return {}
    from distpool.runtime.logs import snapshot_of_levels  # imports logging, which a program need not have

    return snapshot_of_levels()
