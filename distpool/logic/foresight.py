"""What the node of a worker is asked to bring before the worker needs it: of calls that are sent to it, and of the call
that it is to get next.

That one is not sent yet, as whatever a lost node was sent may have begun. It is kept for its worker: others that are
done before get calls behind it, though not for ever.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from distpool.ids import LeaseId
from distpool.logic.calls import CallQueue, Claim, Span
from distpool.logic.leases import Lease, LeaseState
from distpool.logic.nearness import Nearness
from distpool.logic.outbox import Outbox

LOOKED_AT = 16
"""Calls that wait, and so the most that are foretold."""
PASSED_OVER_LIMIT = 2 * LOOKED_AT
"""A call that waits for its worker lets so many others go first."""


def put_its_own_first(lease: Lease, leases: Container[LeaseId], queue: CallQueue, nearness: Nearness) -> None:
    """Let that call be first in the queue which this lease is to get: the one that was foretold to it, else the first
    that is nobody else's, or lies where it does."""
    claims = queue.next_claims(LOOKED_AT)
    first = claims[0] if claims else None
    if first is None or first.foretold_to in (None, lease.id) or first.passed_over >= PASSED_OVER_LIMIT:
        return
    chosen = 0
    for position, claim in enumerate(claims):
        if claim is not None and claim.foretold_to == lease.id:
            chosen = position
            break
        if not chosen and (claim is None or claim.foretold_to not in leases or _is_near(lease, claim, nearness)):
            if position == 0:
                return
            chosen = position
    if chosen and queue.bring_forward(chosen):
        first.passed_over += 1


def foretell(
    sent: list[tuple[Lease, list[Span]]],
    leases: Mapping[LeaseId, Lease],
    queue: CallQueue,
    nearness: Nearness,
    outbox: Outbox,
) -> None:
    """Ask for what is not on the nodes, nor about to be. `sent`: the calls that leases get now."""
    for lease, spans in sent:
        for span in spans:
            for claim in span.claims():
                if claim.foretold_to != lease.id:
                    _ask(lease, claim, nearness, outbox)
    claims = [claim for claim in queue.next_claims(LOOKED_AT) if claim is not None]
    new = [claim for claim in claims if claim.foretold_to not in leases]
    if not new:
        return
    served = {claim.foretold_to for claim in claims}
    busy = [lease for lease in leases.values() if lease.id not in served and lease.holding.calls and _gets_more(lease)]
    busy.sort(key=lambda lease: lease.heard_at)  # of one length, its call ends first
    for lease, claim in zip(busy, new, strict=False):
        _ask(lease, claim, nearness, outbox)


def _gets_more(lease: Lease) -> bool:
    return lease.state is LeaseState.READY and not lease.is_draining and lease.calls_left != 0


def _ask(lease: Lease, claim: Claim, nearness: Nearness, outbox: Outbox) -> None:
    claim.foretold_to = lease.id
    if not _is_near(lease, claim, nearness):
        from distpool.protocol.objects import BringSoon  # only where there are nodes

        outbox.put(lease.id, BringSoon([(*key, size) for key, size in claim.needs()]))


def _is_near(lease: Lease, claim: Claim, nearness: Nearness) -> bool:
    return nearness(lease.id, claim) >= sum(size for _, size in claim.needs())
