"""The interpreter is about to end: what this process's executors do then, while threads can still be waited for."""

from __future__ import annotations

import sys
import threading

from distpool.runtime.workers import OPEN_WORKERS

ENDING: list[bool] = []
"""Not empty once the interpreter has begun to end: no call can be submitted any more."""


def _drain_at_exit() -> None:
    """Executors finish what was submitted, as the standard ones do, unless the program was ended by Ctrl-C."""
    ENDING.append(True)
    if issubclass(getattr(sys, "last_type", None) or Exception, KeyboardInterrupt):
        return
    for workers in list(OPEN_WORKERS.values()):
        if workers.drains_at_exit:
            workers.close()
    for workers in list(OPEN_WORKERS.values()):
        if workers.drains_at_exit:
            workers.join()


threading._register_atexit(_drain_at_exit)  # type: ignore[attr-defined]
