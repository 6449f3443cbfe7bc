"""Calls that are to end though a worker may run them: over their time limit, or cancelled.

What the worker has not begun is taken back first. So the one call that it holds then is the one that it runs, and what
is done to the worker befalls no other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from distpool.config import Settings
from distpool.ids import LAUNCHER, FunctionId, GroupId
from distpool.logic.calls import Sink, Span
from distpool.logic.leases import Lease, LeaseState
from distpool.logic.limits import overdue
from distpool.logic.losses import describe_call, name_of
from distpool.logic.outbox import Outbox
from distpool.logic.times import earlier
from distpool.protocol.messages import EndWorker, ExitWorker, FunctionBlob, InterruptWorker, OutcomeKind, TakeBack

Ended = tuple[list[Span], OutcomeKind, str]
"""(calls, how they ended, and why)"""


class Cancelled(msgspec.Struct):
    """A call that was cancelled when it had begun, or may have. `force`: its worker is to end. `is_interrupted`: it is
    known to be the one that runs. `interrupt_at`: when next, as a worker that is just beginning can miss it."""

    sink: Sink
    force: bool
    is_interrupted: bool = False
    interrupt_at: float = 0.0


class Stops:
    """Of one group."""

    def __init__(self, group: GroupId, settings: Settings, functions: Mapping[FunctionId, FunctionBlob]) -> None:
        self._group = group
        self._settings = settings
        self._functions = functions
        self.has_news = False
        """A call was cancelled since the group decided last."""
        self.cancelled: dict[int, Cancelled] = {}
        """By the ids of their sinks."""

    def cancel(self, sink: Sink, *, force: bool) -> None:
        """The only call of this sink is not wanted, and knows it: it is not begun any more."""
        self.has_news = True
        self.cancelled[id(sink)] = Cancelled(sink, force)

    def is_cancelled(self, sink: Sink) -> bool:
        return id(sink) in self.cancelled

    def decide(
        self, leases: Collection[Lease], now: float, outbox: Outbox, *, has_limits: bool
    ) -> tuple[list[Ended], float | None]:
        """The calls that end, and when to look again. `has_limits`: some call was given a time limit."""
        ended: list[Ended] = []
        wake_at = self._end_overdue(leases, now, ended, outbox) if has_limits else None
        if self.cancelled:
            wake_at = earlier(wake_at, self._stop_cancelled(leases, now, ended, outbox))
        return ended, wake_at

    def _end_overdue(self, leases: Iterable[Lease], now: float, ended: list[Ended], outbox: Outbox) -> float | None:
        """End the workers whose call runs for longer than it may; when the next may be due."""
        wake_at = None
        for lease in leases:
            due, timeout_s = overdue(lease)
            if due is None:
                continue
            if now < due and not lease.is_overdue:
                wake_at = earlier(wake_at, due)
            elif lease.is_asked:
                lease.is_overdue = True  # The answer that is on its way tells as much as another would.
            elif not lease.is_overdue and lease.state is LeaseState.READY and not lease.has_begun_all:
                # What it holds and has not begun runs elsewhere; the answer to this comes in the same turn.
                lease.is_overdue = lease.is_asked = True
                outbox.put(lease.id, TakeBack(lease.id))
            elif lease.holding.calls > 1:
                # All are begun, so all but one are finished and will be told of in a moment.
                wake_at = earlier(wake_at, now + self._settings.peek_after_s)
            else:
                spans = lease.holding.take_back(1)
                what = describe_call(spans[0], name_of(self._functions, spans[0]))
                text = f"{what} ran for longer than its time limit of {timeout_s:g} s, and its worker was ended"
                ended.append((spans, OutcomeKind.TIMED_OUT, text))
                self._end(lease, spans[0].bundle.sink, self._settings.interrupt_grace_s, outbox)
        return wake_at

    def _stop_cancelled(self, leases: Iterable[Lease], now: float, ended: list[Ended], outbox: Outbox) -> float | None:
        """Interrupt or end the workers that run calls which were cancelled; when to look again."""
        wake_at = None
        still: dict[int, Cancelled] = {}
        for lease in leases:
            call = self._cancelled_of(lease)
            if call is None:
                continue
            still[id(call.sink)] = call
            if call.is_interrupted or self._has_begun_all(lease):
                again_at, is_over = self._stop(call, lease, now, outbox)
                if is_over:
                    ended.append((lease.holding.take_back(1), OutcomeKind.CANCELLED, ""))
                    self._end(lease, call.sink, 0.0, outbox)
                wake_at = earlier(wake_at, again_at)
            elif not lease.is_asked and lease.state is LeaseState.READY:
                lease.is_asked = True
                outbox.put(lease.id, TakeBack(lease.id))
        # What no worker has waits, and is not begun, or has ended.
        self.cancelled = still
        return wake_at

    def _stop(self, call: Cancelled, lease: Lease, now: float, outbox: Outbox) -> tuple[float | None, bool]:
        """When to look again, and whether its worker is to end."""
        if lease.holding.oldest().bundle.sink is not call.sink or (call.force and lease.holding.calls > 1):
            return now + self._settings.peek_after_s, False  # The others are finished, and will be told of in a moment.
        if call.force:
            return None, True
        if now >= call.interrupt_at:
            call.is_interrupted = True
            call.interrupt_at = now + self._settings.interrupt_again_s
            outbox.put(LAUNCHER, InterruptWorker(lease.id, self._group, lease.holding.ended))
        return call.interrupt_at, False

    def _has_begun_all(self, lease: Lease) -> bool:
        """The last call that it holds is the one that it runs."""
        return not lease.is_asked and (lease.has_begun_all or lease.state is LeaseState.STOPPING)

    def _cancelled_of(self, lease: Lease) -> Cancelled | None:
        """The first of the cancelled calls that it holds."""
        if lease.is_abandoned or lease.is_overdue:
            return None
        for span in lease.holding.spans():
            found = self.cancelled.get(id(span.bundle.sink))
            if found is not None:
                return found
        return None

    def _end(self, lease: Lease, sink: Sink, grace_s: float, outbox: Outbox) -> None:
        lease.is_abandoned = True
        lease.abandoned = sink
        lease.step("told to end")
        outbox.put(lease.id, ExitWorker())
        outbox.put(LAUNCHER, EndWorker(lease.id, self._group, grace_s))
