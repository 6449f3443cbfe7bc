"""The items that a generator's call makes, one after another: which have come, which were taken, and how far ahead of
those who take them the generator may be."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distpool.logic.promises import Promise

ONE = -1
STREAM = -2
"""In the place of how many values a call has: one, which is what its function returns; as many as its generator
gives."""

NOBODY = -1
"""Told to a generator: nobody takes any more."""

_REFILL = 8

Told = Callable[[int], None]
"""Is told how many were taken, or `NOBODY`."""


class Stream:
    """Places in their order, each with a promise. The last is pending until the call has ended; then it stands for the
    error of the call, or for nothing.

    Whoever calls a method has the lock of all promises.
    """

    def __init__(self, make: Callable[[], Promise]) -> None:
        """`make`: the promise of one more place."""
        self._make = make
        self._places = deque([make()])
        self._first = 0
        """The place at the front: those before it are forgotten."""
        self.arrived = 0
        self.taken = 0
        self.length: int | None = None
        """How many places there are to be taken, when that is known."""
        self.is_wanted = True
        self._told: list[tuple[int, Told]] = []

    def arrive(self, place: int) -> Promise | None:
        """An item has come: the promise that is to have it. None: it is not wanted, or came before, as its call was
        run again. Raises ValueError when one is missing before it."""
        if not self.is_going() or place < self.arrived:
            return None
        if place > self.arrived:
            raise ValueError(f"item {place} of a generator came, and item {self.arrived} did not")
        self.arrived += 1
        promise = self._places[-1]
        self._places.append(self._make())
        return promise

    def end(self, *, has_failed: bool) -> Promise:
        """The call has ended: the promise of the last place, which is to end like it. It is an item if the call has
        failed."""
        self.length = self.arrived + has_failed
        return self._places[-1]

    def look(self, place: int) -> Promise | None:
        """Of that place, which may be pending; None: there is no item, and none will come. Those before it are
        forgotten. Raises ValueError for one that is forgotten, or is after one that is pending."""
        if self.is_over(place):
            self._places.clear()
            self._first = place
            return None
        last = self._first + len(self._places) - 1
        if not self._first <= place <= last:
            raise ValueError(f"item {place} of a generator is asked for, which has items {self._first} to {last}")
        for _ in range(self._first, place):
            self._places.popleft()
        self._first = place
        return self._places[0]

    def is_over(self, place: int) -> bool:
        """There is no item there, and none will come."""
        return self.length is not None and place >= self.length

    def take(self, place: int) -> list[Told]:
        """Somebody has got the item of this place: whom to tell."""
        self.taken = max(self.taken, place + 1)
        due = [told for count, told in self._told if count <= self.taken]
        self._told = [waiting for waiting in self._told if waiting[0] > self.taken]
        return due

    def when_taken(self, count: int, told: Told) -> bool:
        """Have it told when so many were taken, or nobody takes any more; False: that is so by now."""
        if self.taken >= count or not self.is_going():
            return False
        self._told.append((count, told))
        return True

    def is_going(self) -> bool:
        """Items are wanted, and the call has not ended."""
        return self.is_wanted and self.length is None

    def give_up_waiting(self) -> list[Told]:
        """Nothing is taken any more that is still to come: whom to tell."""
        due = [told for _, told in self._told]
        self._told.clear()
        return due

    def abandon(self) -> None:
        """Nobody has its handle any more."""
        self.is_wanted = False
        self._places.clear()


class Window:
    """Of a generator: how many of its items may wait to be taken. `limit` below 0: any number.

    It is opened again by an eighth, so that not each item costs a question where there are many.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._refill = max(1, limit // _REFILL)
        self.sent = 0
        self._taken = 0

    def awaited(self) -> int:
        """How many have to be taken before the next item is made; 0: it may be made now."""
        if self._limit < 0 or self.sent - self._taken < self._limit:
            return 0
        return self.sent - self._limit + self._refill

    def taken(self, count: int) -> None:
        """So many were taken by now."""
        self._taken = count
