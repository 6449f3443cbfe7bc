"""Which roles run in which process. A role elsewhere is a stand-in with the same interface, so the loop cannot tell."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from distpool.base_errors import DistpoolError
from distpool.config import Settings
from distpool.ids import CLIENT, HEAD, NODE, Address, NodeId
from distpool.logic.link import LinkLimits
from distpool.logic.membership import Membership, Versions
from distpool.logic.outbox import Outbox
from distpool.logic.times import earlier
from distpool.protocol.cluster import (
    AskLog,
    AskStacks,
    Enrol,
    Greeting,
    HeadKeyChanges,
    LeaveCluster,
    PeerLost,
    Refused,
    Rejoined,
    RequestsDropped,
    RequestsWait,
)
from distpool.protocol.messages import PROTOCOL_VERSION, Message, RegisterNode
from distpool.protocol.names import ClaimName, NamedActor, NameTold
from distpool.protocol.placing import PlacesTold, RequestsRefused
from distpool.protocol.rights import DRIVER_MAY_HEAR, DRIVER_MAY_SAY, NODE_MAY_HEAR, NODE_MAY_SAY, TOKEN_MAY_SAY
from distpool.roles.head import HeadRole
from distpool.runtime.addresses import is_endpoint
from distpool.runtime.links import ClientLink, ServerLinks, is_own_life, new_epoch
from distpool.transport.keys import Allowed, Identity, Part, is_key
from distpool.transport.rotation import accept_head, expect_head
from distpool.transport.sockets import Connection, Listener

if TYPE_CHECKING:
    from distpool.runtime.head_keys import HeadKeys
    from distpool.runtime.inquiries import Inquiries
    from distpool.runtime.ledger import Ledger  # with a database, which a head needs and no other process

_LEAVE_LIMIT_S = 1.0

_log = logging.getLogger("distpool.security")
_head_log = logging.getLogger("distpool.head")

_FOR_CLIENT = RequestsDropped | RequestsWait | RequestsRefused | PlacesTold
_MAY_SAY = {Part.NODE: NODE_MAY_SAY, Part.DRIVER: DRIVER_MAY_SAY}
_MAY_HEAR = {Part.NODE: NODE_MAY_HEAR, Part.DRIVER: DRIVER_MAY_HEAR}
_ANEW_AFTER_S = 1.0
"""A link that one end has ended as it cannot hear the other is not begun anew at once: it could end so again."""


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
        self,
        endpoint: str,
        name: str,
        settings: Settings,
        now: float,
        identity: Identity | None = None,
        opening: Message | None = None,
    ) -> None:
        """`identity`: needed for all but Unix sockets. `opening`: what is said first, instead of a greeting. Raises
        DistpoolError for an endpoint that is none."""
        self.outbox = Outbox()
        self.name = name
        self._identity = identity
        life = new_epoch()
        heads = [] if identity is None else [identity.head, identity.next_head]
        self.connection = Connection(endpoint, life.to_bytes(8, "little"), identity, *filter(None, heads))
        self.greeting = Greeting(name, life, *own_versions())
        # On a Unix socket the head has a part of this process only, which does both.
        may_say = NODE_MAY_HEAR | DRIVER_MAY_HEAR if identity is None else _MAY_HEAR[identity.part]
        self._link = ClientLink(self.connection, LinkLimits(beat_every_s=settings.beat_every_s), now, may_say)
        self._anew_at: float | None = None
        self._opening = self.greeting if opening is None else opening
        self._link.send(self._opening)

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
        """Pass it on."""
        self._link.send(message)

    def receive(self, now: float) -> None:
        """What the head has said is for this process's node, or its client."""
        for message in self._link.receive(now):
            if isinstance(message, HeadKeyChanges):
                if not is_key(message.public):
                    continue
                self._note_head(expect_head, message.public)
                self.connection.expect(message.public)
            else:
                self.outbox.put(CLIENT if isinstance(message, _FOR_CLIENT) else NODE, message)
        if self._identity is not None and self._link.is_heard() and self.connection.server != self._identity.head:
            self._note_head(accept_head, self.connection.server)
            self.connection.forget_others()
        if self._link.refusal and self._anew_at is None:
            self._anew_at = now + _ANEW_AFTER_S
            self.outbox.put(NODE, Refused(self._link.refusal))
        if (self._link.link.is_unknown and not self._link.refusal) or (
            self._anew_at is not None and now >= self._anew_at
        ):
            # The head is another one, or has given this process up.
            self._anew_at = None
            self._link.begin_anew(now)
            self._link.send(self._opening)
            self.outbox.put(NODE, Rejoined({}))

    def _note_head(self, note: Callable[[Identity, str], None], public: str) -> None:
        if self._identity is None:
            return
        try:
            note(self._identity, public)
        except (DistpoolError, OSError) as error:
            _log.error("the head's new public key is %s, but it cannot be kept: %s", public, error)

    def decide(self, now: float) -> float | None:
        return None

    def flush(self, now: float) -> float | None:
        """Send what is due; when to be asked again."""
        return earlier(self._link.flush(now), self._anew_at)

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
        keys: HeadKeys | None = None,
        ledger: Ledger | None = None,
        inquiries: Inquiries | None = None,
    ) -> None:
        """`keys`: needed for all but Unix sockets. `ledger`: what the head before has left; without one nothing is
        kept. `inquiries`: without them nothing about the head's own process is told."""
        self._listener = listener
        self._settings = settings
        self._keys = keys
        life = new_epoch()
        self._ledger = ledger
        self._inquiries = inquiries
        kept = None if ledger is None else ledger.begin(life)
        self.role = HeadRole(Membership(own_versions()), life, now, settings, kept)
        limits = LinkLimits(beat_every_s=settings.beat_every_s)
        self._links = ServerLinks(listener, life, limits, settings, _may_say)
        self._nodes: set[NodeId] = set()

    def has_some(self) -> bool:
        """Something has come meanwhile, of which the descriptors need not tell."""
        return self._links.has_some()

    def descriptors(self) -> list[int]:
        """A turn is due when one of them is ready."""
        return [*self._listener.descriptors(), *([] if self._inquiries is None else [self._inquiries.descriptor])]

    def dropped(self) -> Counter[str]:
        """Frames that were not heard, by the reason."""
        return self._links.dropped

    def turn(self, now: float) -> float | None:
        """Hear what has come, and say what is to be said; when to be asked again."""
        look_at = None if self._keys is None else self._look_at_keys(self._keys, now)
        for address, message in self._links.receive(now):
            if isinstance(message, Enrol):
                self._enrol(address, message)
            elif isinstance(message, Greeting) and not is_own_life(address, message):
                self._links.refuse(address, "a greeting in the name of another process")
                self.role.handle(address, PeerLost(), now)
            elif isinstance(message, RegisterNode) and (reason := self._misfit(address, message)):
                self._links.send(address, Refused(reason))
            elif isinstance(message, ClaimName) and (reason := self._misfit(address, message.actor)):
                self._links.send(address, NameTold(message.number, refusal=reason))
            elif isinstance(message, AskLog | AskStacks) and message.node == HEAD and self._inquiries is not None:
                self._inquiries.handle(address, message)
            else:
                self.role.handle(address, message, now)
        wake_at = self.role.decide(now)
        self._log_nodes()
        # Before anybody hears of it: else two heads one after another could give the same CPU away.
        if self.role.records and self._ledger is not None:
            self._ledger.keep(self.role.records)
        self.role.records.clear()
        messages = self.role.outbox.messages
        if self._inquiries is not None:
            messages.extend(self._inquiries.take_answers())
        while messages:
            to, answer = messages.popleft()
            self._links.send(str(to), answer)
        due = [at for at in (wake_at, self._links.flush(now), look_at) if at is not None]
        return min(due, default=None)

    def _log_nodes(self) -> None:
        """Which have come and gone since the last turn."""
        nodes = self.role.node_names()
        for name in sorted(nodes - self._nodes):
            _head_log.info("node %s has joined", name)
        for name in sorted(self._nodes - nodes):
            _head_log.info("node %s has left, or is lost", name)
        self._nodes = nodes

    def _look_at_keys(self, keys: HeadKeys, now: float) -> float:
        """Do what has changed there; when to look again."""
        members = keys.news_of_members()
        if members is not None:
            self.role.let_in(members)
        if now >= keys.changes_at and (identity := keys.take_up_next(now)) is not None:
            self.role.change_key(None)
            self._listener.change_key(identity)
            self._links.wait_for_all(now + self._settings.key_moved_limit_s)
        coming = keys.news_of_key(now)
        if coming is not None:
            self.role.change_key(coming)
        return min(keys.changes_at, now + self._settings.look_at_keys_s)

    def _misfit(self, address: str, listener: RegisterNode | NamedActor) -> str:
        """Why others cannot be sent to this node, or owner of an actor; empty when they can. On a Unix socket a node is
        the caller's own."""
        key = self._links.key_of(address)
        what = "a node" if isinstance(listener, RegisterNode) else "a program that others call"
        if listener.public != key:
            return f"{what} is known by the key that it has joined with"
        if key and not is_endpoint(listener.endpoint):
            return f"{what} listens at an address like tcp://host:port"
        return ""

    def _enrol(self, address: str, message: Enrol) -> None:
        key = self._links.key_of(address)
        if self._keys is not None and key is not None:
            self._links.send(address, self._keys.enrol(key, message))


def _may_say(allowed: Allowed | None, message: Message) -> bool:
    """Whoever can open a Unix socket is this user, and may say anything but what needs a token."""
    if allowed is None:
        return not isinstance(message, TOKEN_MAY_SAY)
    return isinstance(message, _MAY_SAY[allowed.part] if allowed.until is None else TOKEN_MAY_SAY)
