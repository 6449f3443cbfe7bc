"""The callers of a node by their links: in the node's loop they stand for its client."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distpool.base_errors import ProtocolError
from distpool.config import Settings
from distpool.ids import CLIENT, HEAD, LAUNCHER, NODE, SUPPLIER, Address, LeaseId
from distpool.logic.link import LinkLimits
from distpool.logic.membership import Membership
from distpool.logic.outbox import Outbox
from distpool.logic.shown import shown
from distpool.logic.times import earlier
from distpool.protocol.cluster import (
    AskLog,
    AskStacks,
    Greeting,
    LeaveCluster,
    PeerLost,
)
from distpool.protocol.messages import Message
from distpool.protocol.objects import BringSoon, ForgetObjects, ReleaseObjects
from distpool.protocol.rights import CALLER_MAY_SAY
from distpool.roles.callers import CallersRole
from distpool.runtime.caller_objects import CallerObjects
from distpool.runtime.channels import Channels
from distpool.runtime.hosting import own_versions
from distpool.runtime.inquiries import Inquiries
from distpool.runtime.links import ServerLinks, is_own_life, new_epoch
from distpool.runtime.supplier import Supplier
from distpool.store.create import own_memory
from distpool.transport.home import home_folder
from distpool.transport.keys import Allowed, Identity, Part
from distpool.transport.sockets import Listener

_HERE = (CLIENT, HEAD, LAUNCHER, NODE)

_log = logging.getLogger("distpool.node")


class CallerLinks:
    """Owned by whoever holds the node's loop."""

    def __init__(self, endpoint: str, identity: Identity, name: str, settings: Settings) -> None:
        """Raises DistpoolError when it cannot listen there."""
        self.outbox = Outbox()
        life = new_epoch()
        transfers = Listener(endpoint, identity, self._find)
        self._role = CallersRole(Membership(own_versions()), life, name, transfers.endpoint, own_memory()[0])
        channels = Channels(identity, life.to_bytes(8, "little"), transfers)
        self.objects = CallerObjects(channels, settings, self._owner_of, self._say)
        self.listener = Listener(endpoint, identity, self._find)
        limits = LinkLimits(beat_every_s=settings.beat_every_s)
        self._links = ServerLinks(self.listener, life, limits, settings, _may_say)
        self._supplier = Supplier(settings)
        self._inquiries = Inquiries(Path(home_folder()), name)
        self.held_by: Callable[[LeaseId], int] = self._role.held_by
        self.has_outstanding = self._role.has_outstanding
        self.running = self._role.running

    def attach(self, watch: Callable[[int], None]) -> None:
        for descriptor in (*self.listener.descriptors(), self._supplier.descriptor, self._inquiries.descriptor):
            watch(descriptor)
        self.objects.transfers.channels.attach(watch)

    def has_some(self) -> bool:
        if self._links.has_some() or self._supplier.has_answers() or self._inquiries.has_answers():
            return True
        return self.objects.transfers.channels.has_some()

    def handle(self, sender: Address, message: Any, now: float) -> None:
        """What the node, a worker or a lane says."""
        if isinstance(message, AskLog | AskStacks):
            self._inquiries.handle(HEAD, message)
            return
        self._role.handle(sender, message, now)
        self._sort()

    def condemn(self, lease: LeaseId, why: str) -> None:
        """End a worker that does not keep to the protocol."""
        _log.warning("the worker of lease %s is ended: %s", lease, why)
        self._role.condemn(lease)
        self._sort()

    def receive(self, now: float) -> None:
        for address, message in self._links.receive(now):
            if isinstance(message, BringSoon | ReleaseObjects | ForgetObjects):
                if self._role.knows(address):
                    self.objects.hear(address, message, now)
                continue
            try:
                if isinstance(message, Greeting) and not is_own_life(address, message):
                    raise ProtocolError("a greeting in the name of another process")
                self._role.hear(address, message, now)
            except ProtocolError as error:
                self._links.refuse(address, shown(str(error)))
                message = PeerLost()
                self._role.hear(address, message, now)
            if isinstance(message, PeerLost | LeaveCluster):
                self.objects.forget(address, now)
        for answer in self._supplier.take_answers():
            self._role.handle(SUPPLIER, answer, now)
        for asker, told in self._inquiries.take_answers():
            self.outbox.put(asker, told)
        self.objects.transfers.receive(now)
        self._sort()

    def decide(self, now: float) -> float | None:
        return None

    def flush(self, now: float) -> float | None:
        return earlier(self.objects.transfers.flush(now), self._links.flush(now))

    def close(self) -> None:
        self.listener.close()
        self.objects.transfers.close()
        self._supplier.close()
        self._inquiries.close()

    def _owner_of(self, lease: LeaseId) -> str | None:
        owner = self._role.owner_of(lease)
        return None if owner is None else str(owner)

    def _say(self, caller: str, message: Message) -> None:
        """In order with what its workers say."""
        self._sort()
        self._links.send(caller, message)

    def _sort(self) -> None:
        """What is for this process, and what for a caller."""
        messages = self._role.outbox.messages
        while messages:
            to, message = messages.popleft()
            if to == SUPPLIER:
                self._supplier.handle(message)
            elif isinstance(to, int) or to in _HERE:
                self.outbox.put(to, message)
            else:
                self._links.send(to, message)

    def _find(self, public: str) -> Allowed | None:
        found = self._role.allowed.get(public)
        return None if found is None else Allowed(public, Part(found[0]), found[1])


def _may_say(allowed: Allowed | None, message: Message) -> bool:
    return allowed is not None and allowed.part is Part.DRIVER and isinstance(message, CALLER_MAY_SAY)
