"""Links over sockets: messages of roles in other processes, each once and in order, and who of them is lost.

role ── message ──► encode ──► Link ──► socket ═══ network ═══ socket ──► Link ──► decode ──► role
"""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Callable
from types import UnionType
from typing import TypeVar

from distpool.base_errors import ProtocolError
from distpool.config import Settings
from distpool.ids import Epoch
from distpool.logic.link import NOBODY, Link, LinkLimits, Payload
from distpool.logic.shown import shown
from distpool.logic.times import earlier
from distpool.protocol.cluster import Greeting, LinkHeader, PeerLost, Refused
from distpool.protocol.codec import decode_header, decode_link, encode, encode_header
from distpool.protocol.messages import Message
from distpool.transport.keys import Allowed, Part
from distpool.transport.security import CONNECTIONS_OF_A_KEY
from distpool.transport.sockets import Connection, Incoming, Listener

REPEATS_SHOWN = (1, 10, 100, 1000)
"""Of what others cause and could repeat for ever, these are logged."""
_STRIKES = 3
_BEATS_MISSED = 2
_LINKS_OF_A_KEY = 2 * CONNECTIONS_OF_A_KEY
"""Links outlive their connections for a moment."""
_PART_BYTES = 1024 * 1024

_log = logging.getLogger("distpool.security")

Decoded = TypeVar("Decoded")


def new_epoch() -> Epoch:
    """One that no other life has."""
    return Epoch(int.from_bytes(os.urandom(7), "little") + 1)


class NotLetIn(ProtocolError):
    """The connection of one who has been revoked, has used up a token, or has too many already."""


class Unheard(ProtocolError):
    """What has come is part of the link, and cannot be heard: its sender must not wait for what it would have done."""


class Ear:
    """Puts the messages together that came in parts."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def hear(self, header: LinkHeader, payload: Payload) -> Message | None:
        """The message that ends with this part, if one does. Raises Unheard."""
        frame = b"".join(payload)
        if header.more:
            self._parts.append(frame)
            return None
        if self._parts:
            frame = b"".join([*self._parts, frame])
            self._parts.clear()
        try:
            return _decoded(decode_link, frame)  # type: ignore[no-any-return]
        except ProtocolError as error:
            raise Unheard(str(error)) from None


def is_own_life(address: str, greeting: Greeting) -> bool:
    """Whether the sender of a greeting says which process it is, and not that it is another: it has the route of that
    life, which nobody with another key can have beside it."""
    return 0 < greeting.life < 2**64 and address == greeting.life.to_bytes(8, "little").hex()


def say(link: Link, message: Message) -> None:
    """Send a message, in parts if it is large: so no frame is, and one that is lost costs little."""
    frame = encode(message)
    if sum(map(len, frame)) <= _PART_BYTES:
        link.send(frame)
        return
    whole = memoryview(b"".join(frame))
    for start in range(0, len(whole), _PART_BYTES):
        link.send([whole[start : start + _PART_BYTES]], more=start + _PART_BYTES < len(whole))


class Peer:
    """One end that has connected. `key`: the only one that may speak on its route. `connection`: by which it was heard
    last, and `broken_at`: since when there is none, which may be so when its greeting is read."""

    def __init__(self, route: bytes, key: str, link: Link, now: float) -> None:
        self.route = route
        self.key = key
        self.link = link
        self.ear = Ear()
        self.strikes = 0
        self.connection = 0
        self.broken_at: float | None = now
        self.is_judged_by_silence = False

    def is_replaced_by(self, header: LinkHeader) -> bool:
        """A greeting on its route: the other end has given this link up, and begins another. One that is older than
        this link cannot come: by one connection frames come in order, and a newer connection takes the route over."""
        return header.sender != self.link.peer


class ServerLinks:
    """The links of those who have connected to a listener; an address is the route as text. Owned by the loop."""

    def __init__(
        self,
        listener: Listener,
        epoch: Epoch,
        limits: LinkLimits,
        settings: Settings,
        may_say: Callable[[Allowed | None, Message], bool],
    ) -> None:
        """`may_say`: whether the holder of a key (None: a process of this machine, on a Unix socket) may say that.

        Nodes, which run nothing but their loop, are lost when they are silent for too long. A program may hold the
        interpreter's lock for any time: it is lost when its connection is, and it does not make another one soon.
        """
        self._listener = listener
        self._epoch = epoch
        self._limits = limits
        self._settings = settings
        self._may_say = may_say
        self._peers: dict[str, Peer] = {}
        # Connections that have ended; what is read in the same turn may still be of them.
        self._ended: set[int] = set()
        self._wait_until = 0.0
        self.dropped: Counter[str] = Counter()
        """Frames that were not heard, by the reason."""

    def receive(self, now: float) -> list[tuple[str, Message]]:
        """What has come, and a PeerLost for each that is lost."""
        said: list[tuple[str, Message]] = []
        self._ended = set(self._listener.broken())
        for peer in self._peers.values():
            if peer.connection in self._ended:
                peer.broken_at, peer.connection = now, 0
        for incoming in self._listener.receive():
            address = incoming.route.hex()
            try:
                said += ((address, message) for message in self._hear(address, incoming, now))
            except NotLetIn as error:
                self._drop(address, str(error))
                self._listener.cut(incoming.connection)
            except Unheard as error:
                self.refuse(address, str(error))
                said.append((address, PeerLost()))
            except ProtocolError as error:
                self._drop(address, str(error))
                if self._gives_up(address):
                    said.append((address, PeerLost()))
        for address, peer in list(self._peers.items()):
            if now >= self._lost_at(peer):
                del self._peers[address]
                said.append((address, PeerLost()))
        return said

    def send(self, address: str, message: Message) -> None:
        """Have it delivered, if the peer is still there."""
        peer = self._peers.get(address)
        if peer is not None:
            say(peer.link, message)

    def refuse(self, address: str, reason: str) -> None:
        """End the link of one that has said what cannot be heard, and tell it why. It is known no more."""
        self._drop(address, reason)
        peer = self._peers.pop(address, None)
        if peer is not None:
            self._say_unknown(peer.route, peer.link.peer, reason)

    def key_of(self, address: str) -> str | None:
        """The public key of this peer; None when it is not there any more."""
        peer = self._peers.get(address)
        return None if peer is None else peer.key

    def flush(self, now: float) -> float | None:
        """Send what is due; when to be asked again."""
        wake_at = None
        for peer in self._peers.values():
            frames, due = peer.link.decide(now)
            for header, payload in frames:
                self._listener.send(peer.route, [encode_header(header), *payload])
            due = min(self._lost_at(peer), *(() if due is None else (due,)), *(() if wake_at is None else (wake_at,)))
            wake_at = None if due == math.inf else due
        return wake_at

    def _lost_at(self, peer: Peer) -> float:
        """When it is given up, if nothing is heard of it until then."""
        lost_at = math.inf
        if peer.broken_at is not None:
            lost_at = max(peer.broken_at + self._settings.reconnect_limit_s, self._wait_until)
        if peer.is_judged_by_silence:
            lost_at = min(lost_at, peer.link.heard_at + self._settings.silence_limit_s)
        return lost_at

    def wait_for_all(self, until: float) -> None:
        """All connections have been ended here: nobody is lost before then because of that."""
        self._wait_until = until

    def has_some(self) -> bool:
        """Something has come meanwhile, of which the descriptors need not tell."""
        return self._listener.has_some()

    def _hear(self, address: str, incoming: Incoming, now: float) -> list[Message]:
        """Raises ProtocolError for what no peer of ours would send, and for what this one may not say."""
        if not incoming.frames:
            raise ProtocolError("a message without a frame")
        allowed = self._allowed(incoming.key)
        header = _decoded(decode_header, incoming.frames[0])
        is_greeting = header.number == 1 and not header.receiver
        heard: list[Message] = []
        peer = self._peers.get(address)
        if peer is not None and peer.key != incoming.key:
            raise ProtocolError("a frame on the route of another")
        if peer is not None and is_greeting and peer.is_replaced_by(header):
            heard.append(PeerLost())
            peer = None
        if peer is None:
            if not is_greeting:
                if not header.unknown:
                    self._say_unknown(incoming.route, header.sender)
                return heard
            if sum(other.key == incoming.key for other in self._peers.values()) >= _LINKS_OF_A_KEY:
                raise NotLetIn("a link more than a key may have")
            peer = self._peers[address] = Peer(incoming.route, incoming.key, Link(self._epoch, self._limits, now), now)
        if peer.link.peer in (header.sender, NOBODY) and incoming.connection not in self._ended:
            if peer.connection != incoming.connection and peer.link.peer != NOBODY:
                peer.link.reconnected(now)
            peer.connection, peer.broken_at = incoming.connection, None
        peer.is_judged_by_silence = allowed is not None and allowed.part is Part.NODE
        payload = peer.link.receive(header, incoming.frames[1:], now)
        message = None if payload is None else peer.ear.hear(header, payload)
        if message is None:
            return heard
        if not self._may_say(allowed, message):
            raise Unheard(f"{type(message).__name__} from one who may not say that")
        peer.strikes = 0
        return [*heard, message]

    def _allowed(self, key: str) -> Allowed | None:
        """Raises NotLetIn for a key that was let in once, and is not any more."""
        if self._listener.doorman is None:
            return None
        allowed = self._listener.doorman.find(key)
        if allowed is None:
            raise NotLetIn("a frame with a key that is not let in any more")
        return allowed

    def _say_unknown(self, route: bytes, peer: Epoch, reason: str = "") -> None:
        header = encode_header(LinkHeader(self._epoch, peer, 0, 0, unknown=True))
        self._listener.send(route, [header, *(encode(Refused(reason)) if reason else ())])

    def _drop(self, address: str, reason: str) -> None:
        self.dropped[reason] += 1
        if self.dropped[reason] in REPEATS_SHOWN:
            _log.warning("dropped a frame of %s: %s (%d so far)", address, reason, self.dropped[reason])

    def _gives_up(self, address: str) -> bool:
        """Whether that was one too many in a row of a peer."""
        peer = self._peers.get(address)
        if peer is None:
            return False
        peer.strikes += 1
        if peer.strikes < _STRIKES:
            return False
        del self._peers[address]
        return True


def _reason(frame: bytes | memoryview) -> str:
    """Why the other end has ended the link, in its words. Raises ProtocolError."""
    message = _decoded(decode_link, frame)
    if not isinstance(message, Refused):
        raise ProtocolError("a frame that is no reason")
    return f"it cannot hear what was said to it: {shown(message.text)}"


def _decoded(decode: Callable[[bytes | memoryview], Decoded], frame: bytes | memoryview) -> Decoded:
    """Without the details, of which a peer could make any number."""
    try:
        return decode(frame)
    except ProtocolError:
        raise ProtocolError("a frame that is no message") from None


class ClientLink:
    """The link to one listener, and the next one when the other end does not know it any more. Owned by the loop."""

    def __init__(self, connection: Connection, limits: LinkLimits, now: float, may_say: UnionType) -> None:
        """`may_say`: the messages that the other end may say."""
        self.connection = connection
        self.refusal = ""
        """Why the link has ended: one of the ends could not hear what the other has said. Nothing comes by it, and
        what is sent by it is not heard."""
        self._limits = limits
        self._may_say = may_say
        self.link = Link(new_epoch(), limits, now)
        self._ear = Ear()
        self._connected_at = math.inf
        self._dropped = 0

    def is_heard(self) -> bool:
        """The other end has said something by the connection that there is."""
        return self.connection.is_connected and self.link.heard_at >= self._connected_at

    def begin_anew(self, now: float) -> None:
        """What was not delivered never will be."""
        self.link = Link(new_epoch(), self._limits, now)
        self.refusal = ""
        self._ear = Ear()

    def receive(self, now: float) -> list[Message]:
        """All that has come. A frame that is none is dropped: the other end has shown that it is who it should be. With
        one that cannot be heard the link ends."""
        if self.connection.has_reconnected():
            self._connected_at = now
            self.link.reconnected(now)
        messages: list[Message] = []
        for frames in self.connection.receive():
            try:
                header = _decoded(decode_header, frames[0])
                payload = self.link.receive(header, frames[1:], now)
                if self.link.is_unknown and not self.refusal and len(frames) > 1:
                    self.refusal = _reason(frames[1])
                message = None if payload is None or self.refusal else self._heard(header, payload)
                if message is not None:
                    messages.append(message)
            except Unheard as error:
                self.refuse(str(error))
            except ProtocolError as error:
                self._drop(str(error))
        self.connection.is_doubted = now >= self._doubted_at()
        return messages

    def refuse(self, reason: str) -> None:
        """End the link, as the other end has said what cannot be heard."""
        self._drop(reason)
        self.refusal = f"it has said what cannot be heard here: {reason}"

    def _heard(self, header: LinkHeader, payload: Payload) -> Message | None:
        message = self._ear.hear(header, payload)
        if message is not None and not isinstance(message, self._may_say):
            raise Unheard(f"{type(message).__name__} from one who may not say that")
        return message

    def _drop(self, reason: str) -> None:
        self._dropped += 1
        if self._dropped in REPEATS_SHOWN:
            where = self.connection.endpoint
            _log.warning("dropped a frame from %s: %s (%d so far)", where, shown(reason), self._dropped)

    def _doubted_at(self) -> float:
        """When beats are missing. In a cut the kernel asks ever more seldom whether the other end is there again, and
        an end that was told that the connection is no more may be the other one."""
        if self._limits.beat_every_s is None or not self.connection.is_connected:
            return math.inf
        return max(self.link.heard_at, self._connected_at) + _BEATS_MISSED * self._limits.beat_every_s

    def send(self, message: Message) -> None:
        say(self.link, message)

    def flush(self, now: float) -> float | None:
        """Send what is due; when to be asked again."""
        frames, due = self.link.decide(now) if not self.refusal else ([], None)
        for header, payload in frames:
            self.connection.send([encode_header(header), *payload])
        look_at = min(self.connection.try_again_at, math.inf if self.connection.is_doubted else self._doubted_at())
        return earlier(due, None if look_at == math.inf else look_at)

    def has_some(self) -> bool:
        """Something has come meanwhile, of which the descriptors need not tell."""
        return self.connection.has_some()

    def close(self, linger_ms: int = 0) -> None:
        self.connection.close(linger_ms)
