"""What a node does with leases of callers elsewhere, when it is drained and when its head is another one."""

import pytest

from distpool.ids import CLIENT, HEAD, LAUNCHER, GroupId, LeaseId, NodeId
from distpool.logic.recovery import first_lease
from distpool.protocol.cluster import (
    DrainNode,
    EndGroup,
    LeaseUnused,
    Rejoined,
    RevokeLease,
    UseLease,
    WantToLeave,
    Welcome,
)
from distpool.protocol.messages import (
    Death,
    GrantLease,
    LeaseStarted,
    RegisterNode,
    ReturnLease,
    StartWorker,
    WorkerExited,
)
from distpool.protocol.resources import Claim, Offer
from distpool.roles.node import NodeRole

NAME, GROUP, CALLER = NodeId("first"), GroupId(5), 3
LEASE = first_lease(4)


@pytest.fixture
def node():
    node = NodeRole(NAME, Offer(2), "tcp://first:1", "key")
    node.handle(HEAD, Welcome(1, 2, 4), 10.0)
    told(node)
    return node


def told(node):
    messages = list(node.outbox.messages)
    node.outbox.messages.clear()
    return messages


def start(node, lease=LEASE, now=11.0):
    node.handle(HEAD, GrantLease(lease, GROUP, CALLER), now)
    node.handle(CLIENT, UseLease(lease, GROUP, CALLER), now)
    assert (LAUNCHER, StartWorker(lease, GROUP)) in told(node)


def test_a_lease_starts_when_head_and_caller_agree_in_whatever_order(node):
    node.handle(CLIENT, UseLease(LEASE, GROUP, CALLER), 11.0)
    assert told(node) == []
    node.handle(HEAD, GrantLease(LEASE, GROUP, CALLER), 11.0)
    assert told(node) == [(LAUNCHER, StartWorker(LEASE, GROUP)), (CLIENT, LeaseStarted(LEASE, GROUP))]


def test_a_lease_that_the_head_does_not_grant_in_time_is_none(node):
    node.handle(CLIENT, UseLease(LEASE, GROUP, CALLER), 11.0)
    assert node.decide(11.0) == 16.0
    node.decide(16.0)
    assert told(node) == [(CLIENT, LeaseUnused(LEASE, GROUP))]
    assert not node.is_used()


def test_with_a_new_head_what_was_not_taken_up_is_nobodys_and_the_rest_is_told(node):
    start(node)
    granted, asked, late = (LeaseId(LEASE + number) for number in (1, 2, 3))
    node.handle(HEAD, GrantLease(granted, GROUP, CALLER), 12.0)
    node.handle(CLIENT, UseLease(asked, GROUP, CALLER), 12.0)
    told(node)
    node.handle(HEAD, Rejoined({}), 13.0)
    node.handle(HEAD, Welcome(2, 2, 5), 13.0)
    assert told(node) == [
        (CLIENT, LeaseUnused(asked, GROUP)),
        (HEAD, RegisterNode(NAME, 2, 0, "tcp://first:1", "key", [Claim(LEASE, CALLER)])),
    ]
    # Its caller had it from the head that is no more.
    node.handle(CLIENT, UseLease(granted, GROUP, CALLER), 13.0)
    assert told(node) == [(CLIENT, LeaseUnused(granted, GROUP))]
    node.handle(CLIENT, UseLease(first_lease(5), GROUP, CALLER), 13.0)
    assert told(node) == [], "the new head's word may be on its way"
    node.handle(CLIENT, UseLease(late, GROUP, CALLER), 13.0)
    assert told(node) == [(CLIENT, LeaseUnused(late, GROUP))]


def test_a_lease_that_is_revoked_before_it_starts_is_none_for_its_caller(node):
    node.handle(CLIENT, UseLease(LEASE, GROUP, CALLER), 11.0)
    node.handle(HEAD, RevokeLease(LEASE), 11.0)
    assert told(node) == [(HEAD, ReturnLease(LEASE)), (CLIENT, LeaseUnused(LEASE, GROUP))]


def test_a_node_that_is_drained_is_over_when_its_last_lease_is(node):
    start(node)
    node.handle(HEAD, GrantLease(LeaseId(LEASE + 1), GROUP, CALLER), 12.0)
    node.handle(HEAD, DrainNode(NAME, 0.0), 12.0)
    assert node.decide(12.0) is None
    node.handle(LAUNCHER, WorkerExited(LEASE, GROUP, Death(1, 0)), 13.0)
    node.decide(13.0)
    assert not node.is_over, "another lease was granted before"
    node.handle(HEAD, RevokeLease(LeaseId(LEASE + 1)), 14.0)
    node.decide(14.0)
    assert node.is_over


def test_or_after_its_time_limit_of_which_the_earliest_counts(node):
    start(node)
    node.handle(HEAD, DrainNode(NAME, 30.0), 12.0)
    node.handle(HEAD, DrainNode(NAME, 5.0), 13.0)
    node.handle(HEAD, DrainNode(NAME, 0.0), 14.0)
    assert node.decide(17.9) == 18.0
    assert not node.is_over
    node.decide(18.0)
    assert node.is_over


def test_a_node_that_wants_to_leave_waits_for_the_heads_last_word(node):
    node.leave(25.0, 12.0)
    assert told(node) == [(HEAD, WantToLeave(25.0))]
    node.decide(12.0)
    assert not node.is_over, "a lease may be on its way"
    node.handle(HEAD, DrainNode(NAME, 25.0), 12.1)
    node.decide(12.1)
    assert node.is_over


def test_a_new_head_is_told_that_a_node_is_about_to_leave(node):
    start(node)
    node.leave(25.0, 12.0)
    told(node)
    node.handle(HEAD, Rejoined({}), 17.0)
    assert [type(message) for _, message in told(node)] == [RegisterNode, WantToLeave]
    assert node.decide(17.0) == 37.0, "its limit is what it was"


def test_a_lease_that_was_asked_for_before_its_group_ended_gets_no_worker_after_that(node):
    node.handle(CLIENT, UseLease(LEASE, GROUP, CALLER), 11.0)
    node.handle(CLIENT, EndGroup(GROUP), 11.5)
    node.handle(HEAD, GrantLease(LEASE, GROUP, CALLER), 12.0)
    assert told(node) == []
