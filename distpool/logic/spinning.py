"""Whether it is worth to spin for a message that is due, judged by whether the last spins were."""

from __future__ import annotations

_TRUST_LIMIT = 8
_RETRY_AFTER = 32
_MISS_COST = 4
"""Four of five spins must succeed. Where two processes share a CPU, half of them seem to: one that spins keeps the
other from the answer, until it has to stand aside."""


class SpinPolicy:
    """Spin while spins succeed; after a few failures only try again now and then."""

    def __init__(self, spin_s: float) -> None:
        self._spin_s = spin_s
        self._trust = _TRUST_LIMIT
        self._skipped = 0

    def budget_s(self) -> float:
        """How long to spin this time, 0.0 for not at all."""
        if self._trust > 0:
            return self._spin_s
        self._skipped += 1
        if self._skipped >= _RETRY_AFTER:
            self._skipped = 0
            return self._spin_s
        return 0.0

    def spun(self, *, hit: bool) -> None:
        """A spin ended with a message in time, or without."""
        if hit:
            self._trust = min(_TRUST_LIMIT, self._trust + 1)
        else:
            self._trust = max(0, self._trust - _MISS_COST)
