"""The callers of a node: who owns which group, when one of them is lost and comes back."""

import pytest

from distpool.ids import LAUNCHER, NODE, SUPPLIER, FunctionId, GroupId, LeaseId
from distpool.logic.membership import Membership, Versions
from distpool.logic.memory_guard import Running
from distpool.protocol.cluster import EndGroup, Greeting, OpenGroup, PeerLost, ToWorker, UseLease
from distpool.protocol.codec import encode
from distpool.protocol.messages import CallsDone, GroupGone, LeaseStarted, RunCalls, Slice, StopGroup
from distpool.roles.callers import CallersRole

GROUP = GroupId(5)
PLAN = OpenGroup(GROUP, 2, "spawn", "worker", True, b"", node="first")
LIFE = 33


@pytest.fixture
def callers():
    callers = CallersRole(Membership(Versions(1, "3.11", "0.1.0")), 77, "first")
    join(callers)
    callers.hear("link", PLAN, 1.0)
    assert told(callers) == [(LAUNCHER, PLAN)]
    return callers


def join(callers):
    callers.hear("link", Greeting("driver", LIFE, 1, "3.11", "0.1.0"), 1.0)
    told(callers)


def told(callers):
    """But for what its supplier is told: tests of `Supplies` are about that."""
    messages = [said for said in callers.outbox.messages if said[0] != SUPPLIER]
    callers.outbox.messages.clear()
    return messages


def test_a_caller_that_is_back_before_its_group_has_ended_gets_another_after_that(callers):
    callers.hear("link", PeerLost(), 2.0)
    assert told(callers) == [(LAUNCHER, StopGroup(GROUP, True, []))]
    join(callers)
    callers.hear("link", PLAN, 3.0)
    callers.hear("link", UseLease(LeaseId(1), GROUP), 3.0)
    assert told(callers) == []
    callers.handle(NODE, GroupGone(GROUP), 4.0)
    assert told(callers) == [(NODE, EndGroup(GROUP)), (LAUNCHER, PLAN), (NODE, UseLease(LeaseId(1), GROUP, LIFE))]
    callers.handle(NODE, GroupGone(GROUP), 5.0)
    assert told(callers) == [("link", GroupGone(GROUP)), (NODE, EndGroup(GROUP))]


def test_of_a_caller_that_is_lost_once_more_nothing_waits(callers):
    callers.hear("link", PeerLost(), 2.0)
    join(callers)
    callers.hear("link", PLAN, 3.0)
    callers.hear("link", PeerLost(), 3.5)
    told(callers)
    callers.handle(NODE, GroupGone(GROUP), 4.0)
    assert told(callers) == [(NODE, EndGroup(GROUP))]


def calls(count, *, may_repeat):
    run = RunCalls([Slice(FunctionId(1), 0, count, True, b"")], [], may_repeat)
    return ToWorker(LeaseId(1), b"".join(encode(run)))


def test_it_knows_which_workers_run_calls_since_when_and_whether_these_may_run_again(callers):
    callers.handle(NODE, LeaseStarted(LeaseId(1), GROUP), 2.0)
    callers.handle(NODE, LeaseStarted(LeaseId(2), GROUP), 2.0)
    assert callers.running() == []
    assert not callers.has_outstanding()
    callers.hear("link", calls(1, may_repeat=True), 3.0)
    assert callers.has_outstanding()
    assert callers.running() == [Running(LeaseId(1), GROUP, 3.0, True)]
    callers.hear("link", calls(2, may_repeat=False), 4.0)
    assert callers.running() == [Running(LeaseId(1), GROUP, 3.0, False)], "it may be that of any of them"
    callers.handle(LeaseId(1), CallsDone([(0, b"")] * 2, 0.1, False), 5.0)
    assert callers.running() == [Running(LeaseId(1), GROUP, 5.0, False)]
    callers.handle(LeaseId(1), CallsDone([(0, b"")], 0.1, False), 6.0)
    assert callers.running() == []
    callers.hear("link", calls(1, may_repeat=True), 7.0)
    assert callers.running() == [Running(LeaseId(1), GROUP, 7.0, True)]
