"""Which node gets a lease, against a plain table of who has how many."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from distpool.ids import LeaseId, NodeId
from distpool.logic.placement import Placement
from tests.logic.machines import tries

NODES = [NodeId(name) for name in "abc"]


class NodesAndLeases(RuleBasedStateMachine):
    """The model: the CPUs of each node and a set of leases for each."""

    def __init__(self):
        super().__init__()
        self.placement = Placement()
        self.cpus = {}
        self.leases = {node: set() for node in NODES}
        self.last = 0
        self.draining = set()

    @rule(node=st.sampled_from(NODES), cpus=st.integers(0, 4))
    def add_node(self, node, cpus):
        self.placement.add_node(node, cpus)
        self.cpus[node] = max(1, cpus)

    @rule(node=st.sampled_from(NODES))
    def remove_node(self, node):
        assert sorted(self.placement.remove_node(node)) == sorted(self.leases[node])
        self.cpus.pop(node, None)
        self.leases[node] = set()
        self.draining.discard(node)

    @rule(node=st.sampled_from(NODES))
    def drain(self, node):
        self.placement.drain(node)
        if node in self.cpus:
            self.draining.add(node)

    def open_cpus(self):
        return {node: cpus for node, cpus in self.cpus.items() if node not in self.draining}

    @precondition(lambda self: self.open_cpus())
    @rule()
    def place(self):
        loads = {node: len(self.leases[node]) / cpus for node, cpus in self.open_cpus().items()}
        self.last += 1
        node = self.placement.place(LeaseId(self.last))
        assert loads[node] == min(loads.values())
        assert node == min(name for name in loads if loads[name] == loads[node])
        self.leases[node].add(self.last)

    @rule(lease=st.integers(1, 50))
    def free(self, lease):
        self.placement.free(LeaseId(lease))
        for leases in self.leases.values():
            leases.discard(lease)

    @invariant()
    def there_is_room_where_there_are_fewer_leases_than_cpus(self):
        open_cpus = self.open_cpus()
        assert self.placement.has_room() == any(len(self.leases[node]) < cpus for node, cpus in open_cpus.items())
        assert self.placement.cpus() == sum(open_cpus.values())
        for node in NODES:
            assert self.placement.is_draining(node) == (node in self.draining)
            assert self.placement.has_free(node) == (len(self.leases[node]) < self.cpus.get(node, 0))
        for node, leases in self.leases.items():
            assert {self.placement.node_of(LeaseId(lease)) for lease in leases} <= {node}

    @invariant()
    def each_node_has_what_it_was_given(self):
        assert {node: self.placement.leases_on(node) for node in NODES} == {n: len(s) for n, s in self.leases.items()}


TestNodesAndLeases = NodesAndLeases.TestCase
TestNodesAndLeases.settings = tries(40)


def test_a_lease_that_a_node_has_yet_to_end_takes_a_cpu_until_then_and_is_none():
    placement = Placement()
    placement.add_node(NodeId("a"), 1)
    placement.await_end(LeaseId(7), NodeId("a"))
    assert not placement.has_room()
    assert placement.leases_on(NodeId("a")) == 0
    assert not placement.has_ended(LeaseId(8), NodeId("a"))
    assert placement.has_ended(LeaseId(7), NodeId("a"))
    assert not placement.has_ended(LeaseId(7), NodeId("a"))
    assert placement.has_room()
    placement.await_end(LeaseId(7), NodeId("a"))
    placement.remove_node(NodeId("a"))
    placement.add_node(NodeId("a"), 1)
    assert placement.has_room()


def test_without_a_node_there_is_nowhere_to_place_a_lease():
    with pytest.raises(LookupError, match="no node has registered"):
        Placement().place(LeaseId(1))


def test_a_pool_may_ask_for_more_workers_than_there_are_cpus():
    placement = Placement()
    placement.add_node(NodeId("only"), 1)
    assert {placement.place(LeaseId(number)) for number in range(10)} == {"only"}
    assert placement.leases_on(NodeId("only")) == 10


def test_freeing_a_lease_twice_changes_nothing():
    placement = Placement()
    placement.add_node(NodeId("only"), 1)
    placement.place(LeaseId(1))
    placement.free(LeaseId(1))
    placement.free(LeaseId(1))
    assert placement.leases_on(NodeId("only")) == 0
