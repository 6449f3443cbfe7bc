"""Points in time, of a clock that only goes forward, in seconds; None is never."""

from __future__ import annotations


def earlier(one: float | None, other: float | None) -> float | None:
    """Of two times."""
    return other if one is None else one if other is None else min(one, other)
