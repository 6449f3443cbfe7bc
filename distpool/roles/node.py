"""The node: owns the workers of a machine. It passes leases on to its launcher and tells of their beginning and end."""

from __future__ import annotations

from typing import Any

from distpool.ids import CLIENT, HEAD, LAUNCHER, Address, NodeId
from distpool.logic.outbox import Outbox
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

    def __init__(self, node: NodeId, cpus: int) -> None:
        self.outbox = Outbox()
        self.outbox.put(HEAD, RegisterNode(node, cpus))

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
            case _:
                raise unexpected("node", sender, message)

    def decide(self, now: float) -> float | None:
        return None
