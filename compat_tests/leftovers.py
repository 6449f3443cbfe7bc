"""The processes that a class of tests leaves behind: found by the mark in their environment, counted and ended.

A mark is inherited by every child and grandchild, whatever session or parent it has by now.
"""

import os
import signal
import time
from pathlib import Path

MARK = "COMPAT_CLASS"
# Services of the standard library end by themselves when they see their last user gone.
PATIENCE_S = 5.0


def end_leftovers(mark: str) -> list[str]:
    """End every process with this mark that does not end by itself within a few seconds; describes each."""
    give_up_at = time.monotonic() + PATIENCE_S
    while (pids := _marked(mark)) and time.monotonic() < give_up_at:
        time.sleep(0.02)
    described = [f"{pid}: {_command_line(pid)}" for pid in pids]
    while pids:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # ended meanwhile
        time.sleep(0.02)
        pids = _marked(mark)
    return described


def kill_all(mark: str) -> None:
    """End every process with this mark now."""
    for pid in _marked(mark):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # ended meanwhile


def _marked(mark: str) -> list[int]:
    entry = f"{MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # A process that has ended and waits to be reaped has no environment any more.
            if entry in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue  # another user's, or ended meanwhile
    return found


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:200]
    except OSError:
        return "(just ended)"
