"""A cluster's nodes by their links: in a driver's loop they stand for its node."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from distpool.config import Settings
from distpool.ids import CLIENT, HEAD, LAUNCHER, Address, GroupId, LeaseId, NodeId
from distpool.logic.link import LinkLimits
from distpool.logic.outbox import Outbox
from distpool.protocol.cluster import CodePiece, Greeting, LeaveCluster, NeedCode, NodeGone, OpenGroup
from distpool.protocol.messages import LeaseLost, LeaseStarted
from distpool.roles.nodes import NodesRole
from distpool.runtime.far_crew import FarCrew
from distpool.runtime.links import ClientLink
from distpool.runtime.packages import Package
from distpool.transport.keys import Identity
from distpool.transport.sockets import Connection

_log = logging.getLogger("distpool")

_HERE = (CLIENT, HEAD, LAUNCHER)


class NodeLinks:
    """Owned by whoever holds the driver's loop."""

    def __init__(self, identity: Identity, greeting: Greeting, settings: Settings) -> None:
        """`greeting`: with what this process has greeted the head."""
        self.outbox = Outbox()
        self.crews: dict[GroupId, FarCrew] = {}
        self.package: Package | None = None
        """The code of this program, which nodes ask for piece by piece."""
        self._role = NodesRole()
        self._identity = identity
        self._greeting = greeting
        self._settings = settings
        self._limits = LinkLimits(beat_every_s=settings.beat_every_s)
        self._links: dict[NodeId, ClientLink] = {}
        self._is_closed = False
        self._probe_at = 0.0
        self._watch: Callable[[int], None] = _watch_nothing

    def open(self, plan: OpenGroup, crew: FarCrew) -> None:
        """A group whose workers will be on nodes."""
        self._role.open(plan)
        self.crews[plan.group] = crew

    def attach(self, watch: Callable[[int], None]) -> None:
        self._watch = watch

    def has_some(self) -> bool:
        return any(link.has_some() for link in self._links.values())

    def pass_on(self, lease: LeaseId, message: Any) -> None:
        self._role.pass_on(lease, message)

    def obey(self, message: Any) -> None:
        self._role.obey(message)
        self._sort(0.0)

    def handle(self, sender: Address, message: Any, now: float) -> None:
        """What the head says."""
        self._role.handle(HEAD, message, now)
        if self._role.refusal:
            _log.warning("the head refuses this program, which gets no new workers: %s", self._role.refusal)
            self._role.refusal = ""
        self._sort(now)

    def receive(self, now: float) -> None:
        for name, link in list(self._links.items()):
            for message in link.receive(now):
                if isinstance(message, NeedCode):
                    link.send(self._piece(message))
                else:
                    self._role.handle(name, message, now)
            is_silent = now - link.link.heard_at > self._settings.silence_limit_s
            if is_silent or link.link.is_unknown or self._is_gone(link, now):
                self._role.handle(HEAD, NodeGone(name), now)
        self._sort(now)

    def _piece(self, needed: NeedCode) -> CodePiece:
        package = self.package
        is_known = package is not None and needed.package == package.hash and 0 <= needed.offset < package.size
        data = package.piece(needed.offset) if package is not None and is_known else b""
        return CodePiece(needed.package, needed.offset, data)

    def _is_gone(self, link: ClientLink, now: float) -> bool:
        """Whether a connection that has broken shows that its node has ended. Asked again until there is a new one."""
        if not link.connection.is_broken() or now < self._probe_at:
            return False
        self._probe_at = now + _PROBE_EVERY_S
        return link.connection.is_refused()

    def decide(self, now: float) -> float | None:
        return None

    def flush(self, now: float) -> float | None:
        self._sort(now)
        wake_at = None
        for link in self._links.values():
            due = link.flush(now)
            silent_at = link.link.heard_at + self._settings.silence_limit_s
            if link.connection.is_broken():
                silent_at = min(silent_at, self._probe_at)
            due = silent_at if due is None else min(due, silent_at)
            wake_at = due if wake_at is None else min(due, wake_at)
        return wake_at

    def close(self) -> None:
        """Leave all nodes."""
        self._is_closed = True
        for link in self._links.values():
            link.send(LeaveCluster())
            link.flush(0.0)
            link.close(_LEAVE_MS)
        self._links.clear()

    def _sort(self, now: float) -> None:
        """What is for this process, and what for a node. Nodes that are gone are let go of."""
        messages = self._role.outbox.messages
        while messages:
            to, message = messages.popleft()
            if to == CLIENT:
                self._note(message)
            if to in _HERE:
                self.outbox.put(to, message)
            elif not self._is_closed:
                self._link(NodeId(str(to)), now).send(message)
        for name in [name for name in self._links if name not in self._role.nodes]:
            self._links.pop(name).close()

    def _link(self, name: NodeId, now: float) -> ClientLink:
        link = self._links.get(name)
        if link is None:
            node = self._role.nodes[name]
            route = self._greeting.life.to_bytes(8, "little")
            link = self._links[name] = ClientLink(
                Connection(node.endpoint, route, self._identity, node.public), self._limits, now
            )
            for descriptor in link.connection.descriptors():
                self._watch(descriptor)
            link.send(self._greeting)
        return link

    def _note(self, message: Any) -> None:
        """For those who look at the workers of a pool."""
        match message:
            case LeaseStarted(lease, group):
                if group in self.crews:
                    self.crews[group].started(lease)
            case LeaseLost(lease, group, death):
                if group in self.crews:
                    self.crews[group].ended(lease, death)


_LEAVE_MS = 200
_PROBE_EVERY_S = 0.05


def _watch_nothing(descriptor: int) -> None:
    pass
