"""Objects on their way here: asked for piece by piece where they are, and elsewhere when that is lost.

An object has a home, which has it or knows who does. Pieces come in order, a few are asked for ahead, and what does not
come is asked for again, from the first that is missing. So no byte is asked for twice unless it was lost, and little
memory is taken on the way.
"""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import Any, Protocol

import msgspec

from distpool.base_errors import StoreFull
from distpool.ids import Key
from distpool.protocol.transfers import (
    PIECE_BYTES,
    AskObject,
    AskPiece,
    EndTransfer,
    ObjectGone,
    ObjectSized,
    ObjectThere,
    PieceTold,
    Place,
)

Channel = Place | bytes
"""By which a process is asked: the place that this one has connected to, or the route of one that has connected."""

AHEAD = 8
"""Pieces that are asked for and have not come: enough for a way of 10 ms at 800 MB/s."""
_AT_ONCE = 4
"""So many are asked for together, so that the other end has a turn for all of them and not for each."""
ACTIVE = 4
"""Objects that come at the same time. The others wait."""
_ROUNDS = 3
PROCESS_LOST = "its process is lost"
"""Why an object does not come."""
_LOOK_FOR_ROOM_S = 0.05


class Sink(Protocol):
    """Where an object goes."""

    def begin(self, size: int) -> bool:
        """It has so many bytes; False: there is no room yet. Raises StoreFull when there will be none."""
        ...

    def write(self, start: int, payload: Any) -> None: ...

    def end(self, failure: str) -> None:
        """It is whole, or will not come, and why."""
        ...


class Pull(msgspec.Struct):
    """One object on its way. `have`: so many bytes, from the first on, are here; `asked`: so many were asked for.
    `rounds`: how often it was asked for without an answer. `is_awaited`: somebody waits for it."""

    number: int
    key: Key
    home: Channel
    sink: Sink
    source: Channel
    heard_at: float
    is_awaited: bool
    size: int = -1
    has_room: bool = False
    have: int = 0
    asked: int = 0
    rounds: int = 0
    avoid: list[str] = msgspec.field(default_factory=list)


class Pulls:
    """All objects that are on their way to one process. `silence_s`: without an answer for so long, ask again."""

    def __init__(self, silence_s: float) -> None:
        self.outbox: deque[tuple[Channel, Any]] = deque()
        self._silence_s = silence_s
        self._numbers = count(1)
        self._waiting: deque[Pull] = deque()
        self._active: dict[int, Pull] = {}

    def bring(self, key: Key, home: Channel, sink: Sink, now: float, *, is_awaited: bool = True) -> None:
        """What nobody awaits yet begins only while nothing else is on its way that somebody does."""
        self._waiting.append(Pull(next(self._numbers), key, home, sink, home, now, is_awaited))
        self._begin_some(now)

    def hurry(self, key: Key, now: float) -> None:
        """Somebody waits for it now."""
        for pull in [*self._active.values(), *self._waiting]:
            if pull.key == key:
                pull.is_awaited = True
        self._begin_some(now)

    def is_idle(self) -> bool:
        return not self._active and not self._waiting

    # What is told -------------------------------------------------------------------------------------------------

    def handle(self, channel: Channel, message: Any, payload: Any, now: float) -> None:
        """An answer. What does not come from where it was asked for is not heard."""
        pull = self._active.get(message.number)
        if pull is None or pull.source != channel:
            return
        pull.heard_at = now
        pull.rounds = 0
        match message:
            case ObjectSized(_, size):
                self._sized(pull, size, now)
            case ObjectThere(_, endpoint, public):
                self._go_to(pull, Place(endpoint, public), now)
            case ObjectGone(_, text):
                if pull.source == pull.home:
                    self._end(pull, text, now)
                else:
                    self._go_home(pull, now)
            case PieceTold(_, start):
                self._piece(pull, start, payload, now)

    def connected(self, channel: Channel, now: float) -> None:
        """By a new connection: what was asked for and has not come is lost."""
        for pull in self._active.values():
            if pull.source == channel:
                self._ask(pull, now)

    def lost(self, channel: Channel, now: float) -> None:
        """That process is no more."""
        for pull in [*self._active.values(), *self._waiting]:
            if pull.home == channel:
                self._end(pull, PROCESS_LOST, now)
            elif pull.source == channel:
                self._go_home(pull, now)

    def decide(self, now: float) -> float | None:
        """Ask again where that is due; when the next may be."""
        wake_at = None
        for pull in list(self._active.values()):
            if pull.size >= 0 and not pull.has_room:
                self._sized(pull, pull.size, now)
                wake_at = now + _LOOK_FOR_ROOM_S
            if now >= pull.heard_at + self._silence_s:
                pull.heard_at = now
                pull.rounds += 1
                if pull.rounds >= _ROUNDS and pull.source != pull.home:
                    self._go_home(pull, now)
                else:
                    self._ask(pull, now)
            due = pull.heard_at + self._silence_s
            wake_at = due if wake_at is None else min(due, wake_at)
        return wake_at

    # Steps ----------------------------------------------------------------------------------------------------------

    def _begin_some(self, now: float) -> None:
        while len(self._active) < ACTIVE and (pull := self._next()) is not None:
            self._waiting.remove(pull)
            pull.heard_at = now
            self._active[pull.number] = pull
            self._ask(pull, now)

    def _next(self) -> Pull | None:
        awaited = next((pull for pull in self._waiting if pull.is_awaited), None)
        if awaited is not None or not self._waiting or any(pull.is_awaited for pull in self._active.values()):
            return awaited
        return self._waiting[0]

    def _ask(self, pull: Pull, now: float) -> None:
        pull.asked = pull.have
        avoid = pull.avoid if pull.source == pull.home else []
        self._put(pull, AskObject(pull.number, *pull.key, avoid))

    def _go_to(self, pull: Pull, place: Place, now: float) -> None:
        pull.source = place
        self._ask(pull, now)

    def _go_home(self, pull: Pull, now: float) -> None:
        """From where it was sent it does not get the object."""
        if isinstance(pull.source, Place):
            self._put(pull, EndTransfer(pull.number, False))
            pull.avoid.append(pull.source.endpoint)
        pull.source = pull.home
        pull.heard_at = now
        pull.rounds = 0
        self._ask(pull, now)

    def _sized(self, pull: Pull, size: int, now: float) -> None:
        if pull.size not in (-1, size):
            self._end(pull, f"it has {pull.size} bytes at one place and {size} at another", now)
            return
        pull.size = size
        try:
            pull.has_room = pull.has_room or pull.sink.begin(size)
        except StoreFull as error:
            self._end(pull, str(error), now)
            return
        if pull.has_room:
            if pull.have == size:
                self._end(pull, "", now)
            else:
                self._ask_pieces(pull)

    def _ask_pieces(self, pull: Pull) -> None:
        until = min(pull.size, pull.have + AHEAD * PIECE_BYTES)
        if until < pull.size and until - pull.asked < _AT_ONCE * PIECE_BYTES:
            return  # with the next ones
        while pull.asked < until:
            size = min(PIECE_BYTES, pull.size - pull.asked)
            self._put(pull, AskPiece(pull.number, pull.asked, size))
            pull.asked += size

    def _piece(self, pull: Pull, start: int, payload: Any, now: float) -> None:
        if not pull.has_room or start != pull.have or pull.have + len(payload) > pull.size:
            return  # one that was asked for twice, or before it was asked for again
        pull.sink.write(start, payload)
        pull.have += len(payload)
        pull.asked = max(pull.asked, pull.have)
        if pull.have == pull.size:
            self._end(pull, "", now)
        else:
            self._ask_pieces(pull)

    def _end(self, pull: Pull, failure: str, now: float) -> None:
        if self._active.pop(pull.number, None) is None:
            self._waiting.remove(pull)
        else:
            self._put(pull, EndTransfer(pull.number, not failure))
            if pull.source != pull.home and not failure:
                self._say(pull.home, EndTransfer(pull.number, True))
        pull.sink.end(failure)
        self._begin_some(now)

    def _put(self, pull: Pull, message: Any) -> None:
        self._say(pull.source, message)

    def _say(self, channel: Channel, message: Any) -> None:
        self.outbox.append((channel, message))
