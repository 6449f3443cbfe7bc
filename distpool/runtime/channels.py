"""The sockets by which objects go from process to process: one that listens, and those to others that listen.

A channel is a `Place` that this process has connected to, or the route of one that has connected to it. What cannot be
sent is dropped, as whoever misses it asks again.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from distpool.base_errors import ProtocolError
from distpool.logic.pulls import Channel
from distpool.protocol.codec import decode_transfer, encode
from distpool.protocol.messages import Message
from distpool.protocol.transfers import Hello, Place
from distpool.runtime.links import REPEATS_SHOWN
from distpool.transport.keys import Identity
from distpool.transport.payloads import Frame, uncopied
from distpool.transport.sockets import Connection, Incoming, Listener

_log = logging.getLogger("distpool.security")


class Said(NamedTuple):
    """A message that has come, with the bytes that follow it."""

    channel: Channel
    message: Any
    payload: memoryview


class Route(msgspec.Struct):
    """One who has connected: its key, the number of its connection, and where it listens itself."""

    key: str
    connection: int
    place: Place | None = None


class Channels:
    """Owned by whoever holds the loop."""

    def __init__(self, identity: Identity, route: bytes, listener: Listener | None = None) -> None:
        """`route`: under which this process connects to others. `listener`: where others connect to it."""
        self._identity = identity
        self._route = route
        self._listener = listener
        self._connections: dict[Place, Connection] = {}
        self._routes: dict[bytes, Route] = {}
        self._watch: Callable[[int], None] = _watch_nothing
        self.dropped: Counter[str] = Counter()
        """Frames that were not heard, by the reason."""

    def attach(self, watch: Callable[[int], None]) -> None:
        self._watch = watch
        if self._listener is not None:
            for descriptor in self._listener.descriptors():
                watch(descriptor)

    def has_some(self) -> bool:
        if self._listener is not None and self._listener.has_some():
            return True
        return any(connection.has_some() for connection in self._connections.values())

    def place_of(self, channel: Channel) -> Place | None:
        """Where others can ask that process; None: it does not listen."""
        if isinstance(channel, Place):
            return channel
        route = self._routes.get(channel)
        return None if route is None else route.place

    def is_known(self, channel: Channel) -> bool:
        """There is a connection, or will be."""
        return channel in self._connections or channel in self._routes

    def connect(self, place: Place) -> None:
        if place not in self._connections:
            connection = self._connections[place] = Connection(
                place.endpoint, self._route, self._identity, place.public
            )
            for descriptor in connection.descriptors():
                self._watch(descriptor)

    def disconnect(self, channel: Channel) -> None:
        """That process is no more, or is not needed."""
        if isinstance(channel, Place):
            connection = self._connections.pop(channel, None)
            if connection is not None:
                connection.close()
        else:
            self._routes.pop(channel, None)

    def send(self, channel: Channel, message: Message, payload: memoryview | None = None) -> None:
        frames: list[Frame] = [*encode(message)]
        if payload is not None:
            frames.append(uncopied(payload))
        if isinstance(channel, Place):
            self.connect(channel)
            self._connections[channel].send(frames)
        elif self._listener is not None:
            self._listener.send(channel, frames)

    def ended(self) -> list[Place]:
        """The places where nobody listens any more: of which the connection has broken. A node is also sent to others
        that it was never connected to, and which did listen; a program hears of those by its links."""
        refused = [(place, one) for place, one in self._connections.items() if one.is_refused()]
        is_node = self._listener is not None
        return [place for place, one in refused if one.is_broken() or (is_node and not one.is_connected)]

    def look_at(self) -> float | None:
        """When to be asked again without news, as a connection is to be made."""
        return min(
            (one.try_again_at for one in self._connections.values() if one.try_again_at < math.inf), default=None
        )

    def receive(self) -> Iterator[Said]:
        """All that has come. A `Hello` means that whatever was said by that channel before may be lost, either way."""
        for place, connection in list(self._connections.items()):
            if connection.has_reconnected():
                endpoint = "" if self._listener is None else self._listener.endpoint
                connection.send(encode(Hello(endpoint)))
                yield Said(place, Hello(place.endpoint), memoryview(b""))
            for frames in connection.receive():
                yield from self._heard(place, frames)
        if self._listener is None:
            return
        ended = set(self._listener.broken())
        for name in [name for name, route in self._routes.items() if route.connection in ended]:
            del self._routes[name]
        for incoming in self._listener.receive():
            route = self._routes.get(incoming.route)
            if not self._is_let_in(incoming.key):
                self._drop("a frame with a key that is not let in any more")
                self._listener.cut(incoming.connection)
            elif route is not None and route.key != incoming.key:
                self._drop("a frame on the route of another")
            else:
                for said in self._heard(incoming.route, incoming.frames):
                    self._note(incoming, said.message)
                    yield said

    def _is_let_in(self, key: str) -> bool:
        """Still: a connection that is there outlives the revocation of its key."""
        doorman = None if self._listener is None else self._listener.doorman
        return doorman is None or doorman.find(key) is not None

    def _note(self, incoming: Incoming, message: Any) -> None:
        route = self._routes.setdefault(incoming.route, Route(incoming.key, incoming.connection))
        route.connection = incoming.connection
        if isinstance(message, Hello):
            route.place = Place(message.endpoint, incoming.key) if message.endpoint else None

    def _heard(self, channel: Channel, frames: list[memoryview]) -> Iterator[Said]:
        try:
            if not 0 < len(frames) <= 2:
                raise ProtocolError("a message of a transfer has one frame or two")
            message = decode_transfer(frames[0])
        except ProtocolError:
            self._drop("a frame that is no message of a transfer")
            return
        yield Said(channel, message, frames[1] if len(frames) > 1 else memoryview(b""))

    def _drop(self, reason: str) -> None:
        self.dropped[reason] += 1
        if self.dropped[reason] in REPEATS_SHOWN:
            _log.warning("dropped %s (%d so far)", reason, self.dropped[reason])

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        if self._listener is not None:
            self._listener.close()


def _watch_nothing(descriptor: int) -> None:
    pass
