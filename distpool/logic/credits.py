"""How many calls a worker may hold: as many as make about `work_ahead_s` of work, by the measured time of a call."""

from __future__ import annotations

_UNKNOWN_LIMIT = 2
_GAIN_UP = 0.6
_GAIN_DOWN = 0.3


class Credits:
    """The limit for one group's workers. At `least` so many are always allowed: one call to run and one ahead."""

    def __init__(self, work_ahead_s: float, calls_limit: int, least: int = _UNKNOWN_LIMIT) -> None:
        self._work_ahead_s = work_ahead_s
        self._least = least
        self._calls_limit = calls_limit
        self.call_s: float | None = None

    def observe(self, calls: int, busy_s: float) -> None:
        """So many calls took so long together. Slower is believed faster than quicker: holding too much unbalances."""
        if calls < 1:
            return
        measured = max(busy_s, 0.0) / calls
        if self.call_s is None:
            self.call_s = measured
            return
        gain = _GAIN_UP if measured > self.call_s else _GAIN_DOWN
        self.call_s += gain * (measured - self.call_s)

    def limit(self) -> int:
        """The most calls that a worker may hold, the running one included."""
        if self.call_s is None:
            return self._least
        if self.call_s * self._calls_limit <= self._work_ahead_s:
            return self._calls_limit
        return max(self._least, int(self._work_ahead_s / self.call_s))

    def remaining_s(self, calls: int) -> float:
        """How long a worker is expected to need for so many calls."""
        return calls * (self.call_s or 0.0)


class CreditsByDepth:
    """Of one group: calls that start others last as long as these, and none may be sent ahead of one that waits."""

    def __init__(self, work_ahead_s: float, calls_limit: int, least: int) -> None:
        self._arguments = (work_ahead_s, calls_limit, least)
        self._by_depth: dict[int, Credits] = {}

    def of(self, depth: int) -> Credits:
        """For calls that are in so many others."""
        found = self._by_depth.get(depth)
        if found is None:
            found = self._by_depth[depth] = Credits(*self._arguments)
        return found
