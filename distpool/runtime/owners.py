"""Programs whose actors this one calls: a link to each, from its first call on, and what becomes of it.

An owner is gone when nobody listens at its port any more, or another process does; one that cannot be reached may have
run what was sent to it. One that is silent, and whose connection stands, is busy.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from distpool.config import Settings
from distpool.logic.link import LinkLimits
from distpool.logic.shown import shown_lines
from distpool.logic.times import earlier
from distpool.protocol.cluster import Greeting, LeaveCluster, Refused, Welcome
from distpool.protocol.messages import Message
from distpool.protocol.names import Place
from distpool.protocol.rights import GUEST_MAY_HEAR
from distpool.runtime.addresses import is_endpoint
from distpool.runtime.links import ClientLink
from distpool.transport.keys import Identity, is_key
from distpool.transport.sockets import Connection

_LEAVE_MS = 200


class Owner(msgspec.Struct):
    """One that there is a link to. `until`: when it is given up, if there is no connection by then. `is_there`: it has
    welcomed this program; `is_another`: a process has that has taken its port."""

    place: Place
    link: ClientLink
    until: float
    is_there: bool = False
    is_another: bool = False


class Owners:
    """Owned by whoever holds the loop."""

    def __init__(
        self,
        identity: Identity,
        greeting: Greeting,
        settings: Settings,
        told: Callable[[Message], None],
        lost: Callable[[int, str, bool], None],
    ) -> None:
        """`told`: what an owner has said. `lost`: an owner, by its life, and why; and whether its process is gone, or
        only out of reach."""
        self._identity = identity
        self._greeting = greeting
        self._settings = settings
        self._limits = LinkLimits(beat_every_s=settings.beat_every_s)
        self._told = told
        self._lost = lost
        self._owners: dict[int, Owner] = {}
        self._watch: Callable[[int], None] = _watch_nothing
        self._is_closed = False

    def attach(self, watch: Callable[[int], None]) -> None:
        self._watch = watch

    def has_some(self) -> bool:
        return any(owner.link.has_some() for owner in self._owners.values())

    def say(self, place: Place, message: Message, now: float) -> None:
        """One that cannot be reached is told of as lost."""
        if self._is_closed:
            self._lost(place.life, "this program has left its cluster", False)
            return
        owner = self._owners.get(place.life)
        if owner is None:
            if not (is_endpoint(place.endpoint) and is_key(place.public)):
                self._lost(place.life, f"{place.program} does not listen where its actor is said to be", False)
                return
            owner = self._owners[place.life] = self._connected(place, now)
        owner.link.send(message)

    def _connected(self, place: Place, now: float) -> Owner:
        route = self._greeting.life.to_bytes(8, "little")
        connection = Connection(place.endpoint, route, self._identity, place.public)
        link = ClientLink(connection, self._limits, now, GUEST_MAY_HEAR)
        for descriptor in connection.descriptors():
            self._watch(descriptor)
        link.send(self._greeting)
        return Owner(place, link, now + self._settings.connect_limit_s)

    def receive(self, now: float) -> None:
        for life, owner in list(self._owners.items()):
            why = self._hear(owner, now)
            is_gone = not why and self._is_gone(owner)
            if not why and not is_gone:
                why = self._out_of_reach(owner, now)
            if why or is_gone:
                del self._owners[life]
                owner.link.close()
                self._lost(life, why or f"the program that owned it, {owner.place.program}, has ended", is_gone)

    def _hear(self, owner: Owner, now: float) -> str:
        """Give on what it has said; why the link has to end, if it has."""
        for message in owner.link.receive(now):
            match message:
                case Welcome(life):
                    owner.is_there = life == owner.place.life
                    owner.is_another = not owner.is_there
                case Refused(text):
                    return f"{owner.place.program}, which owns it, refuses this program: {shown_lines(text)}"
                case _ if owner.is_there:
                    self._told(message)
        if owner.link.refusal:
            return f"the link to {owner.place.program}, which owns it, has ended: {owner.link.refusal}"
        return ""

    def _is_gone(self, owner: Owner) -> bool:
        connection = owner.link.connection
        return owner.is_another or (connection.is_refused() and not connection.is_connected)

    def _out_of_reach(self, owner: Owner, now: float) -> str:
        link = owner.link
        if link.link.is_unknown:
            return f"{owner.place.program}, which owns it, had given this program up after a cut in the network"
        if link.connection.is_connected:
            owner.until = now + self._settings.silence_limit_s
            return ""
        if now < owner.until:
            return ""
        reason = f" ({link.connection.refusal})" if link.connection.refusal else ""
        return f"{owner.place.program}, which owns it, cannot be reached at {owner.place.endpoint}{reason}"

    def flush(self, now: float) -> float | None:
        """Send what is due; when to be asked again."""
        wake_at: float | None = None
        for owner in self._owners.values():
            wake_at = earlier(wake_at, owner.link.flush(now))
            if not owner.link.connection.is_connected:
                wake_at = earlier(wake_at, owner.until)
        return wake_at

    def close(self) -> None:
        """Leave all of them."""
        self._is_closed = True
        for owner in self._owners.values():
            owner.link.send(LeaveCluster())
            owner.link.flush(0.0)
            owner.link.close(_LEAVE_MS)
        self._owners.clear()


def _watch_nothing(descriptor: int) -> None:
    pass
