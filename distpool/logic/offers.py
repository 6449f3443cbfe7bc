"""Objects that other processes get from here: they ask for piece after piece, and are told what is there.

Of an object that is itself on its way here, each piece is passed on as soon as it has come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from distpool.base_errors import ObjectLost, StoreFull
from distpool.ids import Key
from distpool.logic.pulls import Channel
from distpool.logic.spread import Spread
from distpool.protocol.transfers import (
    AskObject,
    AskPiece,
    EndTransfer,
    ObjectGone,
    ObjectSized,
    ObjectThere,
    PieceTold,
    Place,
)

_IDLE_LIMIT_S = 60.0


class Offered(Protocol):
    """An object that is here, or on its way."""

    @property
    def size(self) -> int:
        """-1: not known yet."""
        ...

    @property
    def have(self) -> int:
        """So many bytes, from the first on, are here."""
        ...

    @property
    def failure(self) -> str:
        """Why the rest does not come; empty while it may."""
        ...

    def read(self, start: int, size: int) -> memoryview:
        """Raises ObjectLost and StoreFull."""
        ...


class Reader(msgspec.Struct):
    """One process that gets an object from here, or was sent elsewhere for it (then nothing is `offered`)."""

    key: Key
    offered: Offered | None
    used_at: float
    is_sized: bool = False
    asked: deque[AskPiece] = msgspec.field(default_factory=deque)


class Offers:
    """What others get from one process."""

    def __init__(
        self,
        offer: Callable[[Key], Offered],
        place_of: Callable[[Channel], Place | None],
        spread: Spread | None = None,
        elsewhere: Callable[[Key], Place | None] = lambda key: None,
    ) -> None:
        """`offer`: an object that this process has; raises ObjectLost and StoreFull. `place_of`: where others can ask
        the process at the other end of a channel. `spread`: for a process that says who gets an object from whom.
        `elsewhere`: where an object is that this process does not have."""
        self.outbox: deque[tuple[Channel, Any, memoryview | None]] = deque()
        """(to whom, the message, what follows it)"""
        self._offer = offer
        self._place_of = place_of
        self._spread = spread
        self._elsewhere = elsewhere
        self._readers: dict[tuple[Channel, int], Reader] = {}
        self.told_bytes = 0
        """Bytes that others got from here in all."""

    def handle(self, channel: Channel, message: Any, now: float) -> None:
        where = channel, message.number
        match message:
            case AskObject():
                self._asked(where, message, now)
            case AskPiece():
                reader = self._readers.get(where)
                if reader is not None and reader.offered is not None:
                    reader.used_at = now
                    reader.asked.append(message)
                    self._tell(where, reader)
            case EndTransfer(_, is_whole):
                reader = self._readers.pop(where, None)
                place = self._place_of(channel)
                if reader is not None and self._spread is not None and place is not None:
                    self._spread.ended(reader.key, place.endpoint, is_whole=is_whole)

    def decide(self, now: float) -> float | None:
        """Pass on what has come meanwhile."""
        wake_at = None
        for where, reader in list(self._readers.items()):
            if now >= reader.used_at + _IDLE_LIMIT_S:
                del self._readers[where]
                continue
            self._tell(where, reader)
            due = reader.used_at + _IDLE_LIMIT_S
            wake_at = due if wake_at is None else min(wake_at, due)
        return wake_at

    def lost(self, channel: Channel) -> None:
        """That process is no more."""
        for where in [where for where in self._readers if where[0] == channel]:
            del self._readers[where]
        if self._spread is not None and isinstance(channel, Place):
            self._spread.lost(channel.endpoint)

    def close(self) -> None:
        """Nobody gets anything more from here: what was looked at for others is let go of."""
        self._readers.clear()
        self.outbox.clear()

    def _asked(self, where: tuple[Channel, int], asked: AskObject, now: float) -> None:
        key = asked.store, asked.object
        origin = self._elsewhere(key)
        asker = self._place_of(where[0])
        source = None
        if self._spread is not None and asker is not None:
            source = self._spread.ask(key, asker, asked.avoid)
        if source is None and origin is not None:
            if origin.endpoint in asked.avoid:
                text = f"object {key[1]} is in the store of {origin.endpoint}, which does not answer"
                self._send(where[0], ObjectGone(where[1], text))
                return
            source = origin
        if source is not None:
            self._readers[where] = Reader(key, None, now)
            self._send(where[0], ObjectThere(where[1], *source))
            return
        try:
            reader = self._readers[where] = Reader(key, self._offer(key), now)
        except (ObjectLost, StoreFull) as error:
            if self._spread is not None and asker is not None:
                self._spread.ended(key, asker.endpoint, is_whole=False)
            self._send(where[0], ObjectGone(where[1], str(error)))
            return
        self._tell(where, reader)

    def _tell(self, where: tuple[Channel, int], reader: Reader) -> None:
        """What is there of what was asked for."""
        offered = reader.offered
        if offered is None:
            return
        channel, number = where
        if offered.failure:
            del self._readers[where]
            self._send(channel, ObjectGone(number, offered.failure))
            return
        if not reader.is_sized and offered.size >= 0:
            reader.is_sized = True
            self._send(channel, ObjectSized(number, offered.size))
        while reader.asked and reader.asked[0].start + reader.asked[0].size <= offered.have:
            piece = reader.asked.popleft()
            try:
                payload = offered.read(piece.start, piece.size)
            except (ObjectLost, StoreFull) as error:
                del self._readers[where]
                self._send(channel, ObjectGone(number, str(error)))
                return
            self.told_bytes += piece.size
            self._send(channel, PieceTold(number, piece.start), payload)

    def _send(self, channel: Channel, message: Any, payload: memoryview | None = None) -> None:
        self.outbox.append((channel, message, payload))
