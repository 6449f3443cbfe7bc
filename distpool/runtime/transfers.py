"""Objects between the stores of a cluster's processes: those that come here, and those that others get from here.

Pulls ──► AskObject, AskPiece ──► channels ═══ network ═══ channels ──► Offers ──► PieceTold ──► …
  └──► Copy: memory of this process's store, also read from while the rest still comes
"""

from __future__ import annotations

from collections.abc import Callable

from distpool.config import Settings
from distpool.ids import Key
from distpool.logic.offers import Offers
from distpool.logic.pulls import Channel, Pulls
from distpool.logic.spread import Spread
from distpool.logic.times import earlier
from distpool.objects import copies
from distpool.objects.copies import Copy, Offered
from distpool.objects.stores import home
from distpool.protocol.transfers import (
    Hello,
    ObjectGone,
    ObjectSized,
    ObjectThere,
    PieceTold,
    Place,
)
from distpool.runtime.channels import Channels


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
        self.offers = Offers(lambda key: Offered(home(), key), channels.place_of, spread, elsewhere)

    def bring(
        self, key: Key, source: Channel, then: Callable[[Copy], object], now: float, *, is_awaited: bool = True
    ) -> Copy:
        """Have an object brought here; `then` is called when it is whole, or does not come. Whoever keeps the copy that
        this returns keeps the object. `is_awaited`: somebody waits for it; others come after those."""
        copy = copies.find(key)
        if copy is not None and copy.is_whole:
            then(copy)
            return copy
        if copy is not None:
            copy.on_end.append(then)
            if is_awaited:
                self.pulls.hurry(key, now)
            return copy
        copy = copies.make(home(), key)
        copy.on_end.append(then)
        self.pulls.bring(key, source, copy, now, is_awaited=is_awaited)
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
        for place in self.channels.ended():
            self.lost(place, now)

    def flush(self, now: float) -> float | None:
        """Send what is due; when to be asked again."""
        due = earlier(earlier(self.pulls.decide(now), self.offers.decide(now)), self.channels.look_at())
        while self.pulls.outbox:
            self.channels.send(*self.pulls.outbox.popleft())
        while self.offers.outbox:
            self.channels.send(*self.offers.outbox.popleft())
        return due

    def close(self) -> None:
        self.channels.close()
        self.offers.close()


_ANSWERS = (ObjectSized, ObjectThere, ObjectGone, PieceTold)
