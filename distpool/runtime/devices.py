"""What the operating system does for us beyond Python's library: the death signal of a child process."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Any

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """Be killed when the thread that started this process ends; at once if `parent_pid` is not the parent any more.

    On other systems than Linux this does nothing: there the lane's end of file is the only watch.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes: Any = import_module("ctypes")  # here, as only templates and workers need it
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        os._exit(1)
