"""Objects between the stores of a cluster's processes: those that come here, and those that others get from here.

Pulls ──► AskObject, AskPiece ──► channels ═══ network ═══ channels ──► Offers ──► PieceTold ──► …
  └──► Copy: memory of this process's store, also read from while the rest still comes
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from distpool.base_errors import ObjectLost, StoreFull
from distpool.config import Settings
from distpool.logic.pulls import Pulls
from distpool.logic.spread import Spread
from distpool.objects import copies
from distpool.objects.copies import Copy, Offered
from distpool.objects.stores import home
from distpool.protocol.transfers import (
    AskObject,
    AskPiece,
    EndTransfer,
    Hello,
    Key,
    ObjectGone,
    ObjectSized,
    ObjectThere,
    PieceTold,
    Place,
)
from distpool.runtime.channels import Channel, Channels

_IDLE_LIMIT_S = 60.0


class Reader(msgspec.Struct):
    """One process that gets an object from here, or was sent elsewhere for it (then nothing is `offered`)."""

    key: Key
    offered: Offered | None
    used_at: float
    is_sized: bool = False
    asked: deque[AskPiece] = msgspec.field(default_factory=deque)


class Offers:
    """What others get from this process."""

    def __init__(self, channels: Channels, spread: Spread | None, elsewhere: Callable[[Key], Place | None]) -> None:
        """`spread`: for a process whose word says who gets an object from whom. `elsewhere`: where an object is that
        this process does not have."""
        self._channels = channels
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
                place = self._channels.place_of(channel)
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

    def _asked(self, where: tuple[Channel, int], asked: AskObject, now: float) -> None:
        key = asked.store, asked.object
        origin = self._elsewhere(key)
        asker = self._channels.place_of(where[0])
        source = None
        if self._spread is not None and asker is not None:
            source = self._spread.ask(key, asker, asked.avoid)
        if source is None and origin is not None:
            if origin.endpoint in asked.avoid:
                text = f"object {key[1]} is in the store of {origin.endpoint}, which does not answer"
                self._channels.send(where[0], ObjectGone(where[1], text))
                return
            source = origin
        if source is not None:
            self._readers[where] = Reader(key, None, now)
            self._channels.send(where[0], ObjectThere(where[1], *source))
            return
        try:
            reader = self._readers[where] = Reader(key, Offered(home(), key), now)
        except (ObjectLost, StoreFull) as error:
            self._channels.send(where[0], ObjectGone(where[1], str(error)))
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
            self._channels.send(channel, ObjectGone(number, offered.failure))
            return
        if not reader.is_sized and offered.size >= 0:
            reader.is_sized = True
            self._channels.send(channel, ObjectSized(number, offered.size))
        while reader.asked and reader.asked[0].start + reader.asked[0].size <= offered.have:
            piece = reader.asked.popleft()
            self.told_bytes += piece.size
            self._channels.send(channel, PieceTold(number, piece.start), offered.read(piece.start, piece.size))


class Transfers:
    """Owned by whoever holds the loop."""

    def __init__(
        self,
        channels: Channels,
        settings: Settings,
        spread: Spread | None = None,
        elsewhere: Callable[[Key], Place | None] = lambda key: None,
    ) -> None:
        self.channels = channels
        self.pulls = Pulls(settings.silence_limit_s)
        self.offers = Offers(channels, spread, elsewhere)

    def bring(self, key: Key, source: Channel, then: Callable[[Copy], object], now: float) -> Copy:
        """Have an object brought here; `then` is called when it is whole, or does not come. Whoever keeps the copy that
        this returns keeps the object."""
        copy = copies.find(key)
        if copy is not None and copy.is_whole:
            then(copy)
            return copy
        if copy is not None:
            copy.on_end.append(then)
            return copy
        copy = copies.make(home(), key)
        copy.on_end.append(then)
        self.pulls.bring(key, source, copy, now)
        return copy

    def lost(self, channel: Channel, now: float) -> None:
        """That process is no more."""
        self.channels.disconnect(channel)
        self.offers.lost(channel)
        self.pulls.lost(channel, now)

    def receive(self, now: float) -> None:
        for channel, message, payload in self.channels.receive():
            if isinstance(message, Hello):
                self.pulls.connected(channel, now)
            elif isinstance(message, _ANSWERS):
                self.pulls.handle(channel, message, payload, now)
            else:
                self.offers.handle(channel, message, now)

    def flush(self, now: float) -> float | None:
        """Send what is due; when to be asked again."""
        due = [self.pulls.decide(now), self.offers.decide(now)]
        while self.pulls.outbox:
            channel, message = self.pulls.outbox.popleft()
            self.channels.send(channel, message)  # type: ignore[arg-type]
        return min((at for at in due if at is not None), default=None)

    def close(self) -> None:
        self.channels.close()


_ANSWERS = (ObjectSized, ObjectThere, ObjectGone, PieceTold)
