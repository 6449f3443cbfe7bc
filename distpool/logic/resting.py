"""Calls that rest before they run again: where memory has run out, at once would be too early."""

from __future__ import annotations

from distpool.logic.calls import Span


class Resting:
    """`first_s`: how long the first rest of a call is; each is twice as long as the one before, up to `longest_s`."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self.calls: list[tuple[float | None, Span]] = []
        """Each with the end of its rest; None: that began since the last time that somebody asked."""

    def add(self, span: Span) -> None:
        """A call that is to run again; its rest begins when `take_rested` is called next."""
        self.calls.append((None, span))

    def take_rested(self, now: float) -> list[Span]:
        self.calls = [(self._end_of_rest(span, now) if at is None else at, span) for at, span in self.calls]
        rested = [span for at, span in self.calls if at is not None and at <= now]
        self.calls = [(at, span) for at, span in self.calls if at is None or at > now]
        return rested

    def due(self) -> float | None:
        """When the next has rested, after `take_rested`."""
        return min((at for at, _ in self.calls if at is not None), default=None)

    def drop_all(self) -> list[Span]:
        calls, self.calls = self.calls, []
        return [span for _, span in calls]

    def _end_of_rest(self, span: Span, now: float) -> float:
        doublings = min(span.bundle.attempts - 1, 30)  # 2**30 of whatever it is are too long anyway
        return now + min(self._longest_s, self._first_s * (1 << doublings))
