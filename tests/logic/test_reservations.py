"""Placement groups and large requests among small ones that come and go: each gets its room after a bounded number."""

from collections import deque
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distpool.ids import GroupId, NodeId
from distpool.logic.bundles import PlacementGroups
from distpool.logic.placement import Placement
from distpool.logic.request_queue import Request, RequestQueue
from distpool.logic.reservations import Patience, Reservations
from distpool.protocol.devices import Device
from distpool.protocol.placing import BundleStrategy
from distpool.protocol.resources import UNIT, Offer, Shape
from tests.logic.machines import tries

SMALL = Shape()
GPU = Shape(cpus=0, gpus=UNIT)
PATIENCE = Patience(passes=3, wait_s=5.0)
DEVICES = tuple(Device(f"gpu-{at}", "pretend", 2**34) for at in range(2))


def cpus(number: float) -> Shape:
    return Shape(cpus=int(number * UNIT))


class Head:
    """A queue and placement groups on nodes of so many CPUs. Small ones are there, as many as fit."""

    def __init__(self, shapes: tuple[Shape, ...] = (SMALL,), devices: tuple[Device, ...] = (), **nodes: int) -> None:
        self.placement = Placement()
        reservations = Reservations()
        self.queue = RequestQueue(self.placement, PATIENCE, reservations)
        self.groups = PlacementGroups(self.placement, [], reservations, PATIENCE)
        for name, number in nodes.items():
            self.placement.add_node(NodeId(name), Offer(number, devices=devices))
        self.ids = count(1)
        self.numbers = count(1)
        self.now = 0.0
        self.shapes = shapes
        self.small: deque[int] = deque()
        self.large: dict[int, int] = {}
        """What the large ones have, by the number of their request."""
        for shape in shapes:
            self.ask(shape, 64)
        self.grant()

    def ask(self, shape: Shape, wanted: int = 1, *, is_large: bool = False) -> int:
        number = next(self.numbers)
        # Each large one is of a caller of its own, which has nothing: it is before the small ones.
        caller = number if is_large else 0
        self.queue.add(Request(caller, caller, GroupId(number), shape, wanted, self.now, None))
        return number

    def open(self, strategy: BundleStrategy, *shapes: Shape) -> int:
        number = next(self.numbers)
        self.groups.open(number, 7, strategy, shapes, self.ids)
        return number

    def has(self, number: int) -> bool:
        group = self.groups.find(number)
        return number in self.large or (group is not None and group.is_ready())

    def grant(self) -> None:
        self.groups.place_waiting(lambda shape, node: self.queue.passed_by(shape, node, self.now))
        for request, lease, placed in self.queue.grants(self.ids, self.now):
            if request.caller:
                self.large[request.group] = lease
            else:
                self.small.append(lease)
            self.groups.passed_by(request.shape, placed.node, self.now)

    def end(self, lease: int) -> None:
        self.placement.free(lease)
        self.queue.over(lease)

    def churn(self, *waiting: int, limit: int = 400) -> int:
        """The oldest small one ends and as many as it are wanted: how often until all of these have their room."""
        for ended in range(limit):
            self.grant()
            if all(map(self.has, waiting)):
                return ended
            if self.small:
                self.end(self.small.popleft())
            for shape in self.shapes:
                self.ask(shape)
            self.now += 0.1
        raise AssertionError(f"of {waiting} some have no room after {limit} others")


STRATEGIES = [
    (BundleStrategy.PACK, [4]),
    (BundleStrategy.PACK, [2, 2, 4]),
    (BundleStrategy.SPREAD, [3, 3]),
    (BundleStrategy.STRICT_PACK, [1, 2, 1]),
    (BundleStrategy.STRICT_SPREAD, [4, 3]),
]


@pytest.mark.parametrize(("strategy", "bundles"), STRATEGIES)
def test_small_requests_do_not_starve_a_placement_group(strategy, bundles):
    head = Head(a=4, b=4)
    group = head.open(strategy, *map(cpus, bundles))

    assert head.churn(group) <= PATIENCE.passes + 8, "it is passed so often, and then all that were there have to end"
    head.groups.remove(group)
    head.grant()
    assert sum(room.free_cpus for room in head.placement.rooms.values()) == 0, "the room is others' again"


def test_a_group_that_has_waited_for_long_is_passed_no_more():
    head = Head(a=4)
    group = head.open(BundleStrategy.PACK, cpus(4))
    head.grant()
    head.end(head.small.popleft())
    head.grant()
    head.now += PATIENCE.wait_s
    assert head.churn(group) <= 5


def test_shares_of_gpus_do_not_starve_a_group_of_whole_ones():
    head = Head((Shape(cpus=0, gpus=UNIT // 2), SMALL), DEVICES, a=2, b=2)
    group = head.open(BundleStrategy.STRICT_SPREAD, Shape(UNIT, 2 * UNIT), Shape(UNIT, 2 * UNIT))

    assert head.churn(group) <= 40


def test_groups_one_after_another_do_not_starve_a_large_request():
    """An actor's, say. Each group that ends is followed by another."""
    head = Head((), a=4)
    groups = deque(head.open(BundleStrategy.PACK, SMALL) for _ in range(4))
    head.grant()
    actor = head.ask(cpus(4), is_large=True)
    ended = 0
    while not head.has(actor):
        ended += 1
        assert ended <= PATIENCE.passes + 5
        head.groups.remove(groups.popleft())
        groups.append(head.open(BundleStrategy.PACK, SMALL))
        head.grant()
        head.now += 1.0


def test_what_a_group_has_no_use_for_is_given_to_others_all_the_same():
    head = Head((SMALL,), DEVICES, a=4)
    on_gpu = [head.ask(GPU, is_large=True) for _ in range(2)]
    head.grant()
    group = head.open(BundleStrategy.PACK, Shape(cpus=0, gpus=2 * UNIT))
    for number in on_gpu:
        head.end(head.large.pop(number))
    head.grant()
    assert head.has(group)
    waiting = head.open(BundleStrategy.PACK, Shape(cpus=0, gpus=UNIT))
    before = head.groups.find(waiting).passed
    for _ in range(20):
        head.end(head.small.popleft())
        head.ask(SMALL)
        head.grant()
    assert len(head.small) == 4
    assert head.groups.find(waiting).passed == before == 0, "nobody took what it waits for"


def test_a_removed_group_holds_nothing():
    head = Head(a=4)
    group = head.open(BundleStrategy.PACK, cpus(4))
    for _ in range(PATIENCE.passes + 1):
        head.end(head.small.popleft())
        head.ask(SMALL)
        head.grant()
    assert len(head.small) == 3, "what is free now is held"
    head.groups.remove(group)
    head.grant()
    assert len(head.small) == 4


SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=3)
LARGE_ONES = st.lists(st.tuples(st.sampled_from(list(BundleStrategy)), SIZES), min_size=1, max_size=3)


@tries(150)
@given(LARGE_ONES, st.lists(st.integers(2, 4), max_size=2), st.randoms(use_true_random=False))
def test_all_that_can_be_get_their_room_one_after_the_other_however_small_ones_come_and_go(groups, actors, random):
    """Each has its room for a while and gives it back: then the next one has its turn."""
    head = Head(a=4, b=4, c=2)
    offers = [(name, head.placement.rooms[NodeId(name)].offer) for name in "abc"]
    groups = [one for one in groups if head.groups.could_ever(offers, list(map(cpus, one[1])), one[0])]
    waiting = [head.open(strategy, *map(cpus, sizes)) for strategy, sizes in groups]
    waiting += [head.ask(cpus(size), is_large=True) for size in actors]
    turns = 0
    while waiting:
        turns += 1
        assert turns < 200 * (len(groups) + len(actors) + 1), f"{waiting} wait without end"
        head.grant()
        for number in [number for number in waiting if head.has(number)]:
            waiting.remove(number)
            if number in head.large:
                head.end(head.large.pop(number))
            else:
                head.groups.remove(number)
        if head.small:
            at = random.randrange(min(3, len(head.small)))
            head.small.rotate(-at)
            head.end(head.small.popleft())
        head.ask(SMALL)
        head.now += 0.1
