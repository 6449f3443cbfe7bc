"""Which node gets a lease, and which devices: nothing is given twice, sums are exact, and what is freed is free."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from distpool.ids import LeaseId, NodeId
from distpool.logic.placement import Placed, Placement
from distpool.protocol.devices import Device
from distpool.protocol.resources import NODE_WORKER, OWN_WORKER, UNIT, Claim, Offer, Shape, Strategy
from tests.logic.machines import tries

NODES = [NodeId(name) for name in "abc"]
GIB = 2**30


def gpus(count):
    return tuple(Device(f"gpu-{at}", "pretend", 16 * GIB) for at in range(count))


OFFERS = st.builds(
    Offer,
    cpus=st.integers(0, 4),
    memory_bytes=st.sampled_from([0, 4 * GIB]),
    devices=st.integers(0, 3).map(gpus),
    custom=st.sampled_from([(), (("tpu", 2 * UNIT),)]),
    labels=st.sampled_from([(), (("zone", "eu"),)]),
)
SHAPES = st.builds(
    Shape,
    cpus=st.sampled_from([0, UNIT // 3, UNIT // 2, UNIT, 2 * UNIT]),
    gpus=st.sampled_from([0, 0, 1, UNIT // 3, UNIT // 2, UNIT, 2 * UNIT]),
    memory_bytes=st.sampled_from([0, 0, GIB]),
    custom=st.sampled_from([(), (), (("tpu", UNIT),)]),
    strategy=st.sampled_from(list(Strategy)),
    labels=st.sampled_from([(), (), (("zone", "eu"),)]),
    node=st.sampled_from(["", "", "a"]),
    is_soft=st.booleans(),
)


class NodesAndLeases(RuleBasedStateMachine):
    """The model: offers, and for each lease that there is, or that is to end, its node, shape, devices and whether it
    waits."""

    def __init__(self):
        super().__init__()
        self.placement = Placement()
        self.offers = {}
        self.leases = {}
        self.ending = {}
        self.draining = set()
        self.last = 0

    @rule(node=st.sampled_from(NODES), offer=OFFERS)
    def add_node(self, node, offer):
        if node not in self.offers:
            self.placement.add_node(node, offer)
            self.offers[node] = offer

    @rule(node=st.sampled_from(NODES))
    def remove_node(self, node):
        lost = {lease for lease, (where, *_) in self.leases.items() if where == node}
        assert set(self.placement.remove_node(node)) == lost
        self.offers.pop(node, None)
        self.draining.discard(node)
        self.leases = {lease: taken for lease, taken in self.leases.items() if lease not in lost}
        self.ending = {lease: taken for lease, taken in self.ending.items() if taken[0] != node}

    @rule(node=st.sampled_from(NODES))
    def drain(self, node):
        self.placement.drain(node)
        if node in self.offers:
            self.draining.add(node)

    @rule(shape=SHAPES, refused=st.sampled_from([None, *NODES]))
    def place(self, shape, refused):
        self.last += 1
        lease = LeaseId(self.last)
        placed = self.placement.place(lease, shape, lambda room, _: room.name != refused)
        fitting = {node for node in self.open_nodes() if node != refused and self.fits(node, shape)}
        if placed is None:
            assert not fitting
            return
        assert placed.node in fitting
        if shape.is_soft and shape.node in fitting:
            assert placed.node == shape.node
        assert len(placed.devices) == -(-shape.gpus // UNIT)
        self.leases[lease] = (placed.node, shape, placed.devices, False)

    def open_nodes(self):
        return self.offers.keys() - self.draining

    def used(self, node):
        return [taken for taken in [*self.leases.values(), *self.ending.values()] if taken[0] == node]

    def free_cpus(self, node):
        cpus = max(1, self.offers[node].cpus) * UNIT
        return cpus - sum(shape.cpus for _, shape, _, waits in self.used(node) if not waits)

    def free_shares(self, node):
        shares = dict.fromkeys(range(len(self.offers[node].devices)), UNIT)
        for _, shape, devices, _ in self.used(node):
            for at in devices:
                shares[at] -= min(shape.gpus, UNIT)
        return shares

    def free_memory(self, node):
        return self.offers[node].memory_bytes - sum(shape.memory_bytes for _, shape, _, _ in self.used(node))

    def free_custom(self, node):
        used = sum(amount for _, shape, _, _ in self.used(node) for _, amount in shape.custom)
        return sum(amount for _, amount in self.offers[node].custom) - used

    def fits(self, node, shape):
        share = min(shape.gpus, UNIT)
        return (
            shape.cpus <= self.free_cpus(node)
            and shape.memory_bytes <= self.free_memory(node)
            and sum(amount for _, amount in shape.custom) <= self.free_custom(node)
            and set(shape.labels) <= set(self.offers[node].labels)
            and (shape.node in ("", node) or shape.is_soft)
            and sum(free >= share for free in self.free_shares(node).values()) >= -(-shape.gpus // UNIT)
        )

    @rule(lease=st.integers(1, 50))
    def free(self, lease):
        self.placement.free(LeaseId(lease))
        self.leases.pop(lease, None)

    @rule(lease=st.integers(1, 50), waits=st.booleans())
    def wait(self, lease, waits):
        self.placement.wait(LeaseId(lease), waits=waits)
        if lease in self.leases:
            self.leases[lease] = (*self.leases[lease][:3], waits)

    @rule(lease=st.integers(1, 50))
    def lease_is_over_and_its_node_has_yet_to_end_it(self, lease):
        if lease in self.leases:
            node, shape, devices, waits = self.leases.pop(lease)
            self.placement.free(LeaseId(lease))
            self.placement.await_end(Claim(LeaseId(lease), 0, shape, devices, waits), node)
            self.ending[lease] = (node, shape, devices, waits)

    @rule(lease=st.integers(1, 50), node=st.sampled_from(NODES))
    def node_says_that_it_has_ended_it(self, lease, node):
        was_awaited = lease in self.ending and self.ending[lease][0] == node
        assert self.placement.has_ended(LeaseId(lease), node) == was_awaited
        if was_awaited:
            del self.ending[lease]

    @rule(node=st.sampled_from(NODES), offer=OFFERS)
    def node_registers_once_more_and_has_no_less(self, node, offer):
        if node in self.offers:
            before = self.offers[node]
            more = Offer(
                max(before.cpus, offer.cpus), before.memory_bytes, before.devices, before.custom, before.labels
            )
            self.placement.add_node(node, more)
            self.offers[node] = more

    @invariant()
    def no_more_is_used_than_there_is_and_sums_are_exact(self):
        for node, offer in self.offers.items():
            room = self.placement.rooms[node]
            shares = self.free_shares(node)
            assert min(shares.values(), default=0) >= 0
            assert room.devices.free_amount() == sum(shares.values())
            assert room.free_cpus == self.free_cpus(node)
            assert room.free_memory_bytes == self.free_memory(node) >= 0
            assert room.free_custom.get("tpu", 0) == self.free_custom(node) >= 0
            waiting = sum(shape.cpus for _, shape, _, waits in self.used(node) if waits)
            assert room.free_cpus <= max(1, offer.cpus) * UNIT + waiting
            assert self.placement.is_draining(node) == (node in self.draining)

    @invariant()
    def each_node_has_what_it_was_given(self):
        for node in NODES:
            there = {lease for lease, (where, *_) in self.leases.items() if where == node}
            assert self.placement.leases_on(node) == len(there)
            assert {self.placement.node_of(lease) for lease in there} <= {node}


TestNodesAndLeases = NodesAndLeases.TestCase
TestNodesAndLeases.settings = tries(60)


@pytest.fixture
def placement():
    return Placement()


def place(placement, *shapes):
    """Where leases of these shapes go, one after another."""
    first = max(placement.leases(), default=0) + 1
    return [placement.place(LeaseId(first + number), shape) for number, shape in enumerate(shapes)]


def nodes_of(placed):
    return [None if one is None else one.node for one in placed]


def test_workers_of_pools_are_spread_by_the_cpus_that_nodes_have(placement):
    placement.add_node(NodeId("a"), Offer(1))
    placement.add_node(NodeId("b"), Offer(3))
    assert nodes_of(place(placement, *[NODE_WORKER] * 5)) == ["a", "b", "b", "b", None]


def test_a_pool_of_one_machine_may_have_more_workers_than_there_are_cpus(placement):
    placement.add_node(NodeId("only"), Offer(1))
    assert nodes_of(place(placement, *[OWN_WORKER] * 10)) == ["only"] * 10


def test_packed_leases_fill_one_node_before_the_next_and_leave_gpus_to_others(placement):
    placement.add_node(NodeId("a-with-gpus"), Offer(4, devices=gpus(2)))
    placement.add_node(NodeId("b"), Offer(2))
    placement.add_node(NodeId("c"), Offer(2))
    assert nodes_of(place(placement, *[Shape()] * 6)) == ["b", "b", "c", "c", "a-with-gpus", "a-with-gpus"]


def test_what_takes_nothing_that_runs_out_is_spread(placement):
    for name in "abc":
        placement.add_node(NodeId(name), Offer(2))
    assert sorted(nodes_of(place(placement, *[Shape(cpus=0)] * 6))) == ["a", "a", "b", "b", "c", "c"]


def test_thirds_of_a_gpu_share_one_and_whole_ones_stay_whole(placement):
    placement.add_node(NodeId("a"), Offer(8, devices=gpus(2)))
    third = Shape(cpus=0, gpus=UNIT // 3)
    placed = place(placement, third, Shape(cpus=0, gpus=UNIT), third, third, third)
    assert [one and one.devices for one in placed] == [(0,), (1,), (0,), (0,), None]


def test_soft_affinity_prefers_a_node_and_hard_affinity_waits_for_it(placement):
    placement.add_node(NodeId("a"), Offer(1))
    placement.add_node(NodeId("b"), Offer(2))
    soft = Shape(node="a", is_soft=True)
    assert nodes_of(place(placement, soft, soft, Shape(node="a"))) == ["a", "b", None]


def test_a_lease_that_a_node_has_yet_to_end_takes_what_it_had_until_then_and_is_none(placement):
    node, shape = NodeId("a"), Shape(gpus=UNIT)
    placement.add_node(node, Offer(1, devices=gpus(1)))
    placement.await_end(Claim(LeaseId(7), 3, shape, (0,)), node)
    assert place(placement, shape, Shape(cpus=0, gpus=1)) == [None, None]
    assert placement.leases_on(node) == 0
    assert not placement.has_ended(LeaseId(8), node)
    assert placement.has_ended(LeaseId(7), node)
    assert not placement.has_ended(LeaseId(7), node)
    assert place(placement, shape) == [Placed(node, (0,))]


def test_a_claim_of_a_device_that_another_has_is_not_believed(placement):
    node = NodeId("a")
    placement.add_node(node, Offer(4, devices=gpus(2)))
    placement.restore(Claim(LeaseId(1), 3, Shape(gpus=UNIT), (1,)), node)
    half = Shape(gpus=UNIT // 2)
    assert not placement.can_restore(Claim(LeaseId(2), 3, half, (1,)), node)
    assert not placement.can_restore(Claim(LeaseId(2), 3, half, (5,)), node)
    assert not placement.can_restore(Claim(LeaseId(2), 3, half, (0, 0)), node)
    assert placement.can_restore(Claim(LeaseId(2), 3, half, (0,)), node)


def test_the_cpus_of_a_lease_that_waits_are_free_and_its_gpus_are_not(placement):
    node = NodeId("a")
    placement.add_node(node, Offer(1, devices=gpus(1)))
    shape = Shape(gpus=UNIT)
    ((_, devices),) = place(placement, shape)
    placement.wait(LeaseId(1), waits=True)
    assert nodes_of(place(placement, Shape(), shape)) == ["a", None]
    placement.wait(LeaseId(1), waits=False)
    assert placement.rooms[node].free_cpus == -UNIT
    # Another head is told the same: the CPUs of one that waits do not count.
    again = Placement()
    again.add_node(node, Offer(1, devices=gpus(1)))
    again.restore(Claim(LeaseId(2), 3), node)
    assert again.can_restore(Claim(LeaseId(1), 3, shape, devices, waits=True), node)
    assert not again.can_restore(Claim(LeaseId(1), 3, shape, devices), node)


def test_without_a_node_nothing_is_placed(placement):
    assert place(placement, Shape()) == [None]
    assert not placement.could_ever(Shape())


def test_freeing_a_lease_twice_changes_nothing(placement):
    placement.add_node(NodeId("only"), Offer(1))
    place(placement, Shape())
    placement.free(LeaseId(1))
    placement.free(LeaseId(1))
    assert placement.leases_on(NodeId("only")) == 0
    assert nodes_of(place(placement, Shape(), Shape())) == ["only", None]
