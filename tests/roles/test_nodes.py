"""A driver's view of its nodes: what it tells the head and its client when one is given up, or cannot start a group."""

from distpool.ids import CLIENT, HEAD, GroupId, LeaseId, NodeId
from distpool.protocol.cluster import GroupFailed, LeaseGranted, NodeGone, OpenGroup, UseLease
from distpool.protocol.messages import Death, GroupGone, LeaseLost, LeaseStarted, ReturnLease, StopGroup
from distpool.roles.nodes import NodesRole

GROUP, LEASE, NODE = GroupId(7), LeaseId(5), NodeId("first")


def role_with_a_lease() -> NodesRole:
    role = NodesRole()
    role.open(OpenGroup(GROUP, 2, "forkserver", "Worker", True, b"setup"))
    role.handle(HEAD, LeaseGranted(LEASE, GROUP, NODE, "tcp://first:1", "public"), 0.0)
    assert said(role) == [(NODE, role._plans[GROUP]), (NODE, UseLease(LEASE, GROUP))]
    return role


def said(role: NodesRole) -> list:
    messages = list(role.outbox.messages)
    role.outbox.messages.clear()
    return messages


def test_the_leases_of_a_node_that_cannot_be_reached_are_given_back():
    role = role_with_a_lease()
    role.handle(HEAD, NodeGone(NODE), 1.0)
    assert said(role) == [
        (HEAD, ReturnLease(LEASE)),
        (CLIENT, LeaseStarted(LEASE, GROUP)),
        (CLIENT, LeaseLost(LEASE, GROUP, Death(0, -9, node=NODE))),
    ]


def test_why_a_node_cannot_start_a_group_is_told_with_its_name_and_the_group_ends_there_when_it_is_stopped():
    role = role_with_a_lease()
    role.handle(NODE, GroupFailed(GROUP, "pip failed"), 1.0)
    assert said(role) == [(CLIENT, GroupFailed(GROUP, "on node 'first' pip failed"))]
    role.obey(StopGroup(GROUP, True, []))
    assert (NODE, StopGroup(GROUP, True, [])) in said(role)
    role.handle(NODE, GroupGone(GROUP), 2.0)
    assert said(role)[-1] == (CLIENT, GroupGone(GROUP))
    role.handle(NODE, GroupFailed(GROUP, "too late"), 3.0)
    assert said(role) == []
