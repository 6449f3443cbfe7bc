"""The callers of a node: who owns which group, when one of them is lost and comes back."""

import pytest

from distpool.ids import LAUNCHER, NODE, SUPPLIER, GroupId, LeaseId
from distpool.logic.membership import Membership, Versions
from distpool.protocol.cluster import EndGroup, Greeting, OpenGroup, PeerLost, UseLease
from distpool.protocol.messages import GroupGone, StopGroup
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
