"""What nodes are asked to bring before it is needed, and that a call goes to where its bytes were brought."""

import pytest

from distpool.config import Settings
from distpool.ids import INLINE_FUNCTION, GroupId, LeaseId, ObjectId, StoreId
from distpool.logic.calls import Bundle
from distpool.logic.foresight import LOOKED_AT, PASSED_OVER_LIMIT
from distpool.logic.group import Group
from distpool.logic.group_plan import GroupPlan
from distpool.logic.outbox import Outbox
from distpool.protocol.messages import CallMode, CallsDone, Death, LeaseLost, OutcomeKind
from distpool.protocol.objects import BringSoon

STORE = StoreId(7)
SIZE = 1000
ONE, OTHER = LeaseId(1), LeaseId(2)


class Sink:
    def begin(self):
        return True

    def put_back(self):
        pass


class Claim:
    """One object, named by the number of the call."""

    bytes = SIZE

    def __init__(self, number):
        self.number = number
        self.foretold_to = None
        self.passed_over = 0

    def needs(self):
        return [((STORE, ObjectId(self.number)), SIZE)]

    def sent(self):
        pass

    def waits(self):
        pass


class World:
    """A group whose workers are on nodes of their own, to which objects come as soon as they are asked for."""

    def __init__(self, calls, leases=(ONE,), *, without=()):
        self.now = 0.0
        self.outbox = Outbox()
        self.at = {lease: set() for lease in leases}
        self.group = Group(GroupId(1), GroupPlan(len(leases), False, False, None, is_far=True), Settings())
        self.group.nearness = lambda lease, claim: SIZE if claim.number in self.at[lease] else 0
        for lease in leases:
            self.group.started(lease)
            self.group.ready(lease, self.now)
        claims = {number: Claim(number) for number in range(calls) if number not in without}
        bundle = Bundle(INLINE_FUNCTION, CallMode.CALL, [b"x"] * calls, Sink(), claims=claims)
        self.group.submit([bundle], self.outbox)

    def turn(self):
        """(the calls that were sent, the objects that were asked for), as (lease, number)"""
        self.now += 1.0
        sent, _ = self.group.decide(self.now, self.outbox)
        asked = []
        for to, message in self.outbox.messages:
            if isinstance(message, BringSoon):
                assert all((store, size) == (STORE, SIZE) for store, _, size in message.objects)
                asked += [(to, object_id) for _, object_id, _ in message.objects]
        self.outbox.messages.clear()
        for lease, number in asked:
            self.at[lease].add(number)
        return [(lease.id, at) for lease, spans in sent for span in spans for at in range(span.start, span.stop)], asked

    def done(self, lease):
        self.group.done(lease, CallsDone([(OutcomeKind.VALUE, b"")], 1.0, False), self.now, self.outbox)
        return self.turn()


def test_a_busy_worker_has_what_its_next_call_needs_brought_and_no_more():
    world = World(4)
    assert world.turn() == ([(ONE, 0)], [(ONE, 0), (ONE, 1)])
    assert world.turn() == ([], [])
    assert world.done(ONE) == ([(ONE, 1)], [(ONE, 2)])
    assert world.done(ONE) == ([(ONE, 2)], [(ONE, 3)])
    assert world.done(ONE) == ([(ONE, 3)], [])


def test_what_is_there_is_not_asked_for():
    world = World(2)
    world.at[ONE] = {0, 1}
    assert world.turn() == ([(ONE, 0)], [])


def test_calls_that_need_nothing_are_not_foretold():
    world = World(3, without=(0, 1))
    assert world.turn() == ([(ONE, 0)], [(ONE, 2)])


@pytest.mark.parametrize("first", [ONE, OTHER])
def test_each_worker_gets_the_call_that_was_foretold_to_it_whoever_is_done_first(first):
    world = World(6, (ONE, OTHER))
    sent, asked = world.turn()
    assert sorted(sent) == [(ONE, 0), (OTHER, 1)]
    own = {lease: number for lease, number in asked if number > 1}
    assert set(own.values()) == {2, 3}
    second = OTHER if first == ONE else ONE
    assert world.done(first)[0] == [(first, own[first])]
    assert world.done(first)[0] == [(first, 4)], "the other one's is kept for it"
    assert world.done(second)[0] == [(second, own[second])]


def test_a_call_whose_worker_is_lost_goes_to_another():
    world = World(4, (ONE, OTHER))
    world.turn()
    world.group.lost(LeaseLost(ONE, GroupId(1), Death(1, -9)), world.outbox)
    assert sorted(world.done(OTHER)[0] + world.done(OTHER)[0]) == [(OTHER, 2), (OTHER, 3)]


def test_a_call_does_not_wait_for_its_worker_for_ever():
    calls = 2 * (LOOKED_AT + PASSED_OVER_LIMIT)
    world = World(calls, (ONE, OTHER))
    own = {lease: number for lease, number in world.turn()[1] if number > 1}
    waits = min(own.values())
    (slow,) = (lease for lease, number in own.items() if number == waits)
    quick = OTHER if slow == ONE else ONE
    got = []
    while waits not in got:
        assert len(got) <= PASSED_OVER_LIMIT
        got += [number for _, number in world.done(quick)[0]]
    assert len(got) == PASSED_OVER_LIMIT + 1
