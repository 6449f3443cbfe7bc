"""The head: knows the nodes and places leases on them. It never sees a call."""

from __future__ import annotations

from itertools import count
from typing import Any

from distpool.ids import NODE, Address, LeaseId
from distpool.logic.outbox import Outbox
from distpool.logic.placement import Placement
from distpool.protocol.messages import GrantLease, RegisterNode, RequestLeases, ReturnLease
from distpool.roles.role import unexpected


class HeadRole:
    """Places leases on nodes."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.placement = Placement()
        self._lease_ids = count(1)
        self._waiting: list[RequestLeases] = []

    def handle(self, sender: Address, message: Any, now: float) -> None:
        match message:
            case RequestLeases():
                self._waiting.append(message)
            case ReturnLease(lease):
                self.placement.free(lease)
            case RegisterNode(node, cpus):
                self.placement.add_node(node, cpus)
            case _:
                raise unexpected("head", sender, message)

    def decide(self, now: float) -> float | None:
        if not self.placement.has_nodes():
            return None  # requests wait for the first node
        for request in self._waiting:
            for _ in range(request.count):
                lease = LeaseId(next(self._lease_ids))
                self.placement.place(lease)
                self.outbox.put(NODE, GrantLease(lease, request.group))
        self._waiting.clear()
        return None
