"""Sockets between processes that are not a caller and its worker: frames over ZeroMQ, between machines with CURVE.

One end listens and knows its peers by their routes, the other connects under a route of its own. What a frame means,
and that none is lost when a connection breaks, is up to the links above (`logic/link.py`): one that cannot be sent at
once is dropped here.
"""

from __future__ import annotations

import errno
import math
import os
import socket
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import zmq
from zmq.utils.monitor import recv_monitor_message

from distpool.base_errors import DistpoolError
from distpool.transport.admissions import Admissions
from distpool.transport.keys import Identity
from distpool.transport.payloads import Frame
from distpool.transport.scouts import Finding, Scouts, quiet_s
from distpool.transport.security import Doorman, Find, connect_securely, sender_of, serve_securely

_RECONNECT_FIRST_MS = 50
_RECONNECT_AT_MOST_MS = 250
_CONNECT_LIMIT_MS = 500
"""Longer than a round trip between continents, and shorter than the kernel's pause before it asks again: when a cut has
ended the next attempt is soon."""
_HEARTBEAT_MS = 500
_HEARTBEAT_LIMIT_MS = 1500
_REBIND_LIMIT_S = 5.0
_REFUSED_S = 0.25
_QUIET_S = 0.75
"""Longer than heartbeats take, to which the other end answers also when its process is busy."""
_PATIENCE_S = 1.5
"""From the moment in which the way was found open: what a connection and its handshake take between continents."""


class Incoming(NamedTuple):
    """The frames of one message. `key`: the public key of who sent it; empty where connections have none.
    `connection`: a number that no other connection has while this one lives."""

    route: bytes
    key: str
    frames: list[memoryview]
    connection: int


class Listener:
    """The end that peers connect to. One of its kind in its context."""

    def __init__(self, endpoint: str, identity: Identity | None = None, find: Find | None = None) -> None:
        """`identity`, `find`: who this is, and who is let in; needed for all but Unix sockets. A port of 0 is any that
        is free. Raises DistpoolError when it cannot listen there."""
        if not endpoint.startswith("ipc://") and (identity is None or find is None):
            raise DistpoolError(f"{endpoint} can be reached by others: to listen there, keys are needed")
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = _private(self._context.socket(zmq.ROUTER))
        self._admissions = Admissions()
        self._broken: list[int] = []
        self.doorman = None if find is None else Doorman(self._context, find, self._admissions)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        # A peer that comes back is quicker than the kernel, which still waits for its old connection.
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        if identity is not None:
            serve_securely(self._socket, identity)
        _have_heart_beats(self._socket)
        self._events = self._socket.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self.close()
            hint = "; stop what listens there, or choose another --port" if error.errno == zmq.EADDRINUSE else ""
            raise DistpoolError(f"cannot listen at {endpoint}: {os.strerror(error.errno or 0)}{hint}") from error
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def has_some(self) -> bool:
        return bool(self._broken) or _has_some(self._socket) or _has_some(self._events)

    def descriptors(self) -> list[int]:
        """For a poll: edge-triggered, so `has_some` is to be asked after whatever was done with the socket."""
        sockets = (self._socket, self._events)
        return [
            *(int(socket.getsockopt(zmq.FD)) for socket in sockets),
            *([] if self.doorman is None else [self.doorman.fileno()]),
        ]

    def send(self, route: bytes, frames: Sequence[Frame]) -> bool:
        """False when the peer is not connected, or does not read: the frames are dropped."""
        try:
            self._socket.send_multipart([route, *frames], zmq.DONTWAIT)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            return False
        return True

    def broken(self) -> list[int]:
        """The connections that have ended since this was asked last. To be asked before `receive`: their numbers are
        given to others after that."""
        self._note_events(time.monotonic())
        broken, self._broken = self._broken, []
        return broken

    def _note_events(self, now: float) -> None:
        while _has_some(self._events):
            event = recv_monitor_message(self._events)
            connection = int(event["value"])
            if event["event"] == zmq.EVENT_ACCEPTED:
                self._admissions.accepted(connection, now)
            else:
                self._admissions.ended(connection)
                self._broken.append(connection)
        if self.doorman is not None:
            for connection in self._admissions.remove_silent(now):
                self.cut(connection)

    def receive(self) -> list[Incoming]:
        """All that has come. Does not wait."""
        if self.doorman is not None:
            self.doorman.answer(time.monotonic())
        messages = []
        while _has_some(self._socket):
            route, *frames = self._socket.recv_multipart(copy=False)
            key = sender_of(route) if self.doorman is not None else ""
            connection = int(route.get(zmq.SRCFD))
            messages.append(Incoming(route.bytes, key, [frame.buffer for frame in frames], connection))
        if messages and self.doorman is not None:
            # That they were accepted is told before; but perhaps after `broken` was asked.
            self._note_events(time.monotonic())
            for message in messages:
                self._admissions.spoke(message.connection, message.key)
        return messages

    def change_key(self, identity: Identity) -> None:
        """Listen at the same place as somebody else from now on. All connections end. Raises DistpoolError when another
        process has taken the place meanwhile."""
        self._socket.unbind(self.endpoint)
        serve_securely(self._socket, identity)
        until = time.monotonic() + _REBIND_LIMIT_S
        while True:
            try:
                self._socket.bind(self.endpoint)
                return
            except zmq.ZMQError as error:
                # ZeroMQ closes the old socket in a thread of its own.
                if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                    raise DistpoolError(
                        f"cannot listen at {self.endpoint} again: {os.strerror(error.errno or 0)}"
                    ) from error
                time.sleep(0.001)

    def cut(self, connection: int) -> None:
        """End a connection, which ZeroMQ offers no way to: its socket is shut down, as if the peer had ended it."""
        # A duplicate stays the same socket; the number itself is another's as soon as ZeroMQ has closed it. At worst
        # another connection of this port is ended, which is made again.
        with suppress(OSError), socket.fromfd(connection, socket.AF_INET, socket.SOCK_STREAM) as duplicate:
            if duplicate.getsockname()[1] == urlsplit(self.endpoint).port:
                duplicate.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.disable_monitor()
        self._events.close(linger=0)
        self._socket.close(linger=0)
        if self.doorman is not None:
            self.doorman.close()
        self._context.term()


class Connection:
    """The end that connects, under a route that is its own."""

    def __init__(self, endpoint: str, route: bytes, identity: Identity | None = None, *servers: str) -> None:
        """`identity`, `servers`: who this is, and the public keys that whom to speak to may have; needed for all but
        Unix sockets. Raises DistpoolError for an endpoint that is none."""
        if not endpoint.startswith("ipc://") and identity is None:
            raise DistpoolError(f"{endpoint} can be reached by others: to connect to it, a key is needed")
        self.endpoint = endpoint
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = _private(self._context.socket(zmq.DEALER))
        self._socket.setsockopt(zmq.IDENTITY, route)
        # Nothing is kept for a connection that is yet to be made: links send again what was lost.
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        self._socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_FIRST_MS)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_AT_MOST_MS)
        self._socket.setsockopt(zmq.CONNECT_TIMEOUT, _CONNECT_LIMIT_MS)
        # In a cut the kernel sends ever more seldom; a new connection has no such past.
        _have_heart_beats(self._socket)
        # The first is tried at first, and is the one that is in use.
        self._servers = deque(servers)
        self._wrong_keys = 0
        self._scouts = Scouts(endpoint)
        self._descriptor = -1
        self._patient_until = 0.0
        self._is_refused = False
        self.is_doubted = False
        """Nothing comes by the connection that there is: should the way be open, another one is to take its place."""
        if identity is not None:
            connect_securely(self._socket, identity, self.server)
        self._events = self._socket.get_monitor_socket(_WATCHED)
        self.is_connected = False
        self._has_broken = False
        self.refusal = ""
        """Why the last attempt to connect came to nothing; empty when there is no reason but that nobody answers."""
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise DistpoolError(f"{endpoint} is no address to connect to: {os.strerror(error.errno or 0)}") from error

    @property
    def server(self) -> str:
        """The public key that the other end has shown to have, or should show next."""
        return self._servers[0]

    def expect(self, public: str) -> None:
        """The other end may have this key from now on."""
        if public not in self._servers:
            self._servers.append(public)

    def forget_others(self) -> None:
        """The other end has this key, and can have no other one any more."""
        self._servers = deque([self.server])

    def has_some(self) -> bool:
        return _has_some(self._socket)

    def descriptors(self) -> list[int]:
        """For a poll: edge-triggered, so `has_some` is to be asked after whatever was done with the socket."""
        return [*(int(each.getsockopt(zmq.FD)) for each in (self._socket, self._events)), self._scouts.fileno()]

    @property
    def try_again_at(self) -> float:
        """When `has_reconnected` is to be asked though nothing has come."""
        if self.is_connected and not self.is_doubted:
            return math.inf
        return max(self._patient_until, self._scouts.next_at)

    def send(self, frames: Sequence[Frame]) -> bool:
        """False when there is no connection, or the peer does not read: the frames are dropped."""
        try:
            self._socket.send_multipart(frames, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def receive(self) -> list[list[memoryview]]:
        """All that has come. Does not wait."""
        messages = []
        while _has_some(self._socket):
            messages.append([frame.buffer for frame in self._socket.recv_multipart(copy=False)])
        return messages

    def has_reconnected(self) -> bool:
        """Whether a new connection was made since this was asked last; `is_connected` is what is so now."""
        is_new = has_other_key = False
        now = time.monotonic()
        while _has_some(self._events):
            event = recv_monitor_message(self._events)
            kind = event["event"]
            if kind == zmq.EVENT_CONNECTED:
                self._descriptor = int(event["value"])
                self._scouts.learn(self._descriptor)
                self._patient_until = now + _PATIENCE_S
            elif kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                is_new = self.is_connected = True
                self._has_broken = self._is_refused = self.is_doubted = False
                self._patient_until = 0.0
                self._wrong_keys = 0
                self.refusal = ""
            elif kind == zmq.EVENT_DISCONNECTED:
                self._has_broken = self._has_broken or self.is_connected
                self.is_connected = False
                self._patient_until = 0.0
            elif kind == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                has_other_key = True
                self._patient_until = 0.0
            elif kind == zmq.EVENT_CONNECT_RETRIED:
                # The way that a scout found is closed again: a process that is killed closes its port last.
                if not self.refusal:
                    self._patient_until = 0.0
            else:
                self.refusal = _REFUSALS[zmq.Event(kind)]
                if event["value"] == _TOO_MANY_STATUS:
                    self.refusal = TOO_MANY
                # ZeroMQ never tries again after that; but the list may be mended, and others may leave.
                self._patient_until = now + _REFUSED_S
        if has_other_key and not self.is_connected:
            self._try_next_key()
        elif self.is_connected and not self.is_doubted:
            self._is_refused = False
            self._scouts.call_back()
        elif now >= self._patient_until:
            self._look(now)
        return is_new and self.is_connected

    def _look(self, now: float) -> None:
        """Whether a connection can be made: if so, it is made at once."""
        if self.is_connected and (quiet := quiet_s(self._descriptor)) < _QUIET_S:
            self._patient_until = now + _QUIET_S - quiet  # it is slow with a large frame, or the other end is busy
            return
        found = self._scouts.look(now)
        if found is Finding.OPEN:
            self._has_broken = self._has_broken or self.is_connected
            self.is_connected = self.is_doubted = False
            self._connect_anew()
            self._patient_until = now + _PATIENCE_S
        if found is not Finding.NOTHING:
            self._is_refused = found is Finding.REFUSED

    def _try_next_key(self) -> None:
        self._wrong_keys += 1
        if self._wrong_keys >= len(self._servers):
            self.refusal = OTHER_KEY
        if len(self._servers) > 1:
            self._servers.rotate(-1)
            self._connect_anew()

    def _connect_anew(self) -> None:
        self._scouts.call_back()
        self._socket.disconnect(self.endpoint)
        if self._servers:
            self._socket.setsockopt(zmq.CURVE_SERVERKEY, self.server.encode())
        self._socket.connect(self.endpoint)

    def is_broken(self) -> bool:
        """There was a connection, and there is none now."""
        return self._has_broken and not self.is_connected

    def is_refused(self) -> bool:
        """Nobody listens there, as was found last: after a connection that broke, the process there is gone."""
        return self._is_refused

    def close(self, linger_ms: int = 0) -> None:
        """`linger_ms`: how long what was sent last may still take to leave."""
        self._socket.disable_monitor()
        self._events.close(linger=0)
        self._socket.close(linger=linger_ms)
        self._scouts.close()
        self._context.term()


NOT_LET_IN = "this process's key is not let in"
TOO_MANY = "this process's key has as many connections there as one may have"
_TOO_MANY_STATUS = 500
OTHER_KEY = "the other end has another key than the one that is expected there"
_REFUSALS = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: NOT_LET_IN,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "what answers there does not speak distpool's protocol with keys",
}
_WATCHED = int(
    zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | sum(_REFUSALS)
)


def _private(made: zmq.Socket[Any]) -> zmq.Socket[Any]:
    made.setsockopt(zmq.LINGER, 0)
    return made


def _have_heart_beats(made: zmq.Socket[Any]) -> None:
    """By the threads of ZeroMQ at both ends: they answer while a program holds the interpreter's lock, and do not when
    its process is stopped."""
    made.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
    made.setsockopt(zmq.HEARTBEAT_TIMEOUT, _HEARTBEAT_LIMIT_MS)


# Numbers, as an operation of enumerations takes longer than the question itself.
_EVENTS, _READABLE = int(zmq.EVENTS), int(zmq.POLLIN)


def _has_some(asked: zmq.Socket[Any]) -> bool:
    return bool(int(asked.getsockopt(_EVENTS)) & _READABLE)
