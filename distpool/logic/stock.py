"""The objects of one store: where each lies, who holds it, which must stay in memory, which is put on disk first.

It decides; the copying is up to the store's owner. A size is in bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

import msgspec

from distpool.ids import ObjectId
from distpool.logic.arena import Arena, Extent
from distpool.logic.holders import Holders
from distpool.logic.sizes import size_text

_LISTED = 5


class HolderKind(Enum):
    """Who can hold an object; the value says it in words."""

    OBJECT = "an object that names it"
    REFERENCE = "a reference, or a call that waits"
    WRITER = "a put that is under way"
    CALL = "a call that a worker was given"
    WORKER = "a worker"
    VALUE = "a value that lies in it"
    COPY = "a process whose object it is a copy of"
    ELSEWHERE = "a process of another machine"
    TRANSFER = "a transfer to another machine"
    FORK = "a child process that was forked while values lay in it"


_PINNING = frozenset(
    {
        HolderKind.WRITER,
        HolderKind.CALL,
        HolderKind.WORKER,
        HolderKind.VALUE,
        HolderKind.TRANSFER,
        HolderKind.FORK,
    }
)
"""While one of these holds an object, somebody may look at its memory."""


class Holder(NamedTuple):
    """One that can end. For objects the number is the object's."""

    kind: HolderKind
    number: int


class Stored(msgspec.Struct, eq=False):
    """One object. On disk (`is_spilled`) it keeps its addresses, but has no memory there. `is_damaged`: what was read
    back is not what had been written."""

    id: ObjectId
    size: int
    extent: Extent
    is_spilled: bool = False
    is_damaged: bool = False


class Stock:
    """The objects of one store. `limit`: bytes of memory in all; `warm_limit`: of them, kept for the next objects."""

    def __init__(self, limit: int, warm_limit: int) -> None:
        self.limit = limit
        self._arena = Arena(limit, warm_limit)
        self._holders: Holders[Holder] = Holders()
        self._objects: dict[ObjectId, Stored] = {}
        # Those in memory, the one used last at the end.
        self._in_memory: dict[ObjectId, None] = {}
        self._last_id = 0
        self.spilled = 0
        """Bytes on disk."""
        self.spilled_objects = 0

    # Objects --------------------------------------------------------------------------------------------------------

    def take(self, size: int, holder: Holder) -> tuple[Stored, int] | None:
        """A new object, and how many bytes of its memory are warm; None while there is no room for it.

        `surplus` comes before anything is written to it.
        """
        taken = self._arena.take(size)
        if taken is None:
            return None
        extent, warm = taken
        self._last_id += 1
        stored = Stored(ObjectId(self._last_id), size, extent)
        self._objects[stored.id] = stored
        self._in_memory[stored.id] = None
        self._holders.hold(as_holder(stored.id), holder)
        return stored, warm

    def find(self, object_id: ObjectId) -> Stored | None:
        """None when it was freed, or never was."""
        return self._objects.get(object_id)

    def touch(self, stored: Stored) -> None:
        """It is used: others go to disk first."""
        if stored.id in self._in_memory:
            del self._in_memory[stored.id]
            self._in_memory[stored.id] = None

    def forget_memory(self, stored: Stored) -> None:
        """The memory of a new object could not be had; what was, was given back."""
        self._arena.forget(stored.extent)

    def surplus(self, warm_limit: int | None = None) -> list[Extent]:
        """The extents of no object whose memory is to be given back now."""
        return self._arena.surplus(warm_limit)

    # Disk -----------------------------------------------------------------------------------------------------------

    def victim(self) -> Stored | None:
        """What goes to disk next: nobody looks at its memory, and nothing else was left unused for longer."""
        for object_id in self._in_memory:
            if not self._is_pinned(object_id):
                return self._objects[object_id]
        return None

    def in_values(self) -> list[Stored]:
        """Those that would be victims if no value lay in them, the one left unused longest first."""
        found = []
        for object_id in self._in_memory:
            pins = {holder.kind for holder in self._holders_of(object_id)} & _PINNING
            if pins == {HolderKind.VALUE}:
                found.append(self._objects[object_id])
        return found

    def spill(self, stored: Stored) -> None:
        """It lies on disk now, and its memory is given back."""
        stored.is_spilled = True
        del self._in_memory[stored.id]
        self._arena.forget(stored.extent)
        self.spilled += stored.size
        self.spilled_objects += 1

    def restore(self, stored: Stored) -> bool:
        """It is to lie in memory again, at its old addresses; False while there is no room. `surplus` comes first."""
        if not self._arena.revive(stored.extent, stored.size):
            return False
        self._uncount_spilled(stored)
        stored.is_spilled = False
        self._in_memory[stored.id] = None
        return True

    # Holders --------------------------------------------------------------------------------------------------------

    def hold(self, object_id: ObjectId, holder: Holder) -> bool:
        """False when there is no such object any more."""
        if object_id not in self._objects:
            return False
        self._holders.hold(as_holder(object_id), holder)
        return True

    def release(self, object_id: ObjectId, holder: Holder) -> list[Stored]:
        """The objects that nobody holds any more: they are gone."""
        return self._free(self._holders.release(as_holder(object_id), holder))

    def drop(self, holder: Holder) -> list[Stored]:
        """A holder has ended: the objects that nobody holds any more; they are gone."""
        return self._free(self._holders.drop(holder))

    def held_by(self, kind: HolderKind) -> list[ObjectId]:
        """The objects that have a holder of this kind."""
        return [key for key in self._objects if any(holder.kind is kind for holder in self._holders_of(key))]

    # Seen from outside ----------------------------------------------------------------------------------------------

    @property
    def used(self) -> int:
        """Bytes of memory that objects lie in."""
        return self._arena.used

    @property
    def warm(self) -> int:
        """Bytes of memory that no object lies in, kept for the next ones."""
        return self._arena.warm

    def objects(self) -> Iterable[Stored]:
        return self._objects.values()

    def table(self) -> str:
        """The largest objects and who holds them, one to a line."""
        largest = sorted(self._objects.values(), key=lambda stored: stored.size, reverse=True)
        lines = [f"  {self._describe(stored)}" for stored in largest[:_LISTED]]
        if len(largest) > _LISTED:
            rest = sum(stored.size for stored in largest[_LISTED:])
            lines.append(f"  and {len(largest) - _LISTED} more of {size_text(rest)} in all")
        return "\n".join(lines)

    def _describe(self, stored: Stored) -> str:
        counts: dict[str, int] = {}
        for holder in self._holders_of(stored.id):
            counts[holder.kind.value] = counts.get(holder.kind.value, 0) + 1
        held = ", ".join(text if count == 1 else f"{count} times {text}" for text, count in counts.items())
        where = "on disk" if stored.is_spilled else "in memory"
        return f"object {stored.id}: {size_text(stored.size)} {where}, held by {held}"

    def _holders_of(self, object_id: ObjectId) -> Iterable[Holder]:
        return self._holders.of(as_holder(object_id))

    def _is_pinned(self, object_id: ObjectId) -> bool:
        return any(holder.kind in _PINNING for holder in self._holders_of(object_id))

    def _free(self, freed: Iterable[Holder]) -> list[Stored]:
        gone = []
        for holder in freed:
            stored = self._objects.pop(ObjectId(holder.number))
            if stored.is_spilled:
                self._uncount_spilled(stored)
            else:
                del self._in_memory[stored.id]
                self._arena.free(stored.extent)
            gone.append(stored)
        return gone

    def _uncount_spilled(self, stored: Stored) -> None:
        self.spilled -= stored.size
        self.spilled_objects -= 1


def as_holder(object_id: ObjectId) -> Holder:
    """An object as the holder of those that it names."""
    return Holder(HolderKind.OBJECT, object_id)
