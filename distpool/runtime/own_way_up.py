"""A worker's own way up to its program (see `up_lane`): what it needs is offered when the worker starts, and it is made
with the first use."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from distpool.base_errors import ForeignProcess
from distpool.ids import StoreId
from distpool.interrupts import deferred
from distpool.transport.pairs import socket_pair

if TYPE_CHECKING:
    from distpool.runtime.up_lane import UpLane

FORKED = (
    "process {pid} was forked from a worker and cannot use the worker's way to its program: use refs and remote "
    "functions in the call itself, and give the child values"
)

_pass_end: list[Callable[[int], None]] = []
_program: list[StoreId] = []
_written_to: list[Callable[[], int]] = []
_announce: list[Callable[[], None]] = []
_begins_at = [0]
"""Up to where the ring was written when the way up was made: results before that cannot name what was said by it."""
_made: list[UpLane] = []
_making = threading.Lock()


def offer(
    pass_end: Callable[[int], None], program: StoreId, written_to: Callable[[], int], announce: Callable[[], None]
) -> None:
    """In a worker: `pass_end` sends the program a descriptor; `program`: the program's store; `written_to`: up to where
    the worker's ring is written; `announce`: have it read."""
    _pass_end[:] = [pass_end]
    _written_to[:] = [written_to]
    _announce[:] = [announce]
    _program[:] = [program]
    _made.clear()


def store_above() -> StoreId:
    """Of the program of this worker, or of the worker that this process was forked from. Raises RuntimeError in one
    that is neither."""
    if not _program:
        raise RuntimeError(f"process {os.getpid()} is no worker, and has no program above it")
    return _program[0]


def way_up() -> UpLane:
    """Of this worker, made with the first use. Raises RuntimeError in a process that is none, and ForeignProcess in one
    that was forked from a worker."""
    if not _made:
        store_above()
        from distpool.runtime.up_lane import UpLane  # which most workers do without

        with deferred(), _making:
            if not _made:
                if not _pass_end:
                    raise ForeignProcess(FORKED.format(pid=os.getpid()))
                ours, theirs = socket_pair()
                _begins_at[:] = [_written_to[0]()]
                with theirs:
                    _pass_end[0](theirs.fileno())
                _made.append(UpLane(ours))
    return _made[0]


def results_written_to(*, in_call: bool) -> int:
    """Up to where there are results in the ring that came after something that was said by the way up; 0: there are
    none. `in_call`: it is not about to say so anyway, and has the program read them."""
    written_to = _written_to[0]()
    if written_to <= _begins_at[0]:
        return 0
    if in_call:
        _announce[0]()
    return written_to


def _after_fork_in_child() -> None:
    global _making
    _making = threading.Lock()
    _pass_end.clear()
    for lane in _made:
        lane.close_after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
