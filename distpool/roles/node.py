"""The node: owns the workers of a machine. It passes leases on to its launcher and tells of their beginning and end."""

from __future__ import annotations

from typing import Any

from distpool.ids import CLIENT, HEAD, LAUNCHER, Address, NodeId
from distpool.logic.outbox import Outbox
from distpool.protocol.cluster import Refused, Welcome
from distpool.protocol.messages import (
    GrantLease,
    GroupGone,
    LeaseLost,
    LeaseStarted,
    RegisterNode,
    ReturnLease,
    StartWorker,
    WorkerExited,
)
from distpool.roles.role import unexpected


class NodeRole:
    """Starts workers for granted leases."""

    def __init__(self, node: NodeId, cpus: int, memory_bytes: int = 0) -> None:
        self.outbox = Outbox()
        self.refusal = ""
        """Why the head does not want this node."""
        self._registration = RegisterNode(node, cpus, memory_bytes)
        self._was_welcome = False
        self.outbox.put(HEAD, self._registration)

    def handle(self, sender: Address, message: Any, now: float) -> None:
        match message:
            case GrantLease(lease, group):
                self.outbox.put(LAUNCHER, StartWorker(lease, group))
                self.outbox.put(CLIENT, LeaseStarted(lease, group))
            case WorkerExited(lease, group, death):
                self.outbox.put(HEAD, ReturnLease(lease))
                self.outbox.put(CLIENT, LeaseLost(lease, group, death))
            case GroupGone():
                self.outbox.put(CLIENT, message)
            case Welcome():
                if self._was_welcome:  # by a head that does not know this node, or not any more
                    self.outbox.put(HEAD, self._registration)
                self._was_welcome = True
            case Refused(text):
                self.refusal = text
            case _:
                raise unexpected("node", sender, message)

    def decide(self, now: float) -> float | None:
        return None
