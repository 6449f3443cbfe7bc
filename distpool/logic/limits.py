"""Time limits: until when the call that a worker runs may run."""

from __future__ import annotations

from distpool.logic.leases import Lease


def overdue(lease: Lease) -> tuple[float | None, float]:
    """When the oldest call of a worker is over its time limit (None: it has no limit), and the limit in seconds.

    A worker begins a call when it has told of the one before, or when it is sent to an idle one; both are what
    `heard_at` says, to a few milliseconds.
    """
    if not lease.holding.calls or lease.is_abandoned:
        return None, 0.0
    timeout_s = lease.holding.oldest().bundle.options.timeout_s
    if timeout_s is None:
        return None, 0.0
    return lease.heard_at + timeout_s, timeout_s
