"""Room for the descriptors of many workers: the usual soft limit of a process, 1024, is reached with about 160 of them.

The soft limit is raised where it is needed, and never above the hard one, which is the administrator's. Where that is
too low, it is said before a worker is started.
"""

from __future__ import annotations

import os
import resource

_PER_WORKER = 8
"""In the process that has it: its lane, tokens and ring, its way to the store and up, and two pipes."""
_OF_NEW_WORKER = 6
"""Of those, before it asks for anything."""
_OTHERS = 256
"""What the program itself has open."""
_FOR_A_MOMENT = 16
"""While workers are started: the ends that they get, a process that is forked, a file that is imported."""

_room = [0]
"""Its one item: for how many workers there is room, as far as is known."""


def make_room(workers: int) -> None:
    """This process is about to have so many."""
    if workers <= _room[0]:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = workers * _PER_WORKER + _OTHERS
    if soft < needed and soft < hard:
        # More than is needed now, so that this is not to be done for each of many.
        soft = min(hard, 2 * needed)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    _room[0] = (soft - _OTHERS) // _PER_WORKER


def lack_of_room(new: int, there: int) -> str:
    """This process is about to have so many new workers beside those that are there. Why it cannot have them; empty:
    it can."""
    make_room(there + new)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = new * _OF_NEW_WORKER + _FOR_A_MOMENT
    if 2 * (_lowest_free(soft) + needed) <= soft:
        return ""  # To count them takes as long as there are many.
    in_use = len(os.listdir("/proc/self/fd"))
    needed += in_use
    if soft < needed and soft < hard:
        soft = min(hard, 2 * needed)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if needed <= soft:
        return ""
    workers = "one more worker" if new == 1 else f"{new} workers"
    return (
        f"there is no room for {workers}: process {os.getpid()} needs up to {needed} open files, of which {in_use} "
        f"are there now, and may have {soft}. Start fewer workers, or raise the hard limit (RLIMIT_NOFILE): "
        f"`ulimit -Hn {2 * needed}`, LimitNOFILE= of a service, --ulimit nofile= of a container"
    )


def _lowest_free(limit: int) -> int:
    """The number that the next open file would have: below it, all are in use."""
    try:
        descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return limit
    os.close(descriptor)
    return descriptor
