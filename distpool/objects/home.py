"""The store that this process owns, and who holds what in it.

One lock guards it; it is held for decisions and for moves to and from disk, never while a user's code runs. What has
ended is noted without it, as that may happen at any place, and done by whoever has the lock next.
"""

from __future__ import annotations

import gc
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import TypeVar

from distpool.base_errors import StoreFull
from distpool.config import SETTINGS
from distpool.ids import ObjectId, StoreId
from distpool.interrupts import Deferral
from distpool.logic.stock import Holder, HolderKind, Stock, as_holder
from distpool.objects.forks import ForkGuards
from distpool.objects.known import Known
from distpool.objects.promises import TaskRef
from distpool.objects.refs import ObjectRef, names_of
from distpool.objects.segments import Allocate, Recipe, Room, write_object, write_value, write_whole
from distpool.objects.shelf import Shelf
from distpool.objects.stats import StoreStats
from distpool.serialization.buffers import Parts
from distpool.store.memory import Memory
from distpool.store.spill import Spill

Result = TypeVar("Result")


class Hold:
    """One holder of one object, until its end or its own."""

    __slots__ = ("__weakref__", "_holder", "_home", "id")

    def __init__(self, home: Home, object_id: ObjectId, holder: Holder) -> None:
        self.id = object_id
        self._home: Home | None = home
        self._holder = holder

    def become(self, kind: HolderKind) -> None:
        """Hold it as another kind of holder."""
        if self._home is not None and self._holder.kind is not kind:
            self._holder = self._home.rehold(self.id, self._holder, kind)

    def end(self) -> None:
        home, self._home = self._home, None
        if home is not None:
            home.end_hold(self.id, self._holder)

    __del__ = end


class Home:
    """The objects of one store. Any thread may call any method."""

    def __init__(self, store_id: StoreId, descriptor: int, limit: int, folder: str) -> None:
        self.id = store_id
        self.pid = os.getpid()
        self.memory = Memory(descriptor)
        self.is_foreign = False
        """This process was forked from the one that owns the store."""
        stock = Stock(limit, int(limit * SETTINGS.warm_share))
        self._shelf = Shelf(stock, self.memory, Spill(folder), self.pid, self._note_ends)
        self._lock = threading.Lock()
        self._locked_by = 0
        # Ctrl-C waits while the lock is held, however long that takes: nothing of a user's runs meanwhile.
        self._deferral = Deferral(lambda: None, lambda: False)
        self._ended: deque[tuple[ObjectId | None, Holder]] = deque()
        self._numbers = count(1)
        self._forks = ForkGuards()

    @contextmanager
    def locked(self) -> Iterator[Shelf]:
        """What lies in the store, for this thread alone."""
        if self._locked_by == threading.get_ident():
            raise RuntimeError("a finalizer or signal handler used the store while this thread changed it: do so later")
        handler = self._deferral.begin()
        try:
            with self._lock:
                self._locked_by = threading.get_ident()
                try:
                    yield self._shelf
                    self._drain()
                finally:
                    self._locked_by = 0
            self._settle()
        finally:
            self._deferral.end(handler)

    # Values ---------------------------------------------------------------------------------------------------------

    def put(self, parts: Parts | bytes, named: list[ObjectRef]) -> ObjectRef:
        """Store a value as an object, which holds those that it names. Raises StoreFull and InvalidRef."""
        tasks = [ref for ref in named if isinstance(ref, TaskRef)]
        inner = names_of([ref for ref in named if not isinstance(ref, TaskRef)], self.id)
        room, size = self._write(lambda allocate: write_object(parts, self.memory, allocate))
        room.hold.become(HolderKind.REFERENCE)
        with self.locked() as shelf:
            for object_id in inner:
                shelf.hold(object_id, as_holder(room.object))
            if tasks:
                shelf.companions[room.object] = tasks
        ref = ObjectRef(self.id, room.object, room.offset, size, self.pid)
        ref._hold = room.hold
        return ref

    def keep(self, parts: Parts, known: Known) -> Recipe:
        """Store what is large of the arguments of a call. Raises StoreFull."""
        recipe: Recipe = self._write(lambda allocate: write_value(parts, self.memory, allocate, known))
        for hold in recipe.holds:
            hold.become(HolderKind.REFERENCE)
        return recipe

    def view(self, object_id: ObjectId, offset: int, size: int, *, readonly: bool) -> memoryview:
        """The beginning of an object's segment: a private copy, or else the shared memory itself, while there is a view
        of it. What is on disk and has no room in memory is read into this process's own. Raises ObjectLost."""

        try:
            hold = _retried(lambda: self.bring_in(object_id, HolderKind.VALUE))
        except StoreFull:
            with self.locked() as shelf:
                copy = shelf.read_from_disk(object_id, size)
            return memoryview(copy).toreadonly() if readonly else memoryview(copy)
        return self.memory.view(offset, size, hold.end, readonly=readonly)

    def bring_in(self, object_id: ObjectId, kind: HolderKind) -> Hold:
        """See that it is in memory, and stays there for a holder of a kind that pins. Raises ObjectLost and
        StoreFull."""
        holder = self.new_holder(kind)
        with self.locked() as shelf:
            shelf.bring_in(object_id, holder)
            return Hold(self, object_id, holder)

    def have(self, object_id: ObjectId) -> None:
        """Whoever views it has it."""

    def allocate(self, size: int, holder: Holder) -> Room:
        """Memory for a new object; for a writer of this process with what holds it. Raises StoreFull."""

        def take() -> Room:
            with self.locked() as shelf:
                stored, warm = shelf.take(size, holder)
                hold = Hold(self, stored.id, holder) if holder.kind is HolderKind.WRITER else None
                return Room(stored.id, stored.extent.offset, warm, hold)

        # A worker's request waits for others instead, see `StoreLanes`.
        return _retried(take) if holder.kind is HolderKind.WRITER else take()

    def tell_of_ends(self, tell: Callable[[], None]) -> None:
        """Have `tell` called whenever a holder has ended; it may be called at any place."""
        with self.locked() as shelf:
            shelf.on_end = tell

    def bytes_of(self, objects: Iterable[ObjectId]) -> int:
        """The size of these objects in all."""
        with self.locked() as shelf:
            return sum(map(shelf.size_of, objects))

    def stats(self) -> StoreStats:
        with self.locked() as shelf:
            self._note_ends()
            return shelf.stats()

    def cool_at(self) -> float | None:
        """When memory of no object is to be given back, if none is made or freed until then."""
        return self._shelf.cool_at()

    def cool(self) -> None:
        """Give it back."""
        with self.locked() as shelf:
            shelf.cool()

    # Holders --------------------------------------------------------------------------------------------------------

    def hold(self, object_id: ObjectId, kind: HolderKind = HolderKind.REFERENCE) -> Hold | None:
        """None when the object is gone."""
        holder = self.new_holder(kind)
        with self.locked() as shelf:
            return Hold(self, object_id, holder) if shelf.hold(object_id, holder) else None

    def rehold(self, object_id: ObjectId, holder: Holder, kind: HolderKind) -> Holder:
        """Let a holder of another kind take the place of this one."""
        new = self.new_holder(kind)
        with self.locked() as shelf:
            shelf.hold(object_id, new)
            shelf.release(object_id, holder)
        return new

    def end_hold(self, object_id: ObjectId | None, holder: Holder) -> None:
        """A holder has ended; without an object, of all that it holds. It may be called at any place."""
        if self.is_foreign:
            return
        self._ended.append((object_id, holder))
        self._settle()

    def new_holder(self, kind: HolderKind) -> Holder:
        return Holder(kind, next(self._numbers))

    # Forks ----------------------------------------------------------------------------------------------------------

    def note_fork(self) -> None:
        """This process is about to be forked: the child has its values for as long as it lives."""
        with self.locked() as shelf:
            values = shelf.held_by(HolderKind.VALUE)
            if values:
                holder = self.new_holder(HolderKind.FORK)
                for object_id in values:
                    shelf.hold(object_id, holder)
                self._forks.open(lambda: self.end_hold(None, holder))

    def fork_done(self, *, is_child: bool) -> None:
        """After the fork, on both sides."""
        if is_child:
            self.is_foreign = True
        self._forks.forked(is_child=is_child)

    # With the lock --------------------------------------------------------------------------------------------------

    def _note_ends(self) -> None:
        """See that what has ended by now is freed."""
        self._forks.look()
        self._drain()

    def _drain(self) -> None:
        while self._ended:
            object_id, holder = self._ended.popleft()
            if object_id is None:
                self._shelf.drop(holder)
            else:
                self._shelf.release(object_id, holder)

    # Without it -----------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Do what has ended, unless somebody has the lock, who does it then."""
        handler = self._deferral.begin()
        try:
            while self._ended:
                if not self._lock.acquire(blocking=False):
                    return
                try:
                    self._drain()
                finally:
                    self._lock.release()
        finally:
            self._deferral.end(handler)

    def _write(self, write: Callable[[Allocate], Result]) -> Result:
        return write_whole(write, lambda size: self.allocate(size, self.new_holder(HolderKind.WRITER)), self._give_up)

    def _give_up(self, rooms: list[Room]) -> None:
        with self.locked() as shelf:
            for room in rooms:
                shelf.forget_memory(room.object)

    def close(self) -> None:
        """Nobody uses it any more."""
        self._shelf.close()


def _retried(function: Callable[[], Result]) -> Result:
    """Once more after the garbage collector has run, if the store is full: cycles may hold values."""
    try:
        return function()
    except StoreFull:
        gc.collect()
        return function()
