"""Parents and children beyond Python's library: the death signal of a child, orphans adopted."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent_pid: int) -> None:
    """Be killed when the thread that started this process ends; at once if `parent_pid` is not the parent any more.

    On other systems than Linux this does nothing: there the lane's end of file is the only watch.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if sys.platform.startswith("linux") and os.getppid() != parent_pid:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of descendants that lose theirs, so that they can be found."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if not sys.platform.startswith("linux"):
        return
    ctypes: Any = import_module("ctypes")  # here, as only templates and workers need it
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")
