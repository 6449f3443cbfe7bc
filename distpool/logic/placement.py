"""Which node gets a lease: the one with the fewest leases for its CPUs. On one machine pools may ask for more workers
than CPUs, as with the standard library, so nothing is ever refused here for want of a CPU."""

from __future__ import annotations

from collections import Counter

from distpool.ids import LeaseId, NodeId


class Placement:
    """The nodes, and where each lease is."""

    def __init__(self) -> None:
        self._cpus: dict[NodeId, int] = {}
        self._leases: dict[LeaseId, NodeId] = {}
        self._load: Counter[NodeId] = Counter()
        # Leases that are not, or not any more, and whose workers the node has yet to end: each takes a CPU until then.
        self._ending: dict[NodeId, set[LeaseId]] = {}
        # Their workers wait: each leaves its CPU to another lease meanwhile.
        self._waiting: set[LeaseId] = set()
        # They get no more leases.
        self._draining: set[NodeId] = set()

    def add_node(self, node: NodeId, cpus: int) -> None:
        self._cpus[node] = max(1, cpus)

    def remove_node(self, node: NodeId) -> list[LeaseId]:
        """The node is lost: the leases that were on it."""
        self._cpus.pop(node, None)
        self._draining.discard(node)
        self._ending.pop(node, None)
        del self._load[node]
        lost = [lease for lease, where in self._leases.items() if where == node]
        for lease in lost:
            del self._leases[lease]
        self._waiting.difference_update(lost)
        return lost

    def has_nodes(self) -> bool:
        return bool(self._cpus)

    def drain(self, node: NodeId) -> None:
        """It keeps its leases, and gets no more."""
        if node in self._cpus:
            self._draining.add(node)

    def is_draining(self, node: NodeId) -> bool:
        return node in self._draining

    def has_room(self) -> bool:
        """Some node that gets leases has fewer than CPUs."""
        return any(self._taken(node) < cpus and node not in self._draining for node, cpus in self._cpus.items())

    def cpus(self) -> int:
        """Of all nodes that get leases."""
        return sum(cpus for node, cpus in self._cpus.items() if node not in self._draining)

    def node_of(self, lease: LeaseId) -> NodeId | None:
        """None when it is over."""
        return self._leases.get(lease)

    def place(self, lease: LeaseId) -> NodeId:
        """Choose a node and remember it. Raises LookupError when there is none that gets leases."""
        open_nodes = self._cpus if not self._draining else [node for node in self._cpus if node not in self._draining]
        if not open_nodes:
            raise LookupError("no node has registered: there is nowhere to place a lease")
        node = min(open_nodes, key=lambda name: (self._taken(name) / self._cpus[name], name))
        self._leases[lease] = node
        self._load[node] += 1
        return node

    def restore(self, lease: LeaseId, node: NodeId) -> None:
        """A lease that the node has already. Said twice, it changes nothing."""
        if lease not in self._leases:
            self._leases[lease] = node
            self._load[node] += 1

    def wait(self, lease: LeaseId, *, waits: bool) -> None:
        """Its worker waits for others, or goes on. Said twice, it changes nothing."""
        node = self._leases.get(lease)
        if node is not None and waits != (lease in self._waiting):
            self._waiting ^= {lease}
            self._load[node] += -1 if waits else 1

    def free(self, lease: LeaseId) -> None:
        """The lease is over. Said twice, it changes nothing."""
        self.wait(lease, waits=False)
        node = self._leases.pop(lease, None)
        if node is not None:
            self._load[node] -= 1

    def await_end(self, lease: LeaseId, node: NodeId) -> None:
        """The node is told to end what it has by this lease, which is none."""
        self._ending.setdefault(node, set()).add(lease)

    def has_ended(self, lease: LeaseId, node: NodeId) -> bool:
        """Whether that was awaited; it is not any more."""
        ending = self._ending.get(node, set())
        if lease not in ending:
            return False
        ending.remove(lease)
        return True

    def _taken(self, node: NodeId) -> int:
        return self._load[node] + len(self._ending.get(node, ()))

    def leases_on(self, node: NodeId) -> int:
        return self._load[node]

    def has_free(self, node: NodeId) -> bool:
        """It has fewer leases than CPUs."""
        return self._load[node] < self._cpus.get(node, 0)
