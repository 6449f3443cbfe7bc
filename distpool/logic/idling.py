"""Workers that have nothing to do: they are kept for a while, as more calls of the same kind often come, and then end.

They end earlier while another group of the program waits for workers, which may need their place.
"""

from __future__ import annotations

from collections.abc import Iterable

from distpool.logic.group_plan import GroupPlan
from distpool.logic.leases import Lease, LeaseState
from distpool.logic.outbox import Outbox
from distpool.logic.times import earlier
from distpool.protocol.messages import ExitWorker


class Idling:
    """Of one group. Without limits in its plan its workers stay until it ends."""

    def __init__(self, plan: GroupPlan) -> None:
        self._plan = plan
        self._limit_s = plan.idle_limit_s
        self.has_news = False
        """The limit has changed since the group decided last."""

    def others_wait(self, *, wait: bool) -> None:
        """Other groups wait for workers, or do not."""
        limit_s = self._plan.idle_yield_s if wait else self._plan.idle_limit_s
        if limit_s != self._limit_s:
            self._limit_s = limit_s
            self.has_news = True

    def let_leave(self, leases: Iterable[Lease], now: float, outbox: Outbox) -> float | None:
        """Tell those to end that have had nothing to do for too long; when the next may be due (None: none is idle)."""
        if self._limit_s is None:
            return None
        due = None
        for lease in leases:
            if lease.holding.calls or lease.state is not LeaseState.READY or lease.is_asked:
                continue
            if now >= lease.heard_at + self._limit_s:
                lease.step("told to end")
                outbox.put(lease.id, ExitWorker())
            else:
                due = earlier(due, lease.heard_at + self._limit_s)
        return due
