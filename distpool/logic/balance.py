"""From which worker to take calls back, so that an idle one gets something to do."""

from __future__ import annotations

from collections.abc import Iterable

from distpool.logic.leases import Lease


class Balance:
    """A worker that has been silent for `patience_s` and holds `least` calls or more gives up those not begun."""

    def __init__(self, patience_s: float, least: int) -> None:
        self._patience_s = patience_s
        self._least = least

    def choose(self, leases: Iterable[Lease], now: float) -> tuple[Lease | None, float | None]:
        """The worker to take calls from, or else when to look again (None: nobody holds a call too many)."""
        victim: Lease | None = None
        look_again: float | None = None
        for lease in leases:
            due = self.due(lease)
            if due is None:
                continue
            if due > now:
                look_again = due if look_again is None else min(look_again, due)
            elif victim is None or lease.holding.calls > victim.holding.calls:
                victim = lease
        return victim, look_again

    def due(self, lease: Lease) -> float | None:
        """When calls may be taken from it, unless it is heard from; None: it holds none too many."""
        if lease.holding.calls < self._least or not lease.may_be_asked():
            return None
        return lease.heard_at + self._patience_s


def has_idle_worker(leases: Iterable[Lease]) -> bool:
    """Some worker holds nothing and may be given something."""
    for lease in leases:
        if not lease.holding.calls and lease.room(1) > 0:
            return True
    return False
