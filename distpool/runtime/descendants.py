"""What workers have started: found when a worker has died, and ended with it."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Container

_ROUNDS_LIMIT = 50


def children_of(pid: int) -> list[int]:
    """The processes whose parent is a thread of this one."""
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as listed:
                children.extend(map(int, listed.read().split()))
    except OSError:
        pass  # It, or one of its threads, has ended in this moment.
    return children


def kill_orphans(spared: Container[int], limit_s: float) -> None:
    """Kill and reap every child of this process that is not spared, and theirs, who become its children by that."""
    until = time.monotonic() + limit_s
    for _ in range(_ROUNDS_LIMIT):
        orphans = [pid for pid in children_of(os.getpid()) if pid not in spared]
        if not orphans:
            return
        for pid in orphans:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for pid in orphans:
            while not _is_reaped(pid):
                if time.monotonic() > until:
                    return  # It is stuck in the kernel; it dies when it comes out.
                time.sleep(0.0005)


def _is_reaped(pid: int) -> bool:
    try:
        reaped, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return True
    return reaped == pid


def wait_for_ends(pids: list[int], limit_s: float) -> list[int]:
    """Wait until these processes, which have been killed, have ended: those that have not after so long."""
    left = {}
    for pid in pids:
        try:
            left[os.pidfd_open(pid)] = pid
        except ProcessLookupError:
            continue
    watch = select.poll()
    for descriptor in left:
        watch.register(descriptor, select.POLLIN)
    until = time.monotonic() + limit_s
    try:
        while left and (remaining_s := until - time.monotonic()) > 0:
            for descriptor, _ in watch.poll(remaining_s * 1000):
                watch.unregister(descriptor)
                os.close(descriptor)
                del left[descriptor]
        return list(left.values())
    finally:
        for descriptor in left:
            os.close(descriptor)
