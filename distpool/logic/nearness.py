"""Which of several workers gets a call: one on the node where what the call needs lies already."""

from __future__ import annotations

from collections.abc import Callable

from distpool.ids import LeaseId
from distpool.logic.calls import Claim, Span
from distpool.logic.leases import Lease

Nearness = Callable[[LeaseId, Claim], int]
"""How many bytes of what a claim names lie on the node of a lease."""


def put_nearest_first(leases: list[Lease], start: int, span: Span | None, nearness: Nearness | None) -> None:
    """Of the leases from `start` on that hold as few calls as the one there, let the one be there that is nearest to
    what the first call of the span needs."""
    claims = [] if span is None or nearness is None else span.claims()[:1]
    if nearness is None or not claims:
        return
    least = leases[start].holding.calls
    best, most = start, 0
    for position in range(start, len(leases)):
        lease = leases[position]
        if lease.holding.calls == least and (near := nearness(lease.id, claims[0])) > most:
            best, most = position, near
    leases.insert(start, leases.pop(best))
