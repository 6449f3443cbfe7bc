"""What a driver keeps of its leases on nodes, and what head and nodes are told when some of that is lost."""

import pytest

from distpool.ids import CLIENT, HEAD, GroupId, LeaseId, NodeId
from distpool.protocol.cluster import GroupFailed, LeaseGranted, NodeGone, OpenGroup, Refused, Rejoined, UseLease
from distpool.protocol.messages import Death, GroupGone, LeaseLost, LeaseStarted, ReturnLease, StopGroup
from distpool.roles.nodes import NodesRole

GROUP = GroupId(5)
NODE = NodeId("first")
PLAN = OpenGroup(GROUP, 2, "spawn", "worker", True, b"")


@pytest.fixture
def nodes():
    nodes = NodesRole()
    nodes.open(PLAN)
    return nodes


def told(nodes):
    messages = list(nodes.outbox.messages)
    nodes.outbox.messages.clear()
    return messages


def grant(nodes, number):
    nodes.handle(HEAD, LeaseGranted(LeaseId(number), GROUP, NODE, "tcp://first:1", "key"), 1.0)


def lost(number):
    return LeaseLost(LeaseId(number), GROUP, Death(0, -9, node=NODE))


@pytest.mark.parametrize(
    ("sender", "news"),
    [(HEAD, NodeGone(NODE)), (NODE, GroupGone(GROUP)), (NODE, Refused("whoever wants workers has to greet first"))],
)
def test_leases_that_nobody_will_take_up_are_given_back_to_the_head(nodes, sender, news):
    grant(nodes, 1)
    assert told(nodes) == [(NODE, PLAN), (NODE, UseLease(LeaseId(1), GROUP))]
    nodes.handle(sender, news, 2.0)
    assert told(nodes) == [
        (HEAD, ReturnLease(LeaseId(1))),
        (CLIENT, LeaseStarted(LeaseId(1), GROUP)),
        (CLIENT, lost(1)),
    ]


def test_a_lease_for_which_a_node_waited_in_vain_is_given_back_too(nodes):
    """The head's word may yet come to the node, which would keep the lease for ever."""
    grant(nodes, 1)
    nodes.handle(NODE, LeaseStarted(LeaseId(1), GROUP), 6.0)
    told(nodes)
    unused = LeaseLost(LeaseId(1), GROUP, Death(0, -9))
    nodes.handle(NODE, unused, 6.0)
    assert told(nodes) == [(HEAD, ReturnLease(LeaseId(1))), (CLIENT, unused)]
    grant(nodes, 2)
    nodes.handle(NODE, LeaseStarted(LeaseId(2), GROUP), 7.0)
    told(nodes)
    ended = LeaseLost(LeaseId(2), GROUP, Death(4711, 0))
    nodes.handle(NODE, ended, 8.0)
    assert told(nodes) == [(CLIENT, ended)], "a node gives back itself what had a worker"


def test_a_client_that_rejoins_is_told_what_is_granted_and_on_its_way(nodes):
    grant(nodes, 1)
    grant(nodes, 2)
    nodes.handle(NODE, LeaseStarted(LeaseId(1), GROUP), 2.0)
    told(nodes)
    nodes.handle(HEAD, Rejoined({}), 3.0)
    assert told(nodes) == [(CLIENT, Rejoined({GROUP: 1}))]


def test_why_a_node_cannot_start_a_group_is_told_with_its_name_and_the_group_ends_there_when_it_is_stopped(nodes):
    grant(nodes, 1)
    told(nodes)
    nodes.handle(NODE, GroupFailed(GROUP, "pip failed"), 1.0)
    assert told(nodes) == [(CLIENT, GroupFailed(GROUP, "on node 'first' pip failed"))]
    nodes.obey(StopGroup(GROUP, True, []))
    assert (NODE, StopGroup(GROUP, True, [])) in told(nodes)
    nodes.handle(NODE, GroupGone(GROUP), 2.0)
    assert told(nodes)[-1] == (CLIENT, GroupGone(GROUP))
    nodes.handle(NODE, GroupFailed(GROUP, "too late"), 3.0)
    assert told(nodes) == []
