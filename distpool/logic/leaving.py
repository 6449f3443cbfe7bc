"""Workers that leave while their pool goes on: they have run as many calls as they may, or their node is being drained.

A pool never has more workers than it was made with, as calls may rely on not running beside each other: one that leaves
is replaced when it has ended, and not before.
"""

from __future__ import annotations

from collections.abc import Iterable

from distpool.logic.leases import Lease, LeaseState
from distpool.logic.outbox import Outbox
from distpool.protocol.messages import ExitWorker, TakeBack


def tell_to_end(lease: Lease, outbox: Outbox) -> None:
    """Its worker gets no more calls, and ends after what it holds."""
    lease.step("told to end")
    outbox.put(lease.id, ExitWorker())


def let_leave(leases: Iterable[Lease], outbox: Outbox) -> None:
    """Tell those to end that hold nothing more. What a draining one has not begun is taken back first."""
    for lease in leases:
        if lease.may_leave():
            tell_to_end(lease, outbox)
        elif lease.is_draining and lease.state is LeaseState.READY and not (lease.is_asked or lease.has_begun_all):
            lease.is_asked = True
            outbox.put(lease.id, TakeBack(lease.id))
