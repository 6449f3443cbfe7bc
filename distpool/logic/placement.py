"""Which node gets a lease: the one with the fewest leases for its CPUs. Pools may ask for more workers than CPUs, as
with the standard library, so nothing is ever refused here for want of a CPU."""

from __future__ import annotations

from collections import Counter

from distpool.ids import LeaseId, NodeId


class Placement:
    """The nodes, and where each lease is."""

    def __init__(self) -> None:
        self._cpus: dict[NodeId, int] = {}
        self._leases: dict[LeaseId, NodeId] = {}
        self._load: Counter[NodeId] = Counter()

    def add_node(self, node: NodeId, cpus: int) -> None:
        self._cpus[node] = max(1, cpus)

    def remove_node(self, node: NodeId) -> list[LeaseId]:
        """The node is lost: the leases that were on it."""
        self._cpus.pop(node, None)
        del self._load[node]
        lost = [lease for lease, where in self._leases.items() if where == node]
        for lease in lost:
            del self._leases[lease]
        return lost

    def has_nodes(self) -> bool:
        return bool(self._cpus)

    def place(self, lease: LeaseId) -> NodeId:
        """Choose a node and remember it. Raises LookupError when there is no node."""
        if not self._cpus:
            raise LookupError("no node has registered: there is nowhere to place a lease")
        node = min(self._cpus, key=lambda name: (self._load[name] / self._cpus[name], name))
        self._leases[lease] = node
        self._load[node] += 1
        return node

    def free(self, lease: LeaseId) -> None:
        """The lease is over. Said twice, it changes nothing."""
        node = self._leases.pop(lease, None)
        if node is not None:
            self._load[node] -= 1

    def leases_on(self, node: NodeId) -> int:
        return self._load[node]
