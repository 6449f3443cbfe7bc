"""Whether a peer is silent for too long, and not only this process that was not awake to hear it."""

from __future__ import annotations


class Silence:
    """It was silent for `limit_s`, and is so for another `moment_s` in which this process was awake: one that was
    stopped itself, or whose machine was suspended, has to look first at what has come meanwhile."""

    def __init__(self, limit_s: float, moment_s: float) -> None:
        self._limit_s = limit_s
        self._moment_s = moment_s
        self._seen_at: float | None = None

    def is_for_good(self, heard_at: float, now: float) -> bool:
        """`heard_at`: when the peer was heard of last, with all that has come by now."""
        if now - heard_at <= self._limit_s:
            self._seen_at = None
            return False
        if self._seen_at is None:
            self._seen_at = now
        return now - self._seen_at >= self._moment_s
