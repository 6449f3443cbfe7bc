"""Where in the store's shared memory an object lies, and which pages are kept for the next one.

The memory is one sparse file of the kernel's: addresses in it cost nothing and are never scarce, pages are. So each
extent has addresses of its own for good; what is decided here is which extents have pages. Pages that were touched
before take a copy at 13 GB/s, fresh ones at 0.7, so a freed extent stays warm for the next object of about its size.
"""

from __future__ import annotations

from bisect import bisect_left, insort

import msgspec

PAGE = 4096
_STEPS = 4
"""Classes of room to a doubling."""


class Extent(msgspec.Struct, eq=False):
    """`offset` and `room`, its addresses, and `resident`, how much of it from its beginning has pages, in bytes."""

    offset: int
    room: int
    resident: int = 0


class Arena:
    """The extents of one store. `limit`: the most bytes that may have pages; `warm_limit`: of those, of no object."""

    def __init__(self, limit: int, warm_limit: int) -> None:
        self._limit = limit
        self._warm_limit = warm_limit
        self._end = 0
        self._rooms: list[int] = []
        """Of warm extents, ascending, each once."""
        self._warm: dict[int, list[Extent]] = {}
        self._freed: dict[Extent, None] = {}
        """Warm extents, the one freed first in front."""
        self.used = 0
        """Bytes with pages that objects lie in."""
        self.warm = 0
        """Bytes with pages that no object lies in."""

    def take(self, size: int) -> tuple[Extent, int] | None:
        """An extent for so many bytes, and how many of its bytes have pages by now.

        None when it does not fit beside what is taken. `surplus` comes first: what it gives makes room for the pages.
        """
        pages = whole_pages(size)
        if self.used + pages > self._limit:
            return None
        extent = self._pop_warm(room_for(size))
        if extent is None:
            extent = Extent(self._end, room_for(size))
            self._end += extent.room
        had = extent.resident
        extent.resident = max(had, pages)
        self.used += extent.resident
        return extent, had

    def free(self, extent: Extent) -> None:
        """Nobody has what lay there, and nobody maps it."""
        if not extent.resident:
            return
        self.used -= extent.resident
        self.warm += extent.resident
        if extent.room not in self._warm:
            self._warm[extent.room] = []
            insort(self._rooms, extent.room)
        self._warm[extent.room].append(extent)
        self._freed[extent] = None

    def forget(self, extent: Extent) -> None:
        """Its pages were given back: they could not all be had, or what lay there was put elsewhere. Its addresses stay
        its own."""
        self.used -= extent.resident
        extent.resident = 0

    def revive(self, extent: Extent, size: int) -> bool:
        """Pages again for an extent that has none; False when they do not fit beside what is taken. `surplus` comes
        first."""
        pages = whole_pages(size)
        if self.used + pages > self._limit:
            return False
        extent.resident = pages
        self.used += pages
        return True

    def surplus(self, warm_limit: int | None = None) -> list[Extent]:
        """The extents whose pages are to be given back, those freed first: more is warm than may be."""
        allowed = min(self._warm_limit if warm_limit is None else warm_limit, self._limit - self.used)
        dropped = []
        while self.warm > allowed:
            extent = next(iter(self._freed))
            self._remove_warm(extent)
            dropped.append(extent)
        return dropped

    def _pop_warm(self, room: int) -> Extent | None:
        """One of about this room, the smallest that fits; of those the one freed last, whose pages are in the cache."""
        for larger in self._rooms[bisect_left(self._rooms, room) :]:
            if larger > 2 * room:
                break
            extent = self._warm[larger][-1]
            if self.used + extent.resident <= self._limit:
                self._remove_warm(extent)
                return extent
        return None

    def _remove_warm(self, extent: Extent) -> None:
        self.warm -= extent.resident
        del self._freed[extent]
        others = self._warm[extent.room]
        others.remove(extent)
        if not others:
            del self._warm[extent.room]
            self._rooms.remove(extent.room)


def whole_pages(size: int) -> int:
    """Bytes of the pages that so many bytes need, at least one."""
    return max(PAGE, -(-size // PAGE) * PAGE)


def room_for(size: int) -> int:
    """Bytes of addresses for so many bytes: less than a quarter more, so that objects of about a size share extents."""
    pages = whole_pages(size)
    step = max(PAGE, 1 << max(0, (pages - 1).bit_length() - 1 - (_STEPS.bit_length() - 1)))
    return -(-pages // step) * step
