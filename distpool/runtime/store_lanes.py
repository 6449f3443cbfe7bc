"""The workers' lanes to the store of this process: they ask for memory, and tell what they keep.

A request for which the store is full waits for as long as some other worker runs a call, whose end may make room.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec

from distpool.base_errors import StoreFull
from distpool.ids import LeaseId
from distpool.objects.stores import home, made_home
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
from distpool.transport.frames import DONT_WAIT, receive_frame, send_frame
from distpool.transport.pairs import socket_pair

if TYPE_CHECKING:
    from distpool.objects.home import Home
    from distpool.objects.lending import Lending


ServeForeign = Callable[[LeaseId, Any, Callable[[Message], None]], None]


class StoreLanes:
    """Owned by whoever holds the loop."""

    def __init__(
        self,
        epoll: select.epoll,
        wake: Callable[[], None],
        runs: Callable[[LeaseId], bool],
        read_ring: Callable[[LeaseId], None],
    ) -> None:
        """`wake`: have a turn run; `runs`: whether the worker of this lease has calls; `read_ring`: hear what it has
        told by its ring."""
        self.leases: dict[int, LeaseId] = {}
        """By descriptor."""
        self._socks: dict[LeaseId, socket.socket] = {}
        self._waiting: dict[LeaseId, Message] = {}
        self._epoll = epoll
        self._wake = wake
        self._runs = runs
        self._read_ring = read_ring
        self.serve_foreign: ServeForeign | None = None
        """Sees to objects of other stores, and answers; None where there is no way to them."""

    def open(self, lease: LeaseId) -> socket.socket:
        """The worker's end; it is the caller's to close."""
        ours, theirs = socket_pair()
        ours.setblocking(False)
        self._socks[lease] = ours
        self.leases[ours.fileno()] = lease
        self._epoll.register(ours, select.EPOLLIN)
        return theirs

    def read(self, descriptor: int) -> None:
        """Answer what was asked."""
        lease = self.leases[descriptor]
        sock = self._socks[lease]
        while True:
            try:
                frame = receive_frame(sock, DONT_WAIT)
            except BlockingIOError:
                return
            except ConnectionResetError:
                frame = b""
            if not frame:
                self._forget(lease)
                return
            message = decode_store(frame)
            if type(message) in (BringObjects, KeepForeign) and self.serve_foreign is not None:
                self.serve_foreign(lease, message, partial(self._tell, lease))
                continue
            if type(message) is DropObjects:
                # First the results that were told before it: they may name what is dropped now.
                self._read_ring(lease)
            try:
                answer = _answer(lease, message)
            except StoreFull:
                home().tell_of_ends(self._wake)
                self._waiting[lease] = message
                continue
            self._tell(lease, answer)

    def retry(self) -> None:
        """At the end of a turn: look again at the requests for which the store was full."""
        if not self._waiting:
            return
        text = ""
        for lease, message in list(self._waiting.items()):
            try:
                answer = _answer(lease, message)
            except StoreFull as error:
                text = str(error)
                continue
            del self._waiting[lease]
            self._tell(lease, answer)
        if self._waiting and not any(self._runs(lease) for lease in self._socks if lease not in self._waiting):
            # They wait for each other, or for this program: one has to give up, and may make room for the others.
            lease, message = self._waiting.popitem()
            self._tell(lease, StoreRefused(message.number, text))  # type: ignore[attr-defined]
        if not self._waiting:
            home().tell_of_ends(_do_nothing)

    def bury(self, lease: LeaseId) -> None:
        """The worker has ended, and all that it told was read."""
        self._forget(lease)
        store = made_home()
        if store is not None:
            _lending(store, lease).end()

    def cool(self) -> float | None:
        """Before the loop sleeps: give back the memory that was kept for the next objects, or say when it is time."""
        store = made_home()
        cool_at = None if store is None else store.cool_at()
        if store is None or cool_at is None or time.monotonic() < cool_at:
            return cool_at
        store.cool()
        return None

    def close(self) -> None:
        """In a forked child: let go of the descriptors."""
        for sock in self._socks.values():
            sock.close()
        self._socks.clear()
        self.leases.clear()

    def _tell(self, lease: LeaseId, answer: Message | None) -> None:
        if answer is not None and lease in self._socks:
            try:
                send_frame(self._socks[lease], encode(answer))
            except (BrokenPipeError, ConnectionResetError):
                pass  # The worker has ended, which is told elsewhere.

    def _forget(self, lease: LeaseId) -> None:
        if self._waiting.pop(lease, None) is not None and not self._waiting:
            home().tell_of_ends(_do_nothing)
        sock = self._socks.pop(lease, None)
        if sock is not None:
            self._epoll.unregister(sock)
            del self.leases[sock.fileno()]
            sock.close()


def _answer(lease: LeaseId, message: Any) -> Message | None:
    """Raises StoreFull when there is no room in this moment."""
    try:
        return _serve(lease, message)
    except (ValueError, TypeError) as error:  # the store's settings make no sense
        number = getattr(message, "number", None)
        if number is None:
            raise
        return StoreRefused(number, str(error))


def _serve(lease: LeaseId, message: Any) -> Message | None:
    store = home()
    worker = _lending(store, lease)
    match message:
        case ReserveMemory(number, size):
            try:
                room = worker.reserve(size)
            except StoreFull as error:
                if size > store.stats().limit_bytes:
                    return StoreRefused(number, str(error))
                raise
            return MemoryReserved(number, room.object, room.offset, room.warm)
        case HoldObjects(number, objects, in_memory):
            return ObjectsHeld(number, worker.hold(objects, in_memory=in_memory))
        case NameObjects(number, object_id, named):
            worker.name(object_id, named)
            return ObjectsHeld(number, [])
        case DropObjects(objects, unwritten):
            worker.drop(objects, unwritten=unwritten)
            return None
        case BringObjects(number) | KeepForeign(number):
            return ObjectsBrought(number, []) if isinstance(message, BringObjects) else ObjectsHeld(number, [])
        case AskStoreStats(number):
            return StoreStatsTold(number, list(msgspec.structs.astuple(store.stats())))
        case other:
            raise TypeError(f"a worker cannot tell the store {other!r}")


def _do_nothing() -> None:
    pass


def _lending(store: Home, lease: LeaseId) -> Lending:
    lending: Lending = import_module("distpool.objects.lending").Lending(store, lease)
    return lending
