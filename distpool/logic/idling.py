"""Workers that have nothing to do: they are kept for a while, as more calls of the same kind often come, and then end.

They end earlier while another group of the program waits for workers, which may need their place. Then one that has
something to do makes room now and then, too: calls of one kind do not wait for the end of all of another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from distpool.ids import GroupId
from distpool.logic.group_plan import GroupPlan
from distpool.logic.leases import Lease, LeaseState
from distpool.logic.leaving import tell_to_end
from distpool.logic.outbox import Outbox
from distpool.logic.times import earlier


class Waits:
    """Which groups have waited for workers for longer than a moment, as most get them at once."""

    def __init__(self, moment_s: float) -> None:
        self._moment_s = moment_s
        self.since: dict[GroupId, float] = {}
        """Those that waited when it was looked last, and since when."""

    def look(self, waiting: Iterable[GroupId], now: float) -> tuple[set[GroupId], float | None]:
        """Of those that wait now, and when to look again."""
        self.since = {group: self.since.get(group, now) for group in waiting}
        long = {group for group, since in self.since.items() if now >= since + self._moment_s}
        due = [since + self._moment_s for group, since in self.since.items() if group not in long]
        return long, min(due, default=None)


class Idling:
    """Of one group. Without limits in its plan its workers stay until it ends."""

    def __init__(self, plan: GroupPlan) -> None:
        self._plan = plan
        self.limit_s = plan.idle_limit_s
        """How long a worker may have nothing to do; None: as long as it likes."""
        self.has_news = False
        """The limit has changed since the group decided last."""
        self._turn_at: float | None = None

    def others_wait(self, now: float, *, wait: bool) -> None:
        """Other groups wait for workers, or do not."""
        if not wait or self._plan.turn_s is None:
            self._turn_at = None
        elif self._turn_at is None:
            self._turn_at = now + self._plan.turn_s
        limit_s = self._plan.idle_yield_s if wait else self._plan.idle_limit_s
        if limit_s != self.limit_s:
            self.limit_s = limit_s
            self.has_news = True

    def makes_room(self) -> bool:
        """Others wait, so it asks for no more than it has."""
        return self._turn_at is not None

    def let_leave(self, leases: Collection[Lease], now: float, outbox: Outbox) -> float | None:
        """Tell those to end that have had nothing to do for too long; when the next may be due (None: none is idle)."""
        if self.limit_s is None:
            return None
        due = self._turn(leases, now)
        for lease in leases:
            if lease.holding.calls or lease.state is not LeaseState.READY or lease.is_asked:
                continue
            if now >= lease.heard_at + self.limit_s:
                tell_to_end(lease, outbox)
            else:
                due = earlier(due, lease.heard_at + self.limit_s)
        return due

    def _turn(self, leases: Collection[Lease], now: float) -> float | None:
        """When it is time, have one make room after its call; when the next turn is (None: nobody waits)."""
        if self._turn_at is None or self._plan.turn_s is None or now < self._turn_at:
            return self._turn_at
        self._turn_at = now + self._plan.turn_s
        for lease in leases:
            if lease.holding.calls and lease.state is LeaseState.READY and not lease.is_draining:
                lease.is_draining = True
                break
        return self._turn_at
