"""Placement groups: all of their bundles or none, where their strategy says, and exactly as much as they asked for."""

from itertools import count

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from distpool.ids import LeaseId, NodeId
from distpool.logic.bundles import REMOVED, PlacementGroups
from distpool.logic.placement import Placed, Placement
from distpool.protocol.devices import Device
from distpool.protocol.placing import BundleStrategy
from distpool.protocol.records import PlacesForgotten, PlacesKept
from distpool.protocol.resources import UNIT, Claim, Offer, Shape
from tests.logic.machines import tries

NODES = [NodeId(name) for name in "abc"]
GPU, HALF = Shape(cpus=0, gpus=UNIT), Shape(cpus=0, gpus=UNIT // 2)
SHAPES = st.sampled_from([Shape(), GPU, HALF, Shape(cpus=2 * UNIT, gpus=UNIT), Shape(cpus=UNIT // 2)])
DEVICES = tuple(Device(f"gpu-{at}", "pretend", 2**34) for at in range(2))


class Groups(RuleBasedStateMachine):
    """Groups and leases in and beside them, on three nodes that come and go."""

    def __init__(self):
        super().__init__()
        self.placement = Placement()
        self.groups = PlacementGroups(self.placement, [])
        self.ids = count(1)
        self.kept = {}
        self.leases = {}
        self.number = 0

    def keep(self, records):
        for record in records:
            if isinstance(record, PlacesKept):
                self.kept[record.group] = record
            else:
                assert isinstance(record, PlacesForgotten)
                del self.kept[record.group]

    @rule(node=st.sampled_from(NODES))
    def add_node(self, node):
        if node not in self.placement.rooms:
            self.placement.add_node(node, Offer(2, devices=DEVICES))

    @rule(node=st.sampled_from(NODES))
    def lose_node(self, node):
        if node in self.placement.rooms:
            for lease in self.placement.remove_node(node):
                del self.leases[lease]
            self.keep(self.groups.lose_node(node))

    @rule(shapes=st.lists(SHAPES, min_size=1, max_size=3), strategy=st.sampled_from(list(BundleStrategy)))
    def open_group(self, shapes, strategy):
        self.number += 1
        self.groups.open(self.number, 7, strategy, shapes, self.ids)

    @rule()
    def place(self):
        self.keep(self.groups.place_waiting())
        assert self.groups.place_waiting() == [], "all that fits is placed at once"

    @rule(number=st.integers(1, 5), bundle=st.integers(-1, 2), shape=SHAPES)
    def place_inside(self, number, bundle, shape):
        lease = LeaseId(next(self.ids))
        place = (number, bundle)
        group = self.groups.find(number)
        placed = self.placement.place(lease, Shape(shape.cpus, shape.gpus, place=place))
        if placed is not None:
            assert group is not None
            assert not self.groups.refusal(Shape(shape.cpus, shape.gpus, place=place), place)
            at = self.placement.place_of(lease)[1]
            assert bundle in (-1, at)
            inside = group.bundles[at]
            assert placed.node == inside.node
            assert set(placed.devices) <= set(inside.devices)
            self.leases[lease] = (number, at, shape, placed)

    @rule(shape=SHAPES)
    def place_beside(self, shape):
        lease = LeaseId(next(self.ids))
        placed = self.placement.place(lease, shape)
        if placed is not None:
            self.leases[lease] = (0, 0, shape, placed)

    @rule(at=st.integers(0, 20))
    def end_lease(self, at):
        if self.leases:
            lease = list(self.leases)[at % len(self.leases)]
            del self.leases[lease]
            place = self.placement.place_of(lease)
            self.placement.free(lease)
            self.keep(self.groups.lease_ended(place))

    @rule(number=st.integers(1, 5))
    def remove_group(self, number):
        is_there = self.groups.find(number) is not None
        records = self.groups.remove(number)
        if is_there and number not in self.kept:  # it never had a place
            assert records == [PlacesForgotten(number)]
            return
        self.keep(records)

    @rule()
    def a_new_head_finds_all_as_it_was(self):
        placement = Placement()
        groups = PlacementGroups(placement, list(self.kept.values()))
        for node in self.placement.rooms:
            placement.add_node(node, Offer(2, devices=DEVICES))
            groups.node_came(node)
            for lease, (number, at, shape, placed) in self.leases.items():
                place = (number, at) if number else None
                claim = Claim(lease, 7, Shape(shape.cpus, shape.gpus, place=place), placed.devices)
                if placed.node == node:
                    assert placement.can_restore(claim, node)
                    placement.restore(claim, node)
        for node, room in self.placement.rooms.items():
            assert placement.rooms[node].free_cpus == room.free_cpus
            assert placement.rooms[node].devices.free_amount() == room.devices.free_amount()
            assert placement.leases_on(node) == self.placement.leases_on(node)

    @invariant()
    def a_group_has_all_of_its_bundles_or_none_and_where_it_may(self):
        for group in self.groups:
            nodes = [bundle.node for bundle in group.bundles if bundle.node]
            if group.strategy == BundleStrategy.STRICT_PACK:
                assert len(set(nodes)) <= 1
            if group.strategy == BundleStrategy.STRICT_SPREAD:
                assert len(set(nodes)) == len(nodes)

    @invariant()
    def each_node_gives_what_bundles_and_leases_beside_them_have_and_no_more(self):
        for node, room in self.placement.rooms.items():
            shapes = [bundle.shape for group in self.groups for bundle in group.bundles if bundle.node == node]
            shapes += [shape for number, _, shape, placed in self.leases.values() if not number and placed.node == node]
            assert room.free_cpus == 2 * UNIT - sum(shape.cpus for shape in shapes) >= 0
            assert room.devices.free_amount() == 2 * UNIT - sum(shape.gpus for shape in shapes) >= 0
        for group in self.groups:
            for at, bundle in enumerate(group.bundles):
                inside = [
                    shape for number, where, shape, _ in self.leases.values() if (number, where) == (group.id, at)
                ]
                assert sum(shape.cpus for shape in inside) <= bundle.shape.cpus
                assert sum(shape.gpus for shape in inside) <= bundle.shape.gpus


TestGroups = Groups.TestCase
TestGroups.settings = tries(60)


@pytest.fixture
def placement():
    made = Placement()
    for node in NODES:
        made.add_node(node, Offer(4, devices=DEVICES))
    return made


@pytest.mark.parametrize(
    ("strategy", "nodes"),
    [
        (BundleStrategy.PACK, ["a", "a", "b"]),
        (BundleStrategy.SPREAD, ["a", "b", "c"]),
        (BundleStrategy.STRICT_SPREAD, ["a", "b", "c"]),
        (BundleStrategy.STRICT_PACK, []),
    ],
)
def test_bundles_are_where_their_strategy_says(placement, strategy, nodes):
    groups = PlacementGroups(placement, [])
    groups.open(1, 7, strategy, [GPU] * 3, count(1))
    groups.place_waiting()
    (group,) = groups
    assert sorted(bundle.node for bundle in group.bundles if bundle.node) == nodes
    offers = [(room.name, room.offer) for room in placement.open_rooms()]
    assert groups.could_ever(offers, [GPU] * 3, strategy) == bool(nodes)
    assert not groups.could_ever(offers, [GPU] * 7, strategy)


def test_a_group_that_was_removed_keeps_a_bundle_until_the_last_lease_in_it_is_over(placement):
    groups = PlacementGroups(placement, [])
    groups.open(1, 7, BundleStrategy.STRICT_PACK, [GPU, GPU], count(1))
    groups.place_waiting()
    lease = LeaseId(50)
    inside = Shape(cpus=0, gpus=UNIT, place=(1, 0))
    assert placement.place(lease, inside) == Placed(NodeId("a"), (0,))
    (kept,) = groups.remove(1)
    assert [bundle.node for bundle in kept.bundles] == ["a", ""]
    assert groups.refusal(inside, (1, 0)) == REMOVED
    assert placement.rooms[NodeId("a")].devices.free_amount() == UNIT
    placement.free(lease)
    assert groups.lease_ended((1, 0)) == [PlacesForgotten(1)]
    assert placement.rooms[NodeId("a")].devices.free_amount() == 2 * UNIT


def test_a_share_of_a_device_is_shared_within_its_bundle_only(placement):
    groups = PlacementGroups(placement, [])
    groups.open(1, 7, BundleStrategy.PACK, [HALF], count(1))
    groups.place_waiting()
    quarter = Shape(cpus=0, gpus=UNIT // 4, place=(1, -1))
    placed = [placement.place(LeaseId(50 + number), quarter) for number in range(3)]
    assert placed == [Placed(NodeId("a"), (0,)), Placed(NodeId("a"), (0,)), None]
    assert "no bundle of the placement group has what one worker needs, 1 GPU" in groups.refusal(GPU, (1, -1))
    assert "there is none of that number" in groups.refusal(quarter, (1, 4))


def test_bundles_of_a_node_that_is_lost_get_another_place(placement):
    groups = PlacementGroups(placement, [])
    groups.open(1, 7, BundleStrategy.STRICT_SPREAD, [GPU, GPU], count(1))
    groups.place_waiting()
    (group,) = groups
    assert [bundle.node for bundle in group.bundles] == ["a", "b"]
    group.is_told = True
    placement.remove_node(NodeId("a"))
    groups.lose_node(NodeId("a"))
    assert not group.is_ready()
    assert not group.is_told
    groups.place_waiting()
    assert [bundle.node for bundle in group.bundles] == ["c", "b"]


def test_with_callers_that_do_not_come_back_their_groups_end(placement):
    groups = PlacementGroups(placement, [])
    groups.open(1, 7, BundleStrategy.PACK, [GPU], count(1))
    kept = groups.place_waiting()
    again = PlacementGroups(Placement(), kept)
    assert again.forget_away([7]) == []
    assert again.forget_away([8]) == [PlacesForgotten(1)]
    assert not again
