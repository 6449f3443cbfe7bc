"""Refs to objects of other stores, in a worker: which of them are kept beyond a call, for their home to know."""

from __future__ import annotations

import threading
from collections.abc import Callable

from distpool.ids import Key


class Borrowed:
    """One use of one of them."""

    __slots__ = ("__weakref__", "_borrowing", "key")

    def __init__(self, borrowing: Borrowing, key: Key) -> None:
        self.key = key
        self._borrowing: Borrowing | None = borrowing

    def end(self) -> None:
        borrowing, self._borrowing = self._borrowing, None
        if borrowing is not None:
            borrowing.give_back(self.key)

    __del__ = end


class Borrowing:
    """The uses of all of them. Any thread may call any method."""

    def __init__(self, note_end: Callable[[], None]) -> None:
        """`note_end` is called when one that was told of is not used any more; it may be called at any place."""
        self.is_foreign = False
        """This process was forked from the worker."""
        self._note_end = note_end
        self._uses: dict[Key, int] = {}
        self._told: set[Key] = set()
        # Re-entrant, as a use may end at any place.
        self._lock = threading.RLock()

    def take(self, key: Key) -> Borrowed:
        with self._lock:
            self._uses[key] = self._uses.get(key, 0) + 1
        return Borrowed(self, key)

    def give_back(self, key: Key) -> None:
        """It may be called at any place."""
        if self.is_foreign:
            return
        with self._lock:
            self._uses[key] -= 1
            if self._uses[key]:
                return
            del self._uses[key]
            is_told = key in self._told
        if is_told:
            self._note_end()

    def has_news(self) -> bool:
        """Some are used that were not told of."""
        with self._lock:
            return not self._uses.keys() <= self._told

    def changes(self) -> tuple[list[Key], list[Key]]:
        """(those to keep from now on, those to keep no more), since this was asked last."""
        with self._lock:
            used = set(self._uses)
            kept, dropped = used - self._told, self._told - used
            self._told = used
        return list(kept), list(dropped)
