"""Who gets a lease first: those with fewest, then the oldest; and nobody is passed without end."""

from collections import Counter
from itertools import count

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from distpool.ids import GroupId, NodeId
from distpool.logic.placement import Placement
from distpool.logic.request_queue import Request, RequestQueue
from distpool.logic.reservations import Patience
from distpool.protocol.devices import Device
from distpool.protocol.resources import UNIT, Offer, Shape
from tests.logic.machines import tries

SMALL, LARGE = Shape(), Shape(cpus=4 * UNIT)
PATIENCE = Patience(passes=3, wait_s=5.0)


class Queue:
    """A head's queue with nodes of its own."""

    def __init__(self, **cpus):
        self.placement = Placement()
        for name, number in cpus.items():
            self.placement.add_node(NodeId(name), Offer(number))
        self.waiting = RequestQueue(self.placement, PATIENCE)
        self.ids = count(1)
        self.leases = {}
        self.now = 10.0

    def ask(self, caller, wanted, shape=SMALL):
        life = sum(caller.encode())
        self.waiting.add(Request(caller, life, GroupId(life), shape, wanted, self.now, None))

    def grant(self):
        """Who gets something, in order, and where."""
        granted = []
        for request, lease, placed in self.waiting.grants(self.ids, self.now):
            self.leases[lease] = (request.caller, request.shape)
            granted.append((request.caller, placed.node))
        return granted

    def end(self, caller, shape=None):
        """The oldest lease of a caller."""
        lease = next(lease for lease, (whose, what) in self.leases.items() if whose == caller and shape in (None, what))
        self.free(lease)

    def free(self, lease):
        del self.leases[lease]
        self.placement.free(lease)
        self.waiting.over(lease)


def test_the_caller_with_the_fewest_leases_goes_first_and_then_the_oldest_request():
    queue = Queue(a=5)
    queue.ask("first", 3)
    assert queue.grant() == [("first", "a")] * 3
    queue.ask("first", 3)
    queue.ask("late", 3)
    assert [caller for caller, _ in queue.grant()] == ["late", "late"]
    queue.end("first")
    assert [caller for caller, _ in queue.grant()] == ["first"], "each has two, and it has asked before"


def test_two_callers_get_leases_by_turns():
    queue = Queue(a=6)
    queue.ask("x", 6)
    queue.ask("y", 6)
    assert [caller for caller, _ in queue.grant()] == ["x", "y"] * 3


def test_gpus_are_shared_by_those_who_have_gpus_however_many_cpus_they_have():
    queue = Queue()
    devices = tuple(Device(f"{at}", "pretend", 0) for at in range(2))
    queue.placement.add_node(NodeId("a"), Offer(8, devices=devices))
    queue.ask("cpus", 4)
    queue.grant()
    gpu = Shape(gpus=UNIT)
    queue.ask("other", 2, gpu)
    queue.ask("cpus", 2, gpu)
    assert [caller for caller, _ in queue.grant()] == ["other", "cpus"]


def test_one_that_does_not_fit_lets_others_pass_on_other_nodes_for_good():
    queue = Queue(large=4, small=1)
    queue.ask("x", 5)
    queue.grant()
    queue.ask("z", 1, LARGE)
    assert queue.grant() == []
    on_small = next(lease for lease in queue.leases if queue.placement.node_of(lease) == "small")
    for _ in range(20):  # the small node cannot have it: nobody is held back there
        queue.free(on_small)
        queue.ask("y", 1)
        assert queue.grant() == [("y", "small")]
        on_small = max(queue.leases)
    assert [request.passed for request in queue.waiting] == [0]


def churn(queue, rounds):
    """Small ones end and others come, again and again: after how many of them the large one got its room."""
    for number in range(rounds):
        queue.end("small")
        queue.ask("small", 1)
        if ("large", "a") in queue.grant():
            return number
    return None


def test_small_ones_do_not_starve_a_large_one():
    queue = Queue(a=4)
    queue.ask("small", 4)
    queue.grant()
    queue.ask("large", 1, LARGE)
    assert queue.grant() == []
    passed = churn(queue, 100)
    assert passed is not None
    assert passed <= PATIENCE.passes + 4, "it is passed so often, and then all that were there have to end"


def test_a_large_one_that_has_waited_for_long_is_passed_no_more():
    queue = Queue(a=4)
    queue.ask("small", 4)
    queue.grant()
    queue.ask("large", 1, LARGE)
    assert queue.grant() == []
    queue.end("small")
    queue.ask("small", 1)
    assert queue.grant() == [("small", "a")]
    queue.now += PATIENCE.wait_s
    for left in range(4):
        queue.end("small")
        queue.ask("small", 1)
        assert queue.grant() == ([("large", "a")] if left == 3 else [])
    assert queue.waiting.held_for(next(iter(queue.waiting))) is None


def test_what_a_large_one_has_no_use_for_is_given_to_others_all_the_same():
    queue = Queue(a=4)
    queue.placement.add_node(NodeId("b"), Offer(1))
    gpu = Shape(cpus=2 * UNIT, gpus=UNIT)
    queue.placement.add_node(NodeId("g"), Offer(4, devices=(Device("0", "pretend", 0),)))
    queue.ask("holder", 1, Shape(cpus=0, gpus=UNIT))
    queue.grant()
    queue.ask("gpu", 1, gpu)
    queue.ask("cpus", 20)
    granted = Counter(queue.grant())
    assert granted["cpus", "a"] == 4
    assert granted["cpus", "b"] == 1
    assert granted["cpus", "g"] == PATIENCE.passes, "the last of its CPUs is held"
    (request, _) = queue.waiting
    assert queue.waiting.held_for(request) == "g"
    queue.end("holder")
    assert queue.grant() == []
    queue.free(next(lease for lease in queue.leases if queue.placement.node_of(lease) == "g"))
    assert queue.grant() == [("gpu", "g")]


def test_a_node_that_is_nearer_by_now_is_held_instead():
    queue = Queue(a=4, b=4)
    queue.ask("long", 4)
    queue.ask("short", 4)
    queue.grant()
    queue.ask("large", 1, LARGE)
    queue.grant()
    large = next(iter(queue.waiting))
    large.passed = PATIENCE.passes
    queue.end("long")
    queue.grant()
    first = queue.waiting.held_for(large)
    assert first is not None
    other = [lease for lease in queue.leases if queue.placement.node_of(lease) != first]
    for lease in other:
        queue.free(lease)
    assert queue.grant() == [("large", "b" if first == "a" else "a")]


@pytest.mark.parametrize("group", [None, 1])
def test_what_is_dropped_holds_nothing(group):
    queue = Queue(a=4)
    queue.ask("small", 4)
    queue.grant()
    queue.waiting.add(Request("large", 2, GroupId(1), LARGE, 2, queue.now, None))
    queue.grant()
    next(iter(queue.waiting)).passed = PATIENCE.passes
    queue.end("small")
    queue.ask("small", 1)
    assert queue.grant() == []
    assert queue.waiting.drop("large", group) == 2
    assert queue.grant() == [("small", "a")]
    assert queue.waiting.drop("large") == 0


SHAPES = [Shape(cpus=UNIT // 2), Shape(), Shape(cpus=2 * UNIT), Shape(cpus=4 * UNIT)]


class Callers(RuleBasedStateMachine):
    """Three callers on two nodes. Whoever could have got something before another in the queue, and did not, is counted
    by the queue itself; the model counts by its own how much smaller ones got while a large one waited."""

    def __init__(self):
        super().__init__()
        self.queue = Queue(a=4, b=2)

    @rule(caller=st.sampled_from("xyz"), wanted=st.integers(1, 3), shape=st.sampled_from(SHAPES))
    def ask(self, caller, wanted, shape):
        self.queue.ask(caller, wanted, shape)

    @rule(at=st.integers(0, 20))
    def end(self, at):
        leases = list(self.queue.leases)
        if leases:
            lease = leases[at % len(leases)]
            self.queue.free(lease)

    @rule(caller=st.sampled_from("xyz"))
    def drop(self, caller):
        self.queue.waiting.drop(caller)

    @rule(seconds=st.sampled_from([0.0, 1.0, 6.0]))
    def grant(self, seconds):
        self.queue.now += seconds
        before = {id(request): request for request in self.queue.waiting}
        held = {id(request): self.queue.waiting.held_for(request) for request in self.queue.waiting}
        free = {name: room.free_cpus for name, room in self.queue.placement.rooms.items()}
        self.queue.grant()
        for request in self.queue.waiting:
            node = held.get(id(request))
            if id(request) in before and node is not None and node == self.queue.waiting.held_for(request):
                now_free = self.queue.placement.rooms[node].free_cpus
                assert now_free >= min(free[node], request.shape.cpus), "what is held for it was given to another"
        assert self.queue.grant() == [], "all that fits is granted at once"

    @invariant()
    def no_node_gives_more_than_it_has(self):
        assert all(room.free_cpus >= 0 for room in self.queue.placement.rooms.values())

    def teardown(self):
        """Everybody who waits gets all that they want, when those who have something come to an end."""
        for _ in range(500):
            self.queue.grant()
            if not list(self.queue.waiting):
                return
            assert self.queue.leases, "somebody waits on empty nodes"
            self.end(0)
        raise AssertionError("some wait for ever")


TestCallers = Callers.TestCase
TestCallers.settings = tries(60)
