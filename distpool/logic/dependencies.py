"""What one call waits for: the values of promises that its arguments name. It can begin when all are there, and fails
with the first that has failed."""

from __future__ import annotations

from collections.abc import Iterable

from distpool.logic.promises import Promise, Watcher


class Dependencies:
    """The promises that one call needs. Whoever calls a method has the lock of all promises."""

    def __init__(self, needed: Iterable[Promise]) -> None:
        self.needed = list(dict.fromkeys(needed))
        self.failed: Promise | None = None
        """The first that has failed."""
        self._missing = 0
        self._is_decided = False

    def watch(self, watcher: Watcher) -> bool:
        """Have `watcher` told of the end of each that is pending, which it passes on to `ended`.

        Whether it is decided already what becomes of the call.
        """
        for promise in self.needed:
            if promise.has_failed():
                self.failed = promise
                break
            self._missing += promise.watch(watcher)
        return self._decide(watcher)

    def ended(self, promise: Promise, watcher: Watcher) -> bool:
        """Whether that decides it: the call can begin, or has failed. It is decided once."""
        if self._is_decided:
            return False
        self._missing -= 1
        if promise.has_failed():
            self.failed = promise
        return self._decide(watcher)

    def give_up(self, watcher: Watcher) -> None:
        """The call is not wanted any more."""
        self._is_decided = True
        for promise in self.needed:
            promise.unwatch(watcher)

    def _decide(self, watcher: Watcher) -> bool:
        if self.failed is not None:
            self.give_up(watcher)
        elif not self._missing:
            self._is_decided = True
        return self._is_decided
