"""What is to follow the results that a worker has written: up to where its ring is read, and who waits for that."""

from __future__ import annotations

from collections.abc import Callable

from distpool.ids import LeaseId


class ResultsKnown:
    """Places in rings only grow. Whoever asks says up to where the worker had written."""

    def __init__(self) -> None:
        self._read_to: dict[LeaseId, int] = {}
        """Of the leases whose workers live."""
        self._waiting: dict[LeaseId, list[tuple[int, Callable[[], None]]]] = {}

    def started(self, lease: LeaseId) -> None:
        """There is a worker, which has told of nothing."""
        self._read_to[lease] = 0

    def follow(self, lease: LeaseId, written_to: int, then: Callable[[], None]) -> None:
        """Call this when the results up to this place are known, or none will be any more."""
        if self._read_to.get(lease, written_to) < written_to:
            self._waiting.setdefault(lease, []).append((written_to, then))
        else:
            then()

    def read(self, lease: LeaseId, read_to: int) -> None:
        """So far its results are known."""
        self._read_to[lease] = read_to
        waiting = self._waiting.pop(lease, ())
        later = [one for one in waiting if one[0] > read_to]
        if later:
            self._waiting[lease] = later
        for written_to, then in waiting:
            if written_to <= read_to:
                then()

    def lost(self, lease: LeaseId) -> None:
        """The worker has ended."""
        self._read_to.pop(lease, None)
        for _, then in self._waiting.pop(lease, ()):
            then()
