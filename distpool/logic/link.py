"""One end of a link between two processes of a cluster: each message comes once and in order, though it is cut.

ZeroMQ drops messages without a word when a connection is cut. So each message has a number, is kept until the other end
has acknowledged it, and all from the first that is missing are sent again. An epoch names one life of a process: what
an earlier life has sent, or was sent, is no part of this link. Until the other end was heard of, only the first message
is sent, which is a greeting: should the other end begin a new life meanwhile, it may come to both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from distpool.ids import Epoch
from distpool.protocol.cluster import LinkHeader

Payload = Sequence[bytes | memoryview]
"""The buffers of one encoded message."""

NOBODY = Epoch(0)
"""The epoch of a peer that was not heard of yet."""


class LinkLimits(msgspec.Struct, frozen=True):
    """`window_bytes`: the most that is sent and not acknowledged; a larger message travels alone.
    `acknowledge_after_s`, `acknowledge_after`: how long, and for how many messages, an acknowledgement waits for a
    message to travel with. `resend_after_s`: silence after which all is sent again; it doubles up to
    `resend_at_most_s`. `beat_every_s`: a frame is sent at least this often, so that silence means something; None: an
    idle link is silent."""

    window_bytes: int = 4 * 1024 * 1024
    acknowledge_after_s: float = 0.02
    acknowledge_after: int = 64
    resend_after_s: float = 0.25
    resend_at_most_s: float = 2.0
    beat_every_s: float | None = None


Frame = tuple[LinkHeader, Payload]


class Link:
    """Owned by whoever holds the loop. `peer`: the epoch of the other end, once it was heard of; `heard_at`: when that
    was last; `is_unknown`: the other end does not know of this link any more, and nothing will arrive by it."""

    def __init__(self, epoch: Epoch, limits: LinkLimits, now: float) -> None:
        self.epoch = epoch
        self.peer = NOBODY
        self.heard_at = now
        self.is_unknown = False
        self._beat_at = None if limits.beat_every_s is None else now
        self._limits = limits
        # Not acknowledged, oldest first: (number, payload, bytes, whether the message goes on in the next).
        self._in_flight: deque[tuple[int, Payload, int, bool]] = deque()
        self._waiting: deque[tuple[int, Payload, int, bool]] = deque()
        self._bytes_in_flight = 0
        self._last_number = 0
        self._acknowledged = 0
        self._resend_after_s = limits.resend_after_s
        self._resend_at: float | None = None
        # Of what has come.
        self._delivered = 0
        self._owed = 0
        self._acknowledge_at: float | None = None
        self._is_gap_told = False
        self._misses = False

    # Sending --------------------------------------------------------------------------------------------------------

    def send(self, payload: Payload, *, more: bool = False) -> None:
        """Have this delivered; `decide` says when it leaves. `more`: it is a part of a message that goes on."""
        self._last_number += 1
        self._waiting.append((self._last_number, payload, sum(map(len, payload)), more))

    def reconnected(self, now: float) -> None:
        """There is a new connection: what was on its way in the old one may be lost."""
        self._send_again()
        self._acknowledge_at = now

    def is_settled(self) -> bool:
        """All that was sent has arrived."""
        return not (self._in_flight or self._waiting)

    # Receiving ------------------------------------------------------------------------------------------------------

    def receive(self, header: LinkHeader, payload: Payload, now: float) -> Payload | None:
        """The message that came, if it is the next one; else nothing."""
        if header.receiver not in (self.epoch, NOBODY):
            return None  # for an earlier life of this process
        if header.unknown:
            self.is_unknown = True  # perhaps a new life of the other says so
            return None
        if self.peer == NOBODY:
            self.peer = header.sender
        if header.sender != self.peer:
            return None  # from another life of the other
        self.heard_at = now
        if header.receiver == self.epoch:
            self._take_acknowledgement(header, now)
        if not header.number:
            return None
        if header.number == self._delivered + 1:
            self._delivered += 1
            self._is_gap_told = False
            self._owed += 1
            is_due = self._owed >= self._limits.acknowledge_after
            at = now if is_due else now + self._limits.acknowledge_after_s
            self._acknowledge_at = at if self._acknowledge_at is None else min(at, self._acknowledge_at)
            return payload
        if header.number <= self._delivered:
            self._acknowledge_at = now  # it came twice: the acknowledgement was lost
        elif not self._is_gap_told:
            self._is_gap_told = self._misses = True
            self._acknowledge_at = now
        return None

    def _take_acknowledgement(self, header: LinkHeader, now: float) -> None:
        if self._acknowledged < header.acknowledged <= self._last_number:
            self._acknowledged = header.acknowledged
            while self._in_flight and self._in_flight[0][0] <= self._acknowledged:
                self._bytes_in_flight -= self._in_flight.popleft()[2]
            while self._waiting and self._waiting[0][0] <= self._acknowledged:  # they were to be sent again
                self._waiting.popleft()
            self._resend_after_s = self._limits.resend_after_s
            self._resend_at = now + self._resend_after_s if self._in_flight else None
        if header.missing and header.acknowledged == self._acknowledged:
            self._send_again()

    def _send_again(self) -> None:
        self._waiting.extendleft(reversed(self._in_flight))
        self._in_flight.clear()
        self._bytes_in_flight = 0
        self._resend_at = None

    # Deciding -------------------------------------------------------------------------------------------------------

    def decide(self, now: float) -> tuple[list[Frame], float | None]:
        """What to send now, and when to be asked again without news."""
        if self._resend_at is not None and now >= self._resend_at:
            self._send_again()
            self._resend_after_s = min(2 * self._resend_after_s, self._limits.resend_at_most_s)
        frames: list[Frame] = []
        while self._waiting:
            number, payload, size, more = self._waiting[0]
            if self._in_flight and (self.peer == NOBODY or self._bytes_in_flight + size > self._limits.window_bytes):
                break
            self._in_flight.append(self._waiting.popleft())
            self._bytes_in_flight += size
            frames.append((self._header(number, more=more), payload))
        if frames and self._resend_at is None:
            self._resend_at = now + self._resend_after_s
        if not frames and any(at is not None and now >= at for at in (self._acknowledge_at, self._beat_at)):
            frames.append((self._header(0), ()))
        if frames and self._limits.beat_every_s is not None:
            self._beat_at = now + self._limits.beat_every_s
        due = [at for at in (self._resend_at, self._acknowledge_at, self._beat_at) if at is not None]
        return frames, min(due, default=None)

    def _header(self, number: int, *, more: bool = False) -> LinkHeader:
        missing, self._misses = self._misses, False
        self._owed = 0
        self._acknowledge_at = None
        return LinkHeader(self.epoch, self.peer, number, self._delivered, missing, more=more)
