"""Room for the descriptors of many workers: the usual soft limit of a process, 1024, is reached with about 160 of them.

The soft limit is raised where it is needed, and never above the hard one, which is the administrator's.
"""

from __future__ import annotations

import resource

_PER_WORKER = 8
"""In the process that has it: its lane, tokens and ring, its way to the store and up, and two pipes."""
_OTHERS = 256
"""What the program itself has open."""

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
