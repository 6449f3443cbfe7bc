"""What lies where in one store: memory taken and given back, objects put on disk and fetched again.

One owner, `Home`, which holds its lock whenever it calls anything here. What to do is decided by `Stock`.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable

from distpool.base_errors import ObjectLost, StoreFull
from distpool.config import SETTINGS
from distpool.ids import ObjectId
from distpool.logic.arena import Extent
from distpool.logic.sizes import size_text
from distpool.logic.stock import Holder, HolderKind, Stock, Stored
from distpool.objects.limits import memory_is_short
from distpool.objects.stats import StoreStats
from distpool.store.memory import Memory
from distpool.store.spill import Spill


class Shelf:
    """The objects of one store in its memory and on disk. `note_ends` is called before anything is put on disk: it has
    what has ended by then removed."""

    def __init__(self, stock: Stock, memory: Memory, spill: Spill, pid: int, note_ends: Callable[[], None]) -> None:
        self._stock = stock
        self._memory = memory
        self._spill = spill
        self._pid = pid
        self._note_ends = note_ends
        # When something was last made or freed.
        self._used_at = 0.0
        self._ask_at = 0.0
        self.companions: dict[ObjectId, object] = {}
        """What lasts as long as an object: the refs of tasks that it names."""
        self.on_end: Callable[[], None] = _do_nothing
        """Called when a holder has ended."""
        self.on_freed: Callable[[list[ObjectId]], None] = _tell_nobody
        """Called with the objects that were freed, at any place; it must do little."""

    def hold(self, object_id: ObjectId, holder: Holder) -> bool:
        """False when there is no such object any more."""
        return self._stock.hold(object_id, holder)

    def size_of(self, object_id: ObjectId) -> int:
        """0 when there is no such object any more."""
        stored = self._stock.find(object_id)
        return 0 if stored is None else stored.size

    def place_of(self, object_id: ObjectId) -> tuple[int, int]:
        """(its size, where in the memory it lies or would lie). Raises ObjectLost."""
        stored = self._stock.find(object_id)
        if stored is None:
            raise ObjectLost(lost_text(object_id, self._pid))
        return stored.size, stored.extent.offset

    def held_by(self, kind: HolderKind) -> list[ObjectId]:
        """The objects that have a holder of this kind."""
        return self._stock.held_by(kind)

    def release(self, object_id: ObjectId, holder: Holder) -> None:
        """The holder has ended for this object; free what nobody holds."""
        self._remove(self._stock.release(object_id, holder))
        self.on_end()

    def drop(self, holder: Holder) -> None:
        """The holder has ended; free what nobody holds."""
        self._remove(self._stock.drop(holder))
        self.on_end()

    def take(self, size: int, holder: Holder) -> tuple[Stored, int]:
        """Memory for a new object, and how many bytes of it are warm. Raises StoreFull."""
        self._used_at = time.monotonic()
        while True:
            taken = self._stock.take(size, holder)
            if taken is not None:
                self._give_back(self._stock.surplus())
                return taken
            self._make_room(size)

    def forget_memory(self, object_id: ObjectId) -> None:
        """What was written to it is not whole."""
        stored = self._stock.find(object_id)
        if stored is not None:
            self._stock.forget_memory(stored)
            self._memory.give_back(stored.extent.offset, stored.extent.room)

    def bring_in(self, object_id: ObjectId, holder: Holder) -> None:
        """See that the object is in memory, and stays for this holder. Raises ObjectLost, and StoreFull when it has no
        room there."""
        stored = self._stock.find(object_id)
        if stored is None:
            raise ObjectLost(lost_text(object_id, self._pid))
        if stored.is_spilled:
            self._restore(stored)
        if stored.is_damaged:
            raise ObjectLost(f"object {object_id} of process {self._pid} was damaged on disk, in {self._spill.folder}")
        self._stock.touch(stored)
        self._stock.hold(object_id, holder)

    def read_from_disk(self, object_id: ObjectId, size: int) -> bytearray:
        """A copy of the first `size` bytes of an object that has no room in memory. Raises ObjectLost."""
        stored = self._stock.find(object_id)
        if stored is None:
            raise ObjectLost(lost_text(object_id, self._pid))
        try:
            return self._spill.copy(stored.extent.offset, size)
        except OSError as error:
            raise self._unreadable(stored, error) from error

    def cool_at(self) -> float | None:
        """When memory of no object is to be given back, if none is made or freed until then."""
        return self._used_at + SETTINGS.warm_after_s if self._stock.warm else None

    def cool(self) -> None:
        """Give back the memory of no object."""
        self._give_back(self._stock.surplus(0))

    def stats(self) -> StoreStats:
        stock = self._stock
        sizes = [stored.size for stored in stock.objects()]
        return StoreStats(
            stock.limit,
            stock.used,
            stock.warm,
            stock.spilled,
            len(sizes),
            stock.spilled_objects,
            max(sizes, default=0),
        )

    def close(self) -> None:
        """Nobody uses it any more."""
        self._spill.close()
        self._memory.close()

    def _remove(self, freed: list[Stored]) -> None:
        for stored in freed:
            if stored.is_spilled:
                self._spill.remove(stored.extent.offset)
            self.companions.pop(stored.id, None)
        if freed:
            self.on_freed([stored.id for stored in freed])
            self._used_at = time.monotonic()
            self._give_back(self._stock.surplus(self._warm_limit()))

    def _warm_limit(self) -> int | None:
        """How much memory of no object may be kept; None leaves it to the stock. The system is asked now and then, but
        not while the interpreter ends, when there is no `open` any more."""
        now = time.monotonic()
        if now < self._ask_at or sys.is_finalizing():
            return None
        self._ask_at = now + SETTINGS.ask_memory_s
        return 0 if memory_is_short() else None

    def _give_back(self, extents: list[Extent]) -> None:
        for extent in extents:
            self._memory.give_back(extent.offset, extent.room)

    def _restore(self, stored: Stored) -> None:
        while not self._stock.restore(stored):
            self._make_room(stored.size)
        self._give_back(self._stock.surplus())
        offset = stored.extent.offset
        try:
            is_whole = self._spill.read(self._memory, offset)
        except OSError as error:
            self._stock.spill(stored)
            self._memory.give_back(offset, stored.extent.room)
            raise self._unreadable(stored, error) from error
        self._spill.remove(offset)
        if not is_whole:
            stored.is_damaged = True

    def _make_room(self, size: int) -> None:
        """Put something on disk, or out of the store. Raises StoreFull."""
        self._note_ends()
        victim = self._stock.victim() if size <= self._stock.limit else None
        if victim is None:
            if size <= self._stock.limit and self._unshare():
                return
            raise StoreFull(self._full_text(size))
        try:
            self._spill.write(self._memory, victim.extent.offset, victim.size)
        except OSError as error:
            raise StoreFull(f"{self._full_text(size)}\nWriting to the spill folder failed: {error}") from error
        self._stock.spill(victim)
        self._memory.give_back(victim.extent.offset, victim.extent.room)

    def _unreadable(self, stored: Stored, error: OSError) -> ObjectLost:
        return ObjectLost(f"object {stored.id} cannot be read back from {self._spill.folder}: {error}")

    def _unshare(self) -> bool:
        """Let a value of this process have memory of its own, as it has with the standard library."""
        for stored in self._stock.in_values():
            if self._memory.mappings.unshare(stored.extent.offset):
                self._note_ends()
                return True
        return False

    def _full_text(self, size: int) -> str:
        stock = self._stock
        try:
            free = size_text(shutil.disk_usage(self._spill.folder).free)
        except OSError as error:
            free = str(error)
        return (
            f"the store has no room for {size_text(size)}: of its {size_text(stock.limit)} of memory "
            f"{size_text(stock.used)} are in use, and nothing more of that can go to the spill folder "
            f"{self._spill.folder} ({size_text(stock.spilled)} are there, {free} are free). Drop values and refs that "
            f"are not needed, or set DISTPOOL_STORE_SIZE. The largest objects:\n{stock.table()}"
        )


def _do_nothing() -> None:
    pass


def _tell_nobody(objects: list[ObjectId]) -> None:
    pass


def lost_text(object_id: ObjectId, home_pid: int) -> str:
    return (
        f"object {object_id} of process {home_pid} is gone: it was freed when its last ref was released or dropped. "
        "Keep a ref for as long as the value is needed."
    )
