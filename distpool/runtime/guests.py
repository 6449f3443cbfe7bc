"""Programs that call the actors of this one, by their links: this program listens to them, as a node to its callers.

guest ══ CURVE ══► Listener, Doorman (who has this key?) ── ServerLinks ──► serve
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distpool.config import Settings
from distpool.ids import Address
from distpool.logic.link import LinkLimits
from distpool.logic.membership import Membership
from distpool.protocol.cluster import Greeting, LeaveCluster, LetIn, PeerLost, Refused, Welcome
from distpool.protocol.messages import Message
from distpool.protocol.rights import GUEST_MAY_SAY
from distpool.runtime.hosting import own_versions
from distpool.runtime.links import ServerLinks, is_own_life, new_epoch
from distpool.transport.keys import Allowed, Identity, Part
from distpool.transport.sockets import Listener

Serve = Callable[[str, Any], None]
"""Of a guest, by its link: what it says, and at last `PeerLost`."""


class Guests:
    """Owned by whoever holds the loop."""

    def __init__(self, endpoint: str, identity: Identity, life: int, settings: Settings, serve: Serve) -> None:
        """`life`: of this process. Nobody is let in before `let_in`. Raises DistpoolError when it cannot listen."""
        self._allowed: dict[str, Allowed] = {}
        self._members = Membership(own_versions())
        self._welcome = Welcome(life)
        self._serve = serve
        self._listener = Listener(endpoint, identity, self._allowed.get)
        self._links = ServerLinks(
            self._listener, new_epoch(), LinkLimits(beat_every_s=settings.beat_every_s), settings, _may_say
        )
        self.endpoint = self._listener.endpoint
        self.public = identity.public

    def let_in(self, members: LetIn) -> None:
        """The programs that may connect, as the head says. Whoever was one and is none any more is not heard."""
        self._allowed.clear()
        for public, part, name in members.members:
            if part == Part.DRIVER.value:
                self._allowed[public] = Allowed(public, Part.DRIVER, name)

    def descriptors(self) -> list[int]:
        return self._listener.descriptors()

    def has_some(self) -> bool:
        return self._links.has_some()

    def are_there(self) -> bool:
        """Some program has a link to this one."""
        return len(self._members) > 0

    def receive(self, now: float) -> None:
        for address, message in self._links.receive(now):
            self._hear(address, message, now)

    def _hear(self, address: Address, message: Message, now: float) -> None:
        guest = str(address)
        match message:
            case Greeting() if not is_own_life(guest, message):
                self._links.refuse(guest, "a greeting in the name of another process")
                self._lose(guest)
            case Greeting():
                refusal = self._members.greet(guest, message, now)
                self._links.send(guest, Refused(refusal) if refusal else self._welcome)
            case PeerLost() | LeaveCluster():
                self._lose(guest)
            case _ if self._members.find(guest) is None:
                self._links.send(guest, Refused("whoever calls an actor of another program has to greet first"))
            case _:
                self._serve(guest, message)

    def _lose(self, guest: str) -> None:
        if self._members.remove(guest) is not None:
            self._serve(guest, PeerLost())

    def send(self, guest: str, message: Message) -> None:
        """If it is still there."""
        self._links.send(guest, message)

    def flush(self, now: float) -> float | None:
        return self._links.flush(now)

    def close(self) -> None:
        self._listener.close()


def _may_say(allowed: Allowed | None, message: Message) -> bool:
    return allowed is not None and allowed.part is Part.DRIVER and isinstance(message, GUEST_MAY_SAY)
