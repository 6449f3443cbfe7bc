"""Objects of other stores, as they lie in this process's own: whole, or still on their way here.

A copy is kept for as long as anybody in this process keeps its `Copy`. `find` may be called by any thread, all else is
up to whoever holds the loop.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable

from distpool.base_errors import ObjectLost, StoreFull
from distpool.ids import Key, ObjectId
from distpool.logic.stock import HolderKind
from distpool.objects.home import Home
from distpool.objects.segments import Room, readdressed

_ROOM_LIMIT_S = 5.0


class Copy:
    """One of them. `have`: so many bytes, from the first on, have come."""

    __slots__ = ("__weakref__", "_asked_at", "_home", "_room", "failure", "have", "is_whole", "key", "on_end", "size")

    def __init__(self, home: Home, key: Key) -> None:
        self.key = key
        self.size = -1
        self.have = 0
        self.is_whole = False
        self.failure = ""
        """Why it does not come; empty while it may."""
        self.on_end: list[Callable[[Copy], object]] = []
        """Called when it is whole, or does not come."""
        self._home = home
        self._room: Room | None = None
        self._asked_at: float | None = None

    @property
    def place(self) -> tuple[ObjectId, int]:
        """(its id here, where it lies in the memory of this process's store)"""
        assert self._room is not None
        return self._room.object, self._room.offset

    def begin(self, size: int) -> bool:
        """Take memory for it; False: there is none in this moment. Raises StoreFull when that lasts."""
        now = time.monotonic()
        self._asked_at = self._asked_at or now
        try:
            self._room = self._home.allocate(size, self._home.new_holder(HolderKind.WRITER))
        except StoreFull:
            if now > self._asked_at + _ROOM_LIMIT_S:
                raise
            return False
        self.size = size
        return True

    def write(self, start: int, payload: memoryview) -> None:
        """The next piece has come."""
        room = self._room
        assert room is not None
        piece = payload if start else readdressed(payload, room.object)
        self._home.memory.write(room.offset + start, [piece], max(0, room.warm - start))
        self.have = start + len(payload)

    def read(self, start: int, size: int) -> memoryview:
        """Of what has come, to be passed on."""
        assert self._room is not None
        return memoryview(self._home.memory.read(self._room.offset + start, size))

    def end(self, failure: str) -> None:
        """It is whole, or does not come."""
        self.failure = failure
        if not failure:
            assert self._room is not None
            self.is_whole = True
            self._room.hold.become(HolderKind.COPY)
        on_end, self.on_end = self.on_end, []
        for tell in on_end:
            tell(self)


_copies: weakref.WeakValueDictionary[Key, Copy] = weakref.WeakValueDictionary()


def find(key: Key) -> Copy | None:
    """The copy of this object, if there is one that is whole or on its way."""
    copy = _copies.get(key)
    return None if copy is None or copy.failure else copy


def make(home: Home, key: Key) -> Copy:
    """A new one, of which nothing has come yet."""
    copy = _copies[key] = Copy(home, key)
    return copy


class Offered:
    """An object that another process reads: one of this process's own store, or a copy that may still be on its way."""

    def __init__(self, home: Home, key: Key) -> None:
        """Raises ObjectLost, and StoreFull for one that is on disk and has no room in memory."""
        self._home = home
        self._copy = None if key[0] == home.id else find(key)
        self._view: memoryview | None = None
        self._size = -1
        if self._copy is None:
            if key[0] != home.id:
                raise ObjectLost(f"object {key[1]} is not, or not any more, in the store of process {home.pid}")
            self._look_at(key[1])
        elif self._copy.is_whole:
            self._look_at(self._copy.place[0])

    @property
    def size(self) -> int:
        """-1: not known yet."""
        return self._size if self._copy is None else self._copy.size

    @property
    def have(self) -> int:
        return self._size if self._copy is None else self._copy.have

    @property
    def failure(self) -> str:
        return "" if self._copy is None else self._copy.failure

    def read(self, start: int, size: int) -> memoryview:
        """A part of what is there. Raises ObjectLost and StoreFull."""
        if self._view is None:
            assert self._copy is not None
            if not self._copy.is_whole:
                return self._copy.read(start, size)
            self._look_at(self._copy.place[0])
        assert self._view is not None
        return self._view[start : start + size]

    def _look_at(self, object_id: ObjectId) -> None:
        """It stays in memory while it is looked at."""
        hold = self._home.bring_in(object_id, HolderKind.TRANSFER)
        with self._home.locked() as shelf:
            self._size, offset = shelf.place_of(object_id)
        self._view = self._home.memory.view(offset, self._size, hold.end, readonly=True)


def _forget_in_child() -> None:
    _copies.clear()


os.register_at_fork(after_in_child=_forget_in_child)
