"""The worker: the calls in its hand, in order, and when to tell its caller of results."""

from __future__ import annotations

from collections import deque

from distpool.ids import FunctionId
from distpool.protocol.messages import CallMode, FunctionBlob, RunCalls, Slice


class WorkerRole:
    """What a worker decides. It claims each call with a token before it begins it; without one it drops its hand."""

    def __init__(self, hold_results_s: float) -> None:
        self._hold_results_s = hold_results_s
        self._hand: deque[Slice] = deque()
        self._told_at = 0.0
        self.untold = False
        self.has_stopped = False
        self.functions: dict[FunctionId, FunctionBlob] = {}

    def handle(self, message: RunCalls) -> None:
        for function in message.functions:
            self.functions[function.function] = function
        if not self.has_stopped:
            self._hand.extend(message.slices)

    def next_slice(self) -> Slice | None:
        """The next calls of one function; the caller claims them one by one."""
        return self._hand.popleft() if self._hand else None

    def refused(self) -> None:
        """There was no token for the next call: all that was sent and not begun has been taken back.

        Nothing is sent until the caller knows that it was dropped, so whatever still lies in the lane is dropped too.
        """
        self._hand.clear()
        self.has_stopped = True

    def finished(self, now: float) -> bool:
        """A result was written: whether to tell now. If not, it came within `hold_results_s` of the last time."""
        self.untold = True
        return now - self._told_at > self._hold_results_s

    def tell_at_ns(self) -> int:
        """From when on `finished` says to tell, in nanoseconds."""
        return int((self._told_at + self._hold_results_s) * 1e9)

    def told(self, now: float) -> None:
        self._told_at = now
        self.untold = False
        self.has_stopped = False


ITEM_MODES = frozenset({CallMode.ITEM, CallMode.STAR})
"""The function is applied to one item; a slice may hold many."""
