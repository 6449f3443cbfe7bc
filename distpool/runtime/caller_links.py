"""The callers of a node by their links: in the node's loop they stand for its client."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from distpool.base_errors import ProtocolError
from distpool.config import Settings
from distpool.ids import CLIENT, HEAD, LAUNCHER, NODE, SUPPLIER, Address, LeaseId
from distpool.logic.link import LinkLimits
from distpool.logic.membership import Membership
from distpool.logic.outbox import Outbox
from distpool.protocol.cluster import CALLER_MAY_SAY
from distpool.protocol.messages import Message
from distpool.roles.callers import CallersRole
from distpool.runtime.hosting import own_versions
from distpool.runtime.links import ServerLinks, new_epoch
from distpool.runtime.supplier import Supplier
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
        self._role = CallersRole(Membership(own_versions()), life, name)
        self.listener = Listener(endpoint, identity, self._find)
        limits = LinkLimits(beat_every_s=settings.beat_every_s)
        self._links = ServerLinks(self.listener, life, limits, settings, _may_say)
        self._supplier = Supplier(settings)
        self.held_by: Callable[[LeaseId], int] = self._role.held_by

    def attach(self, watch: Callable[[int], None]) -> None:
        for descriptor in (*self.listener.descriptors(), self._supplier.descriptor):
            watch(descriptor)

    def has_some(self) -> bool:
        return self._links.has_some() or self._supplier.has_answers()

    def handle(self, sender: Address, message: Any, now: float) -> None:
        """What the node, a worker or a lane says."""
        self._role.handle(sender, message, now)
        self._sort()

    def receive(self, now: float) -> None:
        for address, message in self._links.receive(now):
            try:
                self._role.hear(address, message, now)
            except ProtocolError as error:
                _log.warning("a caller's message was dropped: %s", error)
        for answer in self._supplier.take_answers():
            self._role.handle(SUPPLIER, answer, now)
        self._sort()

    def decide(self, now: float) -> float | None:
        return None

    def flush(self, now: float) -> float | None:
        return self._links.flush(now)

    def close(self) -> None:
        self.listener.close()
        self._supplier.close()

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
