"""A worker's side of its node's store: memory of its own to write to, and what it keeps beyond a call.

The objects of a call's arguments are pinned by its caller until the call ends. What is still looked at then, the worker
holds itself, and says so before it tells the result; mostly there is nothing to say.
"""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, TypeVar

from distpool.base_errors import InvalidRef, ObjectLost, StoreFull
from distpool.ids import ObjectId, StoreId
from distpool.objects.borrowed import Borrowed, Borrowing
from distpool.objects.forks import ForkGuards
from distpool.objects.known import Known
from distpool.objects.refs import ObjectRef, names_of, out_of_reach
from distpool.objects.segments import Allocate, Recipe, Result, Room, lies_there, write_object, write_value, write_whole
from distpool.objects.stats import StoreStats
from distpool.protocol.codec import decode_store, encode
from distpool.protocol.messages import Message
from distpool.protocol.store import (
    AskStoreStats,
    BringObjects,
    DropObjects,
    HoldObjects,
    KeepForeign,
    MemoryReserved,
    NameObjects,
    ObjectsBrought,
    ObjectsHeld,
    ReserveMemory,
    StoreRefused,
    StoreStatsTold,
)
from distpool.serialization.buffers import Parts
from distpool.store.memory import Memory
from distpool.transport.frames import receive_frame, send_frame

Answer = TypeVar("Answer", bound=Message)

_FOREIGN = ObjectId(0)
"""Among the news and what was dropped: that there is some of other stores."""


class Loan:
    """One use of one object in this process."""

    __slots__ = ("__weakref__", "_store", "id")

    def __init__(self, store: RemoteStore, object_id: ObjectId) -> None:
        self.id = object_id
        self._store: RemoteStore | None = store

    def end(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.end_loan(self.id)

    __del__ = end


class RemoteStore:
    """The store at the other end of a socket. Any thread may call any method."""

    def __init__(
        self,
        store_id: StoreId,
        descriptor: int,
        sock: socket.socket,
        home_pid: int,
        news: set[ObjectId],
        dropped: deque[ObjectId],
    ) -> None:
        self.id = store_id
        self.home_pid = home_pid
        self.memory = Memory(descriptor)
        self.is_foreign = False
        """This process was forked from the worker."""
        self._news = news
        self._dropped = dropped
        self._uses: dict[ObjectId, int] = {}
        self._held: set[ObjectId] = set()
        self._sock = sock
        # Held for one request and its answer.
        self._asking = threading.Lock()
        # Held for a step of the counts; re-entrant, as a use may end at any place.
        self._counting = threading.RLock()
        self._numbers = count(1)
        self._main_thread = threading.get_ident()
        self.forks = ForkGuards()
        """Children of this process that may still use what they were forked with."""
        self._borrowing = Borrowing(lambda: dropped.append(_FOREIGN))

    # Values ---------------------------------------------------------------------------------------------------------

    def put(self, parts: Parts | bytes, named: list[ObjectRef]) -> ObjectRef:
        """Store a value as an object, which holds those that it names. Raises StoreFull and InvalidRef."""
        inner = names_of(named, self.id)
        room, size = self._write(lambda allocate: write_object(parts, self.memory, allocate))
        if inner:
            self._ask(NameObjects(next(self._numbers), room.object, inner), ObjectsHeld)
        ref = ObjectRef(self.id, room.object, room.offset, size, self.home_pid)
        ref._hold = room.hold
        return ref

    def keep(self, parts: Parts) -> Recipe:
        """Store what is large of a result. Raises StoreFull."""
        recipe: Recipe = self._write(lambda allocate: write_value(parts, self.memory, allocate, Known()))
        return recipe

    def give_away(self, hold: Loan) -> ObjectId:
        """The caller holds it from now on, and this worker does not."""
        with self._counting:
            self._held.discard(hold.id)
        return hold.id

    def hold(self, object_id: ObjectId) -> Loan:
        """For a ref: what it names is held by whoever sent it, for now."""
        return self._use(object_id)

    def view(self, object_id: ObjectId, offset: int, size: int, *, readonly: bool) -> memoryview:
        """The beginning of the segment of an object of the arguments, or of one that `have` was asked for: a private
        copy, or else the shared memory itself. Raises ObjectLost and StoreFull."""
        loan = self._use(object_id)
        if not lies_there(self.memory, object_id, offset):
            self._fetch(object_id)  # it is on disk
        return self.memory.view(offset, size, loan.end, readonly=readonly)

    def have(self, object_id: ObjectId) -> None:
        """Hold it, so that it stays in memory if it is there. Raises ObjectLost and StoreFull."""
        if not (self.is_foreign or object_id in self._held):
            self._fetch(object_id)

    def _fetch(self, object_id: ObjectId) -> None:
        """See that it is in memory and stays there until nobody here uses it. Raises ObjectLost and StoreFull."""
        loan = self._use(object_id)
        if self._ask(HoldObjects(next(self._numbers), [object_id], True), ObjectsHeld).gone:
            raise ObjectLost(f"object {object_id} of process {self.home_pid} is gone: no ref to it was left")
        self._note_held([object_id])
        loan.end()

    # Objects of other stores ----------------------------------------------------------------------------------------

    def bring(self, store_id: StoreId, objects: list[ObjectId]) -> tuple[list[tuple[ObjectId, int]], list[Loan]]:
        """Where they lie in this store from now on, and what keeps them there. Raises ObjectLost and StoreFull."""
        told = self._ask(BringObjects(next(self._numbers), store_id, objects), ObjectsBrought)
        if told.failure:
            raise ObjectLost(told.failure)
        if not told.places:
            raise InvalidRef(out_of_reach(objects[0]))
        brought = [object_id for object_id, _ in told.places]
        loans = [self._use(object_id) for object_id in brought]
        self._note_held(brought)
        return told.places, loans

    def borrow(self, store_id: StoreId, object_id: ObjectId) -> Borrowed:
        """For a ref: what it names is held by whoever sent it, for now."""
        with self._counting:
            self._news.add(_FOREIGN)
        return self._borrowing.take((store_id, object_id))

    def settle(self) -> None:
        """At the end of a call, before its result is told: hold what is still in use."""
        if self._borrowing.has_news():
            gc.collect(1)
            self._tell_borrowed()
        if not self._in_use():
            return
        # A call leaves cycles behind, of closures for instance; they are young, so this is quick.
        gc.collect(1)
        kept = self._in_use()
        self._news.clear()
        if kept:
            # Nothing that was dropped may be told of before the result, which may name it.
            self._ask(HoldObjects(next(self._numbers), kept, False), ObjectsHeld)
            self._note_held(kept)

    def flush(self) -> None:
        """After the result was told: say what was dropped, also by children that have ended."""
        self.forks.look()
        dropped = []
        while self._dropped:
            dropped.append(self._dropped.popleft())
        if _FOREIGN in dropped:
            self._tell_borrowed()
            dropped = [object_id for object_id in dropped if object_id != _FOREIGN]
        if dropped:
            self._send(DropObjects(dropped))

    def _tell_borrowed(self) -> None:
        kept, dropped = self._borrowing.changes()
        if kept or dropped:
            self._ask(KeepForeign(next(self._numbers), kept, dropped), ObjectsHeld)

    def stats(self) -> StoreStats:
        return StoreStats(*self._ask(AskStoreStats(next(self._numbers)), StoreStatsTold).values)

    # Forks ----------------------------------------------------------------------------------------------------------

    def note_fork(self) -> None:
        """This process is about to be forked: the child uses what is used here now, for as long as it lives."""
        loans = [self._use(object_id) for object_id in list(self._uses)]
        if loans:
            self.forks.open(loans.clear)

    def fork_done(self, *, is_child: bool) -> None:
        """After the fork, on both sides."""
        if is_child:
            self.is_foreign = self._borrowing.is_foreign = True
        self.forks.forked(is_child=is_child)

    # Uses -----------------------------------------------------------------------------------------------------------

    def end_loan(self, object_id: ObjectId) -> None:
        """It may be called at any place."""
        if self.is_foreign:
            return
        with self._counting:
            left = self._uses[object_id] - 1
            if left:
                self._uses[object_id] = left
                return
            del self._uses[object_id]
            if object_id not in self._held:
                return
            self._held.remove(object_id)
        if threading.get_ident() == self._main_thread:
            self._dropped.append(object_id)
        else:
            self._send(DropObjects([object_id]))

    def _in_use(self) -> list[ObjectId]:
        """Of the news; without any, they are forgotten."""
        with self._counting:
            kept = [object_id for object_id in self._news if object_id in self._uses]
            if not kept:
                self._news.clear()
            return kept

    def _use(self, object_id: ObjectId) -> Loan:
        with self._counting:
            self._uses[object_id] = self._uses.get(object_id, 0) + 1
            if object_id not in self._held:
                self._news.add(object_id)
        return Loan(self, object_id)

    def _note_held(self, objects: Iterable[ObjectId]) -> None:
        with self._counting:
            for object_id in objects:
                self._news.discard(object_id)
                if object_id in self._dropped:
                    self._dropped.remove(object_id)
                if object_id in self._uses:
                    self._held.add(object_id)
                else:
                    self._dropped.append(object_id)

    # The socket -----------------------------------------------------------------------------------------------------

    def _allocate(self, size: int) -> Room:
        told = self._ask(ReserveMemory(next(self._numbers), size), MemoryReserved)
        with self._counting:
            self._held.add(told.object)
        return Room(told.object, told.offset, told.warm, self._use(told.object))

    def _write(self, write: Callable[[Allocate], Result]) -> Result:
        return write_whole(write, self._allocate, self._give_up)

    def _give_up(self, rooms: list[Room]) -> None:
        self._send(DropObjects([self.give_away(room.hold) for room in rooms], True))

    def _ask(self, request: Any, kind: type[Answer]) -> Answer:
        """Raises StoreFull when the store says so."""
        if self.is_foreign:
            raise ObjectLost("this process was forked from a worker, and cannot use the worker's store")
        with self._asking:
            self._send(request)
            while True:
                frame = receive_frame(self._sock)
                if not frame:
                    os._exit(1)  # The store's process is gone, and with it everyone who could want a result.
                answer = decode_store(frame)
                if answer.number == request.number:
                    break
                if isinstance(answer, MemoryReserved):
                    # Whoever asked was interrupted before the answer.
                    self._send(DropObjects([answer.object]))
        if isinstance(answer, StoreRefused):
            raise StoreFull(answer.text)
        assert isinstance(answer, kind)
        return answer

    def _send(self, message: Message) -> None:
        try:
            send_frame(self._sock, encode(message))
        except (BrokenPipeError, ConnectionResetError):
            os._exit(1)
