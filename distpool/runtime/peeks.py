"""When to look into the rings of busy workers without being told: after a silence, and while a result is due."""

from __future__ import annotations

import time
from collections.abc import Sized

from distpool.config import Settings
from distpool.ids import LeaseId
from distpool.logic.spinning import SpinPolicy
from distpool.transport.lanes import Lane
from distpool.transport.ring import Ring

_RINGS_LIMIT = 8


class Peeks:
    """Owned by whoever holds the loop."""

    def __init__(self, settings: Settings, lanes: dict[LeaseId, Lane]) -> None:
        self.due: dict[LeaseId, float] = {}
        """Workers that hold calls, and when to look."""
        self.spin = SpinPolicy(settings.spin_s)
        self._settings = settings
        self._lanes = lanes
        self._watched: dict[LeaseId, Ring] = {}
        """Rings whose workers see that they are looked at."""

    def sent(self, lease: LeaseId, now: float) -> None:
        """Calls go out. A worker that told a moment ago does not tell of the first while a long second one runs."""
        self.due.setdefault(lease, now + self._settings.peek_after_s)

    def heard(self, lease: LeaseId, now: float, *, holds_calls: bool) -> None:
        """The worker has told of results."""
        if holds_calls:
            self.due[lease] = now + self._settings.peek_after_s
        else:
            self.due.pop(lease, None)

    def forget(self, lease: LeaseId) -> None:
        self.due.pop(lease, None)
        self._watched.pop(lease, None)

    def take_due(self, now: float) -> list[LeaseId]:
        """The rings to look into now. A busy worker tells of results in batches: one look at those that it holds while
        a long call runs is enough."""
        leases = [lease for lease, at in self.due.items() if at <= now]
        for lease in leases:
            del self.due[lease]
        return leases

    def look_out(self) -> None:
        """Until `withdraw`, workers need not tell of results: whoever runs the next turn calls that first."""
        if 0 < len(self.due) <= _RINGS_LIMIT:
            for lease in self.due:
                ring = self._watched[lease] = self._lanes[lease].ring
                ring.look(on=True)

    def withdraw(self) -> bool:
        """From now on they tell again. Whether a result has come: it is due then."""
        hit = False
        for lease, ring in [*self._watched.items()]:
            if not ring.has_records():
                ring.look(on=False)
                del self._watched[lease]
            # Once more: a worker that saw us look says nothing. Nor need it of what is read at once.
            if ring.has_records():
                hit = True
                self.due[lease] = 0.0
        return hit

    def watch(self, posted: Sized) -> bool:
        """Watch the rings for a moment: whether a result has come. It was read without a system call then, and is due.

        Ends at once when something is posted.
        """
        budget_s = self.spin.budget_s()
        if not budget_s or not 0 < len(self.due) <= _RINGS_LIMIT:
            return False
        self.look_out()
        rings = list(self._watched.values())
        clock = time.perf_counter
        until = clock() + budget_s
        seen = False
        while not seen and clock() < until and not posted:
            for ring in rings:
                if ring.has_records():
                    seen = True
        hit = self.withdraw()
        self.spin.spun(hit=hit)
        return hit
