"""A client's leases on nodes: nodes that drain, that are lost before a worker is there, or have another's name."""

import pytest

from distpool.ids import CLIENT, HEAD, GroupId, LeaseId, NodeId
from distpool.protocol.cluster import (
    FromWorker,
    LeaseDrains,
    LeaseGranted,
    LeaseUnused,
    NodeDrains,
    NodeGone,
    OpenGroup,
    Refused,
    Rejoined,
    RequestsDropped,
    UseLease,
    Welcome,
)
from distpool.protocol.code import (
    GroupFailed,
)
from distpool.protocol.messages import Death, GroupGone, LeaseLost, LeaseStarted, ReturnLease, StopGroup
from distpool.roles.nodes import NodesRole

GROUP, ONE, TWO = GroupId(5), LeaseId(1), LeaseId(2)
FIRST = NodeId("first")
PLAN = OpenGroup(GROUP, 4, "spawn", "Worker", True, b"")


@pytest.fixture
def nodes():
    """A role whose first lease has started and whose second is on its way, both on one node."""
    nodes = NodesRole()
    nodes.open(PLAN)
    nodes.handle(HEAD, Welcome(1), 1.0)
    for lease in (ONE, TWO):
        grant(nodes, lease)
    nodes.hear(FIRST, LeaseStarted(ONE, GROUP))
    told(nodes)
    return nodes


def grant(nodes, lease, port=1):
    nodes.handle(HEAD, LeaseGranted(lease, GROUP, FIRST, f"tcp://first:{port}", "key"), 1.0)


def told(nodes):
    messages = list(nodes.outbox.messages)
    nodes.outbox.messages.clear()
    return messages


def test_when_a_node_drains_so_do_its_workers_and_those_that_are_about_to_start(nodes):
    nodes.handle(HEAD, NodeDrains(FIRST), 2.0)
    nodes.handle(HEAD, NodeDrains(FIRST), 2.0)
    nodes.handle(HEAD, NodeDrains(NodeId("other")), 2.0)
    assert told(nodes) == [(CLIENT, LeaseDrains(ONE))]
    nodes.hear(FIRST, LeaseStarted(TWO, GROUP))
    assert told(nodes) == [(CLIENT, LeaseStarted(TWO, GROUP)), (CLIENT, LeaseDrains(TWO))]


def test_a_node_that_is_lost_costs_workers_only_where_there_were_some(nodes):
    nodes.handle(HEAD, NodeGone(FIRST), 2.0)
    messages = told(nodes)
    assert [(to, type(message)) for to, message in messages if to == CLIENT] == [
        (CLIENT, LeaseLost),
        (CLIENT, RequestsDropped),
    ]
    assert messages[1][1].lease == ONE
    assert [message for to, message in messages if to == HEAD] == [ReturnLease(ONE), ReturnLease(TWO)]


def test_a_lease_that_is_none_is_asked_for_again(nodes):
    nodes.hear(FIRST, LeaseUnused(TWO, GROUP))
    nodes.hear(FIRST, LeaseUnused(TWO, GROUP))
    assert told(nodes) == [(HEAD, ReturnLease(TWO)), (CLIENT, RequestsDropped(GROUP, 1))], (
        "the head's word may yet come to the node, which would keep the lease for ever"
    )


def test_a_new_head_need_not_be_asked_for_what_is_about_to_start(nodes):
    nodes.handle(HEAD, Rejoined({}), 2.0)
    assert told(nodes) == [(CLIENT, Rejoined({GROUP: 1}))]


def test_another_process_of_a_nodes_name_is_another_node(nodes):
    grant(nodes, LeaseId(3), port=2)
    messages = told(nodes)
    assert [type(message) for to, message in messages if to == CLIENT] == [LeaseLost, RequestsDropped]
    assert messages[-2:] == [("first", PLAN), ("first", UseLease(LeaseId(3), GROUP))]
    assert nodes.nodes[FIRST].endpoint == "tcp://first:2"


def test_what_a_worker_says_comes_with_the_name_of_its_node(nodes):
    nodes.hear(FIRST, FromWorker(ONE, b"frame", "another"))
    nodes.hear(FIRST, FromWorker(LeaseId(9), b"frame"))
    assert told(nodes) == [(CLIENT, FromWorker(ONE, b"frame", "first"))]


def test_a_node_that_refuses_this_program_is_lost(nodes):
    nodes.hear(FIRST, Refused("whoever wants workers has to greet first"))
    assert [message for to, message in told(nodes) if to == HEAD] == [ReturnLease(ONE), ReturnLease(TWO)]


def test_a_template_that_ends_by_itself_costs_its_workers_and_those_that_were_to_start(nodes):
    """So that a group whose workers cannot be started does not ask for them for ever."""
    nodes.hear(FIRST, GroupGone(GROUP))
    died = Death(0, -9, node=FIRST)
    assert told(nodes) == [
        (HEAD, ReturnLease(ONE)),
        (CLIENT, LeaseLost(ONE, GROUP, died)),
        (HEAD, ReturnLease(TWO)),
        (CLIENT, LeaseStarted(TWO, GROUP)),
        (CLIENT, LeaseLost(TWO, GROUP, died)),
    ]


def test_why_a_node_cannot_start_a_group_is_told_with_its_name_and_the_group_ends_there_when_it_is_stopped(nodes):
    nodes.hear(FIRST, GroupFailed(GROUP, "pip failed"))
    assert told(nodes) == [(CLIENT, GroupFailed(GROUP, "on node 'first' pip failed"))]
    nodes.obey(StopGroup(GROUP, True, []))
    assert ("first", StopGroup(GROUP, True, [])) in told(nodes)
    nodes.hear(FIRST, GroupGone(GROUP))
    assert told(nodes)[-1] == (CLIENT, GroupGone(GROUP))
    nodes.hear(FIRST, GroupFailed(GROUP, "too late"))
    assert told(nodes) == []
