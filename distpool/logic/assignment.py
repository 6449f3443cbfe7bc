"""Which workers of a group get which of the calls that wait, and how many: by `Credits`, and by where arguments lie."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter

from distpool.config import Settings
from distpool.ids import LeaseId
from distpool.logic.calls import CallQueue, Span
from distpool.logic.credits import CreditsByDepth
from distpool.logic.foresight import put_its_own_first
from distpool.logic.group_plan import GroupPlan
from distpool.logic.leases import Lease
from distpool.logic.nearness import Nearness, put_nearest_first
from distpool.logic.waiting import Waiting

Assigned = list[tuple[Lease, list[Span]]]
"""What to send to whom. The leases hold it already."""

_heard_at = attrgetter("heard_at")


class Assignment:
    """Of one group, whose queue and leases these are."""

    def __init__(
        self, plan: GroupPlan, settings: Settings, queue: CallQueue, leases: Mapping[LeaseId, Lease], waiting: Waiting
    ) -> None:
        ahead_s, least = (settings.far_work_ahead_s, 1) if plan.is_far else (settings.work_ahead_s, 2)
        self.credits = CreditsByDepth(ahead_s, settings.calls_ahead_limit, least)
        self._bytes_limit = settings.bytes_ahead_limit
        self._queue = queue
        self._leases = leases
        self._waiting = waiting

    def assign(self, now: float, nearness: Nearness | None) -> tuple[Assigned, list[Span]]:
        """Take calls from the queue: those to send, and those that turn out to be cancelled."""
        queue = self._queue
        limit = self.credits.of(queue.depth()).limit()
        open_leases = [lease for lease in self._leases.values() if lease.room(limit) > 0]
        # The worker heard from last comes first: it may still be spinning for its next call.
        open_leases.sort(key=lambda lease: (lease.holding.calls, -lease.heard_at))
        open_leases = self._waiting.within_size(open_leases, self._leases.values())
        to_send: Assigned = []
        cancelled: list[Span] = []
        for position in range(len(open_leases)):
            put_nearest_first(open_leases, position, queue.first(), nearness)
            lease = open_leases[position]
            if nearness is not None:
                put_its_own_first(lease, self._leases, queue, nearness)
            share = -(-queue.waiting_together() // (len(open_leases) - position))
            if position or nearness is not None:  # what is next may be of another depth
                limit = self.credits.of(queue.depth()).limit()
            bytes_room = self._bytes_limit - lease.holding.bytes
            # What is stored is pinned for a call that was sent: of large ones none is sent ahead.
            if bytes_room <= 0 and (lease.holding.calls > 1 or lease.holding.claims):
                continue
            spans, dropped = queue.take(min(lease.room(limit), share), bytes_room)
            cancelled += dropped
            if spans:
                _give(lease, spans, now)
                to_send.append((lease, spans))
            if not queue.waiting:
                break
        return to_send, cancelled

    def assign_lone(self, now: float) -> tuple[Assigned, list[Span]] | None:
        """`assign` where one call waits and no worker holds any, so that nothing is to be weighed; None when no worker
        is there for it."""
        lease = max((lease for lease in self._leases.values() if lease.room(1) > 0), key=_heard_at, default=None)
        if lease is None:
            return None
        spans, cancelled = self._queue.take(1, self._bytes_limit)
        if not spans:
            return [], cancelled
        _give(lease, spans, now)
        return [(lease, spans)], cancelled


def _give(lease: Lease, spans: list[Span], now: float) -> None:
    if lease.holding.calls == 0:
        lease.heard_at = now
    lease.has_begun_all = False
    lease.holding.add(spans)
    if lease.calls_left is not None:
        lease.sent(sum(map(len, spans)))
