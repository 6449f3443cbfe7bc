"""The head: knows who takes part and which nodes there are, and places leases on them. It never sees a call."""

from __future__ import annotations

from itertools import count
from typing import Any

from distpool.ids import Address, LeaseId, NodeId
from distpool.logic.membership import Membership
from distpool.logic.outbox import Outbox
from distpool.logic.placement import Placement
from distpool.protocol.cluster import (
    AskStatus,
    Greeting,
    LeaveCluster,
    NodeFacts,
    PeerLost,
    Refused,
    StatusTold,
    Welcome,
)
from distpool.protocol.messages import GrantLease, RegisterNode, RequestLeases, ReturnLease
from distpool.roles.role import unexpected


class HeadRole:
    """Places leases on nodes. `membership`, `life`: of a cluster's head, which others have to greet first."""

    def __init__(self, membership: Membership | None = None, life: int = 0, now: float = 0.0) -> None:
        self.outbox = Outbox()
        self.placement = Placement()
        self._membership = membership
        self._life = life
        self._began_at = now
        self._nodes: dict[Address, RegisterNode] = {}
        self._addresses: dict[NodeId, Address] = {}
        self._lease_ids = count(1)
        self._waiting: list[RequestLeases] = []

    def handle(self, sender: Address, message: Any, now: float) -> None:
        match message:
            case RequestLeases():
                self._waiting.append(message)
            case ReturnLease(lease):
                self.placement.free(lease)
            case RegisterNode():
                self._register(sender, message)
            case Greeting():
                self._greet(sender, message, now)
            case PeerLost() | LeaveCluster():
                self._forget(sender)
            case AskStatus():
                self.outbox.put(sender, self._status(now))
            case _:
                raise unexpected("head", sender, message)

    def decide(self, now: float) -> float | None:
        if not self.placement.has_nodes():
            return None  # requests wait for the first node
        for request in self._waiting:
            for _ in range(request.count):
                lease = LeaseId(next(self._lease_ids))
                node = self.placement.place(lease)
                self.outbox.put(self._addresses[node], GrantLease(lease, request.group))
        self._waiting.clear()
        return None

    def _greet(self, sender: Address, greeting: Greeting, now: float) -> None:
        if self._membership is None:
            raise unexpected("head", sender, greeting)
        refusal = self._membership.greet(sender, greeting, now)
        if refusal:
            self.outbox.put(sender, Refused(refusal))
            return
        for link in self._membership.links_of(greeting.life):
            if link != sender:  # the process has made a new one, and will not use the old one again
                self._forget(link)
        self.outbox.put(sender, Welcome(self._life))

    def _register(self, sender: Address, message: RegisterNode) -> None:
        if self._membership is not None and self._membership.find(sender) is None:
            self.outbox.put(sender, Refused("whoever offers workers has to greet first"))
            return
        holder = self._addresses.get(message.node)
        if holder is not None and holder != sender:
            self.outbox.put(
                sender, Refused(f"there is a node of the name {message.node!r} already: give this one another name")
            )
            return
        self._nodes[sender] = message
        self._addresses[message.node] = sender
        self.placement.add_node(message.node, message.cpus)

    def _forget(self, sender: Address) -> None:
        """It has left, or is lost, and with it the leases on it."""
        if self._membership is not None:
            self._membership.remove(sender)
        node = self._nodes.pop(sender, None)
        if node is not None:
            del self._addresses[node.node]
            self.placement.remove_node(node.node)

    def _status(self, now: float) -> StatusTold:
        nodes = []
        for address, node in self._nodes.items():
            member = None if self._membership is None else self._membership.find(address)
            joined_s = 0.0 if member is None else now - member.joined_at
            nodes.append(
                NodeFacts(node.node, node.cpus, self.placement.leases_on(node.node), node.memory_bytes, joined_s)
            )
        members = 0 if self._membership is None else len(self._membership)
        return StatusTold(nodes, members - len(nodes), now - self._began_at)
