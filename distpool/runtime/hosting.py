"""Which roles run in which process. A role elsewhere is a stand-in with the same interface, so the loop cannot tell."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from distpool.base_errors import DistpoolError
from distpool.config import Settings
from distpool.ids import CLIENT, NODE, Address
from distpool.logic.link import LinkLimits
from distpool.logic.membership import Membership, Versions
from distpool.logic.outbox import Outbox
from distpool.protocol.cluster import (
    DRIVER_MAY_SAY,
    NODE_MAY_SAY,
    Greeting,
    LeaveCluster,
    LetIn,
    RequestsDropped,
    RequestsWait,
    Welcome,
)
from distpool.protocol.messages import PROTOCOL_VERSION, Message, RequestLeases
from distpool.roles.head import HeadRole
from distpool.runtime.links import ClientLink, ServerLinks, new_epoch
from distpool.transport.keys import Allowed, Identity, Part
from distpool.transport.sockets import Connection, Listener

if TYPE_CHECKING:
    from distpool.runtime.ledger import Ledger  # with a database, which a head needs and no other process

_LEAVE_LIMIT_S = 1.0

_MAY_SAY = {Part.NODE: NODE_MAY_SAY, Part.DRIVER: DRIVER_MAY_SAY}


def own_versions() -> Versions:
    """Of this process."""
    from importlib import metadata  # only clusters need it

    try:
        version = metadata.version("distpool")
    except metadata.PackageNotFoundError:  # it was not installed, but put on the path
        version = "unknown"
    return Versions(PROTOCOL_VERSION, f"{sys.version_info.major}.{sys.version_info.minor}", version)


class RemoteHead:
    """The head of another process, as the node and the client of this one see it."""

    def __init__(
        self, endpoint: str, name: str, settings: Settings, now: float, identity: Identity | None = None
    ) -> None:
        """`identity`: needed for all but Unix sockets. Raises DistpoolError for an endpoint that is none."""
        self.outbox = Outbox()
        self.name = name
        life = new_epoch()
        self.connection = Connection(
            endpoint, life.to_bytes(8, "little"), identity, "" if identity is None else identity.head
        )
        self.greeting = Greeting(name, life, *own_versions())
        self._link = ClientLink(self.connection, LinkLimits(beat_every_s=settings.beat_every_s), now)
        self._link.send(self.greeting)
        self.is_greeting_anew = False
        """The head does not know this process any more, and has yet to welcome it."""

    @property
    def heard_at(self) -> float:
        """When the head was heard of last, or this was made."""
        return self._link.link.heard_at

    def attach(self, watch: Callable[[int], None]) -> None:
        for descriptor in self.connection.descriptors():
            watch(descriptor)

    def has_some(self) -> bool:
        return self._link.has_some()

    def is_settled(self) -> bool:
        """All that was said has arrived."""
        return self._link.link.is_settled()

    def handle(self, sender: Address, message: Any, now: float) -> None:
        """Pass it on. Leases are asked for when the head has welcomed this process: then all that are missing are."""
        if not (self.is_greeting_anew and isinstance(message, RequestLeases)):
            self._link.send(message)

    def receive(self, now: float) -> None:
        """What the head has said is for this process's node, or its client."""
        for message in self._link.receive(now):
            if isinstance(message, Welcome):
                self.is_greeting_anew = False
            self.outbox.put(CLIENT if isinstance(message, RequestsDropped | RequestsWait) else NODE, message)
        if self._link.link.is_unknown:
            # The head is another one, or has given this process up.
            self._link.begin_anew(now)
            self._link.send(self.greeting)
            self.is_greeting_anew = True

    def decide(self, now: float) -> float | None:
        return None

    def flush(self, now: float) -> float | None:
        """Send what is due; when to be asked again."""
        return self._link.flush(now)

    def leave(self) -> None:
        """Tell the head, if it is there, that this process ends."""
        self._link.send(LeaveCluster())
        until = time.monotonic() + _LEAVE_LIMIT_S
        while not self.is_settled() and time.monotonic() < until:
            self.receive(time.monotonic())
            self.flush(time.monotonic())
            time.sleep(0.002)
        self.close()

    def close(self) -> None:
        self._link.close()


class HeadHost:
    """A head and its links. Owned by the thread that runs its turns."""

    def __init__(
        self,
        listener: Listener,
        settings: Settings,
        now: float,
        members: Callable[[], list[Allowed]] = list,
        ledger: Ledger | None = None,
    ) -> None:
        """`members`: those who may connect to nodes, as it is now. `ledger`: what the head before has left; without one
        nothing is kept."""
        self._members = members
        self._let_in: list[Allowed] = []
        life = new_epoch()
        self._ledger = ledger
        kept = None if ledger is None else ledger.begin(life)
        self.role = HeadRole(Membership(own_versions()), life, now, settings, kept)
        limits = LinkLimits(beat_every_s=settings.beat_every_s)
        self._links = ServerLinks(listener, life, limits, settings, _may_say)

    def has_some(self) -> bool:
        """Something has come meanwhile, of which the descriptors need not tell."""
        return self._links.has_some()

    def turn(self, now: float) -> float | None:
        """Hear what has come, and say what is to be said; when to be asked again."""
        self._look_who_is_let_in()
        for address, message in self._links.receive(now):
            self.role.handle(address, message, now)
        wake_at = self.role.decide(now)
        # Before anybody hears of it: else two heads one after another could give the same CPU away.
        if self.role.records and self._ledger is not None:
            self._ledger.keep(self.role.records)
        self.role.records.clear()
        messages = self.role.outbox.messages
        while messages:
            to, answer = messages.popleft()
            self._links.send(str(to), answer)
        due = self._links.flush(now)
        return wake_at if due is None else due if wake_at is None else min(due, wake_at)

    def _look_who_is_let_in(self) -> None:
        try:
            members = self._members()
        except (DistpoolError, OSError):
            members = []  # nobody, as here; the doorman says why
        if members != self._let_in:
            self._let_in = members
            self.role.let_in(LetIn([(member.public, member.part.value, member.name) for member in members]))


def _may_say(allowed: Allowed | None, message: Message) -> bool:
    """Whoever can open a Unix socket is this user, and may say anything."""
    return allowed is None or isinstance(message, _MAY_SAY[allowed.part])
