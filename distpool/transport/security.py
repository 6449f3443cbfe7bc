"""CURVE on sockets between machines, and who is let in: each connection is encrypted, and both its ends are known.

ZeroMQ asks a doorman in the same process about the key of everyone who connects (its protocol ZAP, RFC 27). Without one
it would let in anybody who knows the server's public key; a socket that is set up here lets in nobody then.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import zmq

from distpool.transport.admissions import Admissions
from distpool.transport.keys import Allowed, Identity

_ZAP_ENDPOINT = "inproc://zeromq.zap.01"
_DOMAIN = b"distpool"
_HANDSHAKE_LIMIT_MS = 3000
_LARGEST_FRAME = 64 * 1024 * 1024
_LARGEST_BACKLOG = 512
_REPEATS_SHOWN = (1, 10, 100)
_ADDRESSES_COUNTED = 1000

CONNECTIONS_OF_A_KEY = 512
"""Many nodes, or programs, of one machine or shared folder have the same key."""
_CONNECTIONS_OF_A_TOKEN = 4

_OK = (b"200", b"OK")
_UNKNOWN = (b"400", b"this key is not let in")
_TOO_MANY = (b"500", b"this key has as many connections as one may have")

_log = logging.getLogger("distpool.security")

Find = Callable[[str], Allowed | None]
"""Who has this public key; None: nobody who is let in."""


class Doorman:
    """Answers for one context's servers. The holder of the loop asks it to `answer` when its descriptor is ready."""

    def __init__(self, context: zmq.Context[Any], find: Find, admissions: Admissions) -> None:
        self._find = find
        self._admissions = admissions
        self._socket = context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(_ZAP_ENDPOINT)
        self.refused: Counter[str] = Counter()
        """Connections that were not let in, by the address that they came from."""

    def fileno(self) -> int:
        """Edge-triggered."""
        return int(self._socket.getsockopt(zmq.FD))

    def find(self, public: str) -> Allowed | None:
        """Whether a key is let in at this moment: one whose connection was let in may have been revoked since."""
        try:
            return self._find(public)
        except Exception as error:
            _log.error("nobody is let in: %s", error)
            return None

    def answer(self, now: float) -> None:
        """Answer all that was asked."""
        while int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            version, number, domain, address, _, mechanism, *credentials = self._socket.recv_multipart()
            public = _public_key(mechanism, credentials)
            found = None if public is None or domain != _DOMAIN else self.find(public)
            status = _OK
            if public is None or found is None:
                status = _UNKNOWN
                what = "a key that is not let in" if public else "no key"
            elif self._admissions.count(public, now) >= _limit_of(found):
                status = _TOO_MANY
                what = f"the key {found.name!r}, which has as many connections as one may have"
            else:
                self._admissions.let_in(public, now)
            if status != _OK:
                self._note_refusal(address.decode(errors="replace"), what)
            # The user id is what `sender_of` finds with each message of the connection.
            self._socket.send_multipart([version, number, *status, (public or "").encode(), b""])

    def close(self) -> None:
        self._socket.close()

    def _note_refusal(self, address: str, what: str) -> None:
        if address not in self.refused and len(self.refused) >= _ADDRESSES_COUNTED:
            address = "elsewhere"
        self.refused[address] += 1
        if self.refused[address] in _REPEATS_SHOWN:
            _log.warning("refused a connection from %s with %s (%d so far)", address, what, self.refused[address])


def _limit_of(found: Allowed) -> int:
    return CONNECTIONS_OF_A_KEY if found.until is None else _CONNECTIONS_OF_A_TOKEN


def serve_securely(socket: zmq.Socket[Any], identity: Identity) -> None:
    """Before its bind: whoever connects must know this identity's public key, and a doorman must let it in."""
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, identity.secret())
    socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN)
    # Without a doorman nobody is let in, instead of everybody.
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_LIMIT_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, _LARGEST_FRAME)
    socket.setsockopt(zmq.BACKLOG, _LARGEST_BACKLOG)


def connect_securely(socket: zmq.Socket[Any], identity: Identity, server: str) -> None:
    """Before its connect: only a server with this public key is spoken to."""
    socket.setsockopt(zmq.CURVE_PUBLICKEY, identity.public.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, identity.secret())
    socket.setsockopt(zmq.CURVE_SERVERKEY, server.encode())
    socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_LIMIT_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, _LARGEST_FRAME)


def sender_of(frame: zmq.Frame) -> str:
    """The public key of the connection that a message came by; empty where connections have none."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""


def _public_key(mechanism: bytes, credentials: list[bytes]) -> str | None:
    """As it is written in key files."""
    if mechanism != b"CURVE" or len(credentials) != 1 or len(credentials[0]) != 32:
        return None
    from zmq.utils.z85 import encode  # nothing else needs it

    return encode(credentials[0]).decode()
