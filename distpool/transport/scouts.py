"""Whether the way to a port is open: plain connections are tried one soon after the other, until one of them is made.

ZeroMQ has one attempt at a time, and whoever asks in a cut is not heard. An attempt that is given up soon finds the end
of a cut soon, but never a peer that is further away than that. Scouts do both: they are many, and each has its time.
"""

from __future__ import annotations

import errno
import ipaddress
import math
import os
import select
import socket
import sys
from contextlib import suppress
from enum import Enum, auto
from typing import Any
from urllib.parse import urlsplit

_EVERY_S = 0.1
_LIVES_S = 1.0
"""Longer than any round trip, and as long as the kernel waits before it asks again."""


class Finding(Enum):
    """What scouts have found out."""

    NOTHING = auto()
    OPEN = auto()
    REFUSED = auto()
    """Nobody listens there in this moment."""


class Scouts:
    """Those of one endpoint. Owned by whoever holds the loop."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint`: tcp://host:port; there are no scouts on a Unix socket. Where the host is a name it is to be
        learned from a connection what that means: nobody has to wait for a name service here."""
        self.next_at = 0.0
        """When the next one is due."""
        self._epoll = select.epoll()
        self._under_way: dict[int, tuple[socket.socket, float]] = {}
        self._where: Any = None
        parts = urlsplit(endpoint)
        if parts.scheme == "tcp" and parts.hostname is not None:
            with suppress(ValueError):
                self._where = (str(ipaddress.ip_address(parts.hostname)), parts.port)

    def fileno(self) -> int:
        """Readable when one has found something."""
        return self._epoll.fileno()

    def learn(self, descriptor: int) -> None:
        """The socket of a connection that was made; it may be closed by now."""
        if self._where is None:
            with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as made:
                if made.family != socket.AF_UNIX:
                    self._where = made.getpeername()[:2]
                    self.next_at = 0.0

    def look(self, now: float) -> Finding:
        """What those that are under way have found; another one leaves when it is due."""
        found = Finding.NOTHING
        for descriptor, _ in self._epoll.poll(0):
            scout, _ = self._under_way.pop(descriptor)
            found = max(found, self._ask(scout), key=_weight)
        for scout, left_at in list(self._under_way.values()):
            if now - left_at > _LIVES_S:
                del self._under_way[scout.fileno()]
                self._end(scout)
        if self._where is None:
            self.next_at = float("inf")
        elif found is not Finding.OPEN and now >= self.next_at:
            self.next_at = now + _EVERY_S
            found = max(found, self._send(now), key=_weight)
        return found

    def _send(self, now: float) -> Finding:
        host, port = self._where
        scout = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        scout.setblocking(False)
        code = scout.connect_ex((host, port))
        if code == errno.EINPROGRESS:
            self._epoll.register(scout, select.EPOLLOUT)
            self._under_way[scout.fileno()] = scout, now
            return Finding.NOTHING
        found = _meaning(scout, code)
        scout.close()
        return found

    def _ask(self, scout: socket.socket) -> Finding:
        found = _meaning(scout, scout.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        self._end(scout)
        return found

    def _end(self, scout: socket.socket) -> None:
        # By hand: a child that is forked in this moment has the socket too, and so the kernel would keep it in mind.
        self._epoll.unregister(scout)
        scout.close()

    def call_back(self) -> None:
        """There is nothing to find out any more."""
        for scout, _ in self._under_way.values():
            self._end(scout)
        self._under_way.clear()

    def close(self) -> None:
        self.call_back()
        self._epoll.close()


def quiet_s(descriptor: int) -> float:
    """For how long nothing has come by a TCP connection, a part of a frame neither. Without one that is for ever."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as made:
        told = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_AT + 4)
        return int.from_bytes(told[_LAST_DATA_AT:], sys.byteorder) / 1000
    return math.inf


_LAST_DATA_AT = 52
"""Where `tcpi_last_data_recv`, in milliseconds, lies in Linux's `struct tcp_info`."""


def _meaning(scout: socket.socket, code: int) -> Finding:
    if code == errno.ECONNREFUSED:
        return Finding.REFUSED
    if code:
        return Finding.NOTHING
    try:
        # Where nobody listens at a port of this machine, a socket may get that very port, and be connected with itself.
        return Finding.REFUSED if scout.getsockname() == scout.getpeername() else Finding.OPEN
    except OSError:
        return Finding.NOTHING  # it was made, and has ended at once


def _weight(finding: Finding) -> int:
    return (Finding.NOTHING, Finding.REFUSED, Finding.OPEN).index(finding)
