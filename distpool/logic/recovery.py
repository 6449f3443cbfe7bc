"""What a head knows of the cluster from before it was started, and which of the leases that a node claims it has.

A head tells nobody of a lease before it is kept. So of its own leases it knows all that are not over. What an earlier
life has granted is believed to the node that has it, unless it is kept otherwise: on another node, for another caller,
or as lost with its node. A store that was damaged, or is a little behind, costs nothing that runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from distpool.ids import LeaseId, NodeId
from distpool.protocol.messages import RegisterNode
from distpool.protocol.records import Kept, LeaseForgotten, LeaseKept, NodeForgotten, NodeKept, Record
from distpool.protocol.resources import Offer

_COUNT_BITS = 32
_EPOCH_BITS = 20
_OVER_LIMIT = 10_000


def first_lease(epoch: int) -> LeaseId:
    """Of those that a head grants in this epoch. Two lives of a head must not give the same."""
    return LeaseId((epoch % 2**_EPOCH_BITS << _COUNT_BITS) + 1)


def epoch_of(lease: LeaseId) -> int:
    """In which it was granted."""
    return lease >> _COUNT_BITS


def offer_of(node: RegisterNode | NodeKept) -> Offer:
    """What it has."""
    return Offer(node.cpus, node.memory_bytes, node.devices, node.custom, node.labels)


def node_kept(node: RegisterNode, life: int, drain_s: float = -1.0) -> NodeKept:
    """What is kept of a node. `life`: of its process; `drain_s`: see `NodeKept`."""
    offered = (node.devices, node.custom, node.labels)
    return NodeKept(node.node, life, node.cpus, node.memory_bytes, drain_s, *offered)


class Recovery:
    """Nodes that have not come back yet, leases of earlier lives, and those of them that are over or lost."""

    def __init__(self, kept: Kept, away_until: float) -> None:
        """`away_until`: when nodes that have not come back by then are forgotten."""
        self.away = {node.node: node for node in kept.nodes}
        self.away_until = away_until
        self._epoch = epoch_of(first_lease(kept.lease_epoch))
        self._earlier = {lease.lease: lease for lease in kept.leases if not lease.is_lost}
        # Oldest first.
        self._over = dict.fromkeys(lease.lease for lease in kept.leases if lease.is_lost)

    def cpus(self) -> int:
        """Of the nodes that have not come back yet."""
        return sum(node.cpus for node in self.away.values())

    def leases_on(self, node: NodeId) -> int:
        """Of one that has not come back yet."""
        return sum(lease.node == node for lease in self._earlier.values())

    def is_at(self, lease: LeaseId, caller: int, node: NodeId) -> bool:
        """Whether a lease that is placed nowhere now may be on this node, for this caller."""
        if epoch_of(lease) == self._epoch or lease in self._over:
            return False
        kept = self._earlier.get(lease)
        return kept is None or (kept.node, kept.caller) == (node, caller)

    def came_back(self, node: NodeId, found: Iterable[LeaseId]) -> list[Record]:
        """It has these leases. What need not be kept any more: others were granted and not taken up."""
        self.away.pop(node, None)
        there = {lease for lease, kept in self._earlier.items() if kept.node == node}
        for lease in there:
            del self._earlier[lease]
        return [LeaseForgotten(lease) for lease in there.difference(found)]

    def end(self, lease: LeaseId) -> list[Record]:
        """It is over, and nobody may claim it any more."""
        if epoch_of(lease) != self._epoch:
            self._over[lease] = None
        return [LeaseForgotten(lease), *self._limit()]

    def lose(self, lease: LeaseId, node: NodeId, caller: int) -> list[Record]:
        """It was lost with its node, which may come back with it to another life of the head."""
        self._over[lease] = None
        return [LeaseKept(lease, node, caller, is_lost=True), *self._limit()]

    def forget_away(self) -> list[Record]:
        """Nodes that have not come back will not."""
        leases = [lease for lease, kept in self._earlier.items() if kept.node in self.away]
        for lease in leases:
            del self._earlier[lease]
        records: list[Record] = [*map(NodeForgotten, self.away), *map(LeaseForgotten, leases)]
        self.away.clear()
        return records

    def _limit(self) -> list[Record]:
        oldest = list(islice(self._over, max(0, len(self._over) - _OVER_LIMIT)))
        for lease in oldest:
            del self._over[lease]
        return list(map(LeaseForgotten, oldest))
