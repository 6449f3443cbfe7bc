"""What a cluster's head says to those who join, leave, are lost and come back."""

import pytest

from distpool.ids import GroupId, LeaseId, NodeId
from distpool.logic.membership import Membership, Versions
from distpool.protocol.cluster import (
    AskStatus,
    CallerFacts,
    EndGroup,
    Greeting,
    HeldFacts,
    LeaseGranted,
    LeaveCluster,
    NodeGone,
    PeerLost,
    Refused,
    RequestsDropped,
    RevokeLease,
    StatusTold,
    Welcome,
)
from distpool.protocol.messages import GrantLease, RegisterNode, RequestLeases, ReturnLease
from distpool.roles.head import HeadRole

LIFE = 77


@pytest.fixture
def head():
    return HeadRole(Membership(Versions(1, "3.11", "0.1.0")), LIFE, now=10.0)


def greeting(life, python="3.11"):
    return Greeting(f"process {life}", life, 1, python, "0.1.0")


def told(head):
    messages = list(head.outbox.messages)
    head.outbox.messages.clear()
    return messages


def join(head, link, life, node=None, cpus=2):
    head.handle(link, greeting(life), 11.0)
    ((to, welcome),) = told(head)
    assert (to, type(welcome), welcome.life) == (link, Welcome, LIFE)
    if node is not None:
        head.handle(link, RegisterNode(NodeId(node), cpus), 11.0)
        assert told(head) == []


def nodes(head):
    head.handle("asker", AskStatus(), 20.0)
    ((_, status),) = told(head)
    assert isinstance(status, StatusTold)
    return {node.node: (node.cpus, node.leases) for node in status.nodes}


def test_who_has_other_versions_is_refused_and_offers_nothing(head):
    head.handle("a", greeting(1, python="3.12"), 11.0)
    ((to, refused),) = told(head)
    assert (to, type(refused)) == ("a", Refused)
    head.handle("a", RegisterNode(NodeId("n"), 2), 11.0)
    assert told(head) == [("a", Refused("whoever offers workers has to greet first"))]
    assert nodes(head) == {}


def test_leases_go_to_the_nodes_by_their_links(head):
    join(head, "a", 1, "first", cpus=1)
    join(head, "b", 2, "second", cpus=3)
    head.handle("c", RequestLeases(GroupId(5), 4), 12.0)
    head.decide(12.0)
    given = told(head)
    assert sorted(to for to, _ in given) == ["a", "b", "b", "b"]
    assert {message.group for _, message in given if isinstance(message, GrantLease)} == {5}
    assert nodes(head) == {"first": (1, 1), "second": (3, 3)}
    head.handle("a", ReturnLease(given[0][1].lease), 13.0)
    assert sum(leases for _, leases in nodes(head).values()) == 3


def test_a_group_that_ends_at_once_gets_what_there_is_room_for_and_no_more(head):
    join(head, "a", 1, "first", cpus=2)
    join(head, "c", 3)
    head.handle("c", RequestLeases(GroupId(5), 3), 12.0)
    head.handle("c", EndGroup(GroupId(5)), 12.0)
    head.decide(12.0)
    *given, dropped = told(head)
    assert [(to, type(message)) for to, message in given] == [("a", GrantLease)] * 2
    assert dropped == ("c", RequestsDropped(GroupId(5), 1))
    head.handle("a", ReturnLease(given[0][1].lease), 13.0)
    head.decide(13.0)
    assert told(head) == []


@pytest.mark.parametrize("end", [LeaveCluster(), PeerLost()])
def test_with_a_node_go_its_place_and_its_leases(head, end):
    join(head, "a", 1, "first")
    head.handle("c", RequestLeases(GroupId(5), 2), 12.0)
    head.decide(12.0)
    told(head)
    head.handle("a", end, 13.0)
    assert nodes(head) == {}
    head.handle("c", RequestLeases(GroupId(5), 1), 14.0)
    head.decide(14.0)
    assert told(head) == [], "the request waits for a node"
    join(head, "b", 2, "first")
    head.decide(15.0)
    ((to, _),) = told(head)
    assert to == "b"
    assert nodes(head) == {"first": (2, 1)}


def test_a_process_that_makes_a_new_link_takes_the_place_of_its_old_one(head):
    join(head, "old", 1, "first")
    join(head, "new", 1, "first", cpus=4)
    assert nodes(head) == {"first": (4, 0)}
    head.handle("old", PeerLost(), 14.0)
    assert nodes(head) == {"first": (4, 0)}


def test_a_name_belongs_to_one_process(head):
    join(head, "a", 1, "first")
    join(head, "b", 2)
    head.handle("b", RegisterNode(NodeId("first"), 9), 12.0)
    ((to, refused),) = told(head)
    assert (to, type(refused)) == ("b", Refused)
    assert "'first'" in refused.text
    head.handle("b", PeerLost(), 13.0)
    assert nodes(head) == {"first": (2, 0)}


@pytest.mark.parametrize("name", ["", "\x1b[2J", "two\nlines", "\u202eabc", "x" * 129])
def test_a_node_has_a_name_that_can_be_printed(head, name):
    join(head, "a", 1)
    head.handle("a", RegisterNode(NodeId(name), 2), 11.0)
    assert told(head) == [("a", Refused("a node's name has 1 to 128 characters, all of which can be printed"))]
    assert nodes(head) == {}


def test_the_status_tells_ages_and_how_many_drivers_there_are(head):
    join(head, "a", 1, "first")
    join(head, "b", 2)
    head.handle("b", AskStatus(), 21.0)
    ((to, status),) = told(head)
    assert to == "b"
    assert (status.drivers, status.up_s, status.nodes[0].joined_s) == (1, 11.0, 10.0)


def test_the_status_tells_who_has_which_leases_and_who_waits_but_not_the_one_that_asks(head):
    join(head, "a", 1, "first", cpus=2)
    join(head, "b", 2)
    join(head, "c", 3)
    head.handle("a", RegisterNode(NodeId("first"), 2, 0, "tcp://first:1", "key", log="host:/log"), 11.0)
    head.handle("b", RequestLeases(GroupId(5), 5), 12.0)
    head.decide(12.0)
    told(head)
    head.handle("c", AskStatus(), 21.0)
    ((_, status),) = told(head)
    assert status.callers == [CallerFacts("process 2", 2, 3, 10.0)]
    assert status.held == [HeldFacts(NodeId("first"), "process 2", 2)]
    assert [node.log for node in status.nodes] == ["host:/log"]
    assert status.drivers == 2


def test_a_driver_gets_its_leases_and_nobody_else_can_return_them(head):
    head.handle("a", greeting(1), 11.0)
    head.handle("a", RegisterNode(NodeId("first"), 2, 0, "tcp://first:1", "key"), 11.0)
    told(head)
    join(head, "b", 2, "second", cpus=1)
    for link, life in (("c", 3), ("d", 4)):
        head.handle(link, greeting(life), 12.0)
    head.handle("c", RequestLeases(GroupId(5), 1), 12.0)
    told(head)
    head.decide(12.0)
    messages = told(head)
    lease = messages[0][1].lease
    assert messages == [
        ("a", GrantLease(lease, GroupId(5), 3)),
        ("c", LeaseGranted(lease, GroupId(5), NodeId("first"), "tcp://first:1", "key")),
    ]
    for stranger in ("b", "d"):
        head.handle(stranger, ReturnLease(lease), 13.0)
    assert told(head) == []
    assert nodes(head)["first"] == (2, 1)
    head.handle("c", ReturnLease(lease), 13.0)
    assert told(head) == [("a", RevokeLease(lease))]
    head.handle("a", ReturnLease(lease), 13.0)
    assert nodes(head)["first"] == (2, 0)


def test_a_cluster_grants_no_more_leases_than_there_are_cpus_and_drops_what_is_not_wanted(head):
    join(head, "a", 1, "first", cpus=2)
    join(head, "c", 3)
    head.handle("c", RequestLeases(GroupId(5), 5), 12.0)
    head.decide(12.0)
    assert len(told(head)) == 2
    head.handle("c", EndGroup(GroupId(5)), 13.0)
    assert told(head) == [("c", RequestsDropped(GroupId(5), 3))]
    join(head, "b", 2, "second")
    head.decide(14.0)
    assert told(head) == []


def test_the_leases_of_a_lost_driver_are_revoked_and_those_of_a_lost_node_are_told_of(head):
    head.handle("a", greeting(1), 11.0)
    head.handle("a", RegisterNode(NodeId("first"), 2, 0, "tcp://first:1", "key"), 11.0)
    for link, life in (("c", 3), ("d", 4)):
        head.handle(link, greeting(life), 12.0)
        head.handle(link, RequestLeases(GroupId(life), 1), 12.0)
    told(head)
    head.decide(12.0)
    leases = {message.group: message.lease for to, message in told(head) if to == "a"}
    head.handle("c", PeerLost(), 13.0)
    assert told(head) == [("a", RevokeLease(leases[3]))]
    head.handle("a", PeerLost(), 14.0)
    assert told(head) == [("d", NodeGone(NodeId("first")))]


def test_a_head_that_was_just_started_is_told_of_the_leases_that_there_are(head):
    head.handle("a", greeting(1), 11.0)
    there = [(LeaseId(900), 3), (LeaseId(901), 3)]
    head.handle("a", RegisterNode(NodeId("first"), 2, 0, "tcp://first:1", "key", there), 11.0)
    head.handle("c", greeting(3), 12.0)
    told(head)
    assert nodes(head) == {"first": (2, 2)}
    head.handle("c", RequestLeases(GroupId(5), 1), 12.0)
    head.decide(12.0)
    assert told(head) == [], "all CPUs are taken"
    head.handle("c", LeaveCluster(), 13.0)
    assert told(head) == [("a", RevokeLease(LeaseId(900))), ("a", RevokeLease(LeaseId(901)))]
