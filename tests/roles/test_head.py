"""What a cluster's head says to those who join, leave, are lost and come back."""

import pytest

from distpool.ids import GroupId, LeaseId, NodeId
from distpool.logic.membership import Membership, Versions
from distpool.logic.recovery import first_lease
from distpool.protocol.cluster import (
    AskLog,
    AskStacks,
    AskStatus,
    DrainNode,
    DrainTold,
    EndGroup,
    Greeting,
    LeaseGranted,
    LeaveCluster,
    NodeDrains,
    NodeGone,
    PeerLost,
    Refused,
    RequestsDropped,
    RequestsWait,
    RevokeLease,
    WantToLeave,
    Welcome,
)
from distpool.protocol.inquiries import NodeTold, NotTold, StacksTold
from distpool.protocol.messages import GrantLease, RegisterNode, RequestLeases, ReturnLease
from distpool.protocol.records import Kept, LeaseForgotten, LeaseKept, NodeForgotten, NodeKept
from distpool.protocol.resources import OWN_WORKER, Claim
from distpool.protocol.standing import CallerFacts, HeldFacts, StatusTold
from distpool.roles.head import HeadRole

LIFE = 77


@pytest.fixture
def head():
    return HeadRole(Membership(Versions(1, "3.11", "0.1.0")), LIFE, now=10.0)


def greeting(life, python="3.11"):
    return Greeting(f"process {life}", life, 1, python, "0.1.0")


def offer(head, link, life, node, cpus=2, leases=()):
    """A node with workers for callers elsewhere joins; what the head says to that."""
    head.handle(link, greeting(life), 11.0)
    told(head)
    head.handle(
        link, RegisterNode(NodeId(node), cpus, 0, f"tcp://{node}:1", "key", [Claim(*lease) for lease in leases]), 11.0
    )
    return told(head)


def grant(head, link, life, wanted, now=12.0):
    """A driver that asks for leases: what it gets, as (lease, node)."""
    head.handle(link, greeting(life), now)
    head.handle(link, RequestLeases(GroupId(life), wanted), now)
    head.decide(now)
    return [(message.lease, message.node) for to, message in told(head) if isinstance(message, LeaseGranted)]


def states(head):
    head.handle("asker", AskStatus(), 20.0)
    ((_, status),) = told(head)
    return {node.node: node.state for node in status.nodes}


def restarted(head, now=100.0):
    """The head after this one, which has found all that was kept."""
    nodes, leases = {}, {}
    for record in head.records:
        match record:
            case NodeKept(node):
                nodes[node] = record
            case NodeForgotten(node):
                nodes.pop(node, None)
            case LeaseKept(lease):
                leases[lease] = record
            case LeaseForgotten(lease):
                leases.pop(lease, None)
    kept = Kept(LIFE + 1, list(nodes.values()), list(leases.values()))
    return HeadRole(Membership(Versions(1, "3.11", "0.1.0")), LIFE + 1, now, kept=kept)


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
    assert told(head) == [("a", Refused("whoever takes part has to greet first"))]
    assert nodes(head) == {}


def test_who_has_not_greeted_or_was_given_up_gets_no_lease(head):
    offer(head, "a", 1, "first")
    head.handle("b", RequestLeases(GroupId(2), 1), 12.0)
    head.decide(12.0)
    assert told(head) == [("b", Refused("whoever takes part has to greet first"))]
    assert len(grant(head, "b", 2, 1)) == 1


def test_leases_go_to_the_nodes_by_their_links(head):
    join(head, "a", 1, "first", cpus=1)
    join(head, "b", 2, "second", cpus=3)
    join(head, "c", 3)
    head.handle("c", RequestLeases(GroupId(5), 4), 12.0)
    head.decide(12.0)
    given = told(head)
    assert sorted(to for to, message in given if isinstance(message, GrantLease)) == ["a", "b", "b", "b"]
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
    join(head, "c", 3)
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


def test_what_is_asked_of_a_node_goes_there_and_its_answer_back(head):
    offer(head, "a", 1, "first")
    join(head, "c", 3)
    head.handle("c", AskStacks(NodeId("first"), 7), 12.0)
    head.handle("c", AskLog(NodeId("second"), 8), 12.0)
    ((to, asked), refused) = told(head)
    assert (to, asked) == ("a", AskStacks(NodeId("first"), asked.number))
    assert refused == ("c", NodeTold(8, NotTold("there is no node 'second'; there are: first")))
    head.handle("a", NodeTold(asked.number, StacksTold([])), 12.0)
    assert told(head) == [("c", NodeTold(7, StacksTold([])))]
    head.handle("c", AskStacks(NodeId("first"), 9), 12.0)
    told(head)
    head.handle("a", PeerLost(), 12.0)
    assert ("c", NodeTold(9, NotTold("node 'first' left, or was lost, before it answered"))) in told(head)


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
    there = [Claim(LeaseId(900), 3), Claim(LeaseId(901), 3)]
    head.handle("a", RegisterNode(NodeId("first"), 2, 0, "tcp://first:1", "key", there), 11.0)
    head.handle("c", greeting(3), 12.0)
    told(head)
    assert nodes(head) == {"first": (2, 2)}
    head.handle("c", RequestLeases(GroupId(5), 1), 12.0)
    head.decide(12.0)
    assert told(head) == [], "all CPUs are taken"
    head.handle("c", LeaveCluster(), 13.0)
    assert told(head) == [("a", RevokeLease(LeaseId(900))), ("a", RevokeLease(LeaseId(901)))]


# Nodes that are about to leave


def test_a_node_that_is_drained_gets_no_more_leases_and_those_who_have_some_are_told(head):
    offer(head, "a", 1, "first", cpus=2)
    grant(head, "c", 3, 1)
    offer(head, "b", 2, "second", cpus=2)
    head.handle("d", greeting(4), 13.0)
    told(head)
    drain = DrainNode(NodeId("first"), 30.0)
    head.handle("d", drain, 13.0)
    assert told(head) == [
        ("a", drain),
        ("c", NodeDrains(NodeId("first"))),
        ("d", DrainTold(NodeId("first"), 1)),
    ]
    assert states(head) == {"first": "draining", "second": "up"}
    assert [node for _, node in grant(head, "e", 5, 3)] == ["second", "second"]
    head.handle("f", greeting(6), 14.0)
    assert told(head)[0][1].cpus == 2, "a pool is as large as what it can get"


def test_a_node_can_drain_itself_once_it_is_there(head):
    offer(head, "b", 2, "second")
    head.handle("a", greeting(1), 11.0)
    head.handle("a", WantToLeave(1.0), 11.0)
    told(head)
    offer(head, "a", 1, "first")
    assert states(head) == {"second": "up", "first": "up"}
    head.handle("a", WantToLeave(1.0), 13.0)
    assert told(head) == [("a", DrainNode(NodeId("first"), 1.0))]
    assert states(head) == {"second": "up", "first": "draining"}


def test_to_drain_a_node_that_is_not_there_is_an_error_that_names_those_that_are(head):
    offer(head, "b", 2, "second")
    offer(head, "a", 1, "first")
    head.handle("d", greeting(4), 13.0)
    told(head)
    head.handle("d", DrainNode(NodeId("frist"), 0.0), 13.0)
    text = "there is no node 'frist'; there are: first, second"
    assert told(head) == [("d", DrainTold(NodeId("frist"), 0, text))]


def test_a_driver_that_greets_late_hears_of_what_drains_under_it(head):
    offer(head, "a", 1, "first", leases=[(first_lease(4), 3)])
    head.handle("a", WantToLeave(1.0), 13.0)
    told(head)
    head.handle("c", greeting(3), 14.0)
    assert [message for _, message in told(head)][1:] == [NodeDrains(NodeId("first"))]


def test_a_head_that_was_killed_before_the_node_heard_that_it_drains_says_so_once_more(head):
    offer(head, "a", 1, "first")
    head.handle("d", greeting(4), 13.0)
    head.handle("d", DrainNode(NodeId("first"), 30.0), 13.0)
    again = restarted(head)
    assert offer(again, "a", 1, "first") == [("a", DrainNode(NodeId("first"), 30.0))]
    assert states(again) == {"first": "draining"}
    other = restarted(head)
    assert offer(other, "a", 9, "first") == [], "another process of its name"
    assert states(other) == {"first": "up"}


# Requests that wait


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ([], "no node has joined; `distpool node` starts one"),
        ([1], "the cluster's only CPU is in use"),
        ([1, 2], "the cluster's 3 CPUs are in use"),
    ],
)
def test_who_waits_for_long_is_told_why_and_once(head, nodes, why):
    for number, cpus in enumerate(nodes):
        offer(head, f"node {number}", 10 + number, f"node-{number}", cpus)
    assert len(grant(head, "c", 3, 5)) == sum(nodes)
    wake_at = head.decide(13.9)
    assert (told(head), wake_at) == ([], 14.0)
    assert head.decide(14.0) is None
    assert told(head) == [("c", RequestsWait(GroupId(3), why))]
    head.decide(20.0)
    assert told(head) == []


def test_who_waits_while_all_nodes_leave_is_told_so(head):
    offer(head, "a", 1, "first")
    head.handle("a", WantToLeave(0.0), 12.0)
    grant(head, "c", 3, 1)
    head.decide(14.0)
    assert told(head) == [("c", RequestsWait(GroupId(3), "all nodes are being drained"))]


# Leases that nodes claim


def test_a_node_that_was_given_up_ends_the_leases_that_were_lost_with_it(head):
    offer(head, "a", 1, "first")
    (lease, _), (other, _) = grant(head, "c", 3, 2)
    head.handle("a", PeerLost(), 13.0)
    told(head)
    claims = [(lease, 3), (other, 3)]
    assert offer(head, "again", 1, "first", leases=claims) == [
        ("again", RevokeLease(lease)),
        ("again", RevokeLease(other)),
    ]
    assert nodes(head) == {"first": (2, 0)}
    head.handle("again", ReturnLease(lease), 14.0)
    assert nodes(head) == {"first": (2, 0)}, "it was not counted, and is not counted off"
    # The head after this one knows it too.
    assert [message for _, message in offer(restarted(head), "a", 1, "first", leases=claims)] == [
        RevokeLease(lease),
        RevokeLease(other),
    ]


def test_a_lease_is_on_one_node_whoever_else_claims_it(head):
    offer(head, "a", 1, "first", cpus=1)
    ((lease, _),) = grant(head, "c", 3, 1)
    assert offer(head, "b", 2, "second", leases=[(lease, 3)]) == [("b", RevokeLease(lease))]
    assert nodes(head) == {"first": (1, 1), "second": (2, 0)}
    again = restarted(head)
    assert offer(again, "b", 2, "second", leases=[(lease, 3)]) == [("b", RevokeLease(lease))], "first comes back"
    assert offer(again, "a", 1, "first", cpus=1, leases=[(lease, 3)]) == []
    assert nodes(again) == {"first": (1, 1), "second": (2, 0)}


def test_a_lease_that_was_returned_cannot_be_claimed_again(head):
    old = first_lease(4)
    offer(head, "a", 1, "first", leases=[(old, 3)])
    ((new, _),) = grant(head, "c", 3, 1)
    for lease in (old, new):
        head.handle("a", ReturnLease(lease), 13.0)
    assert nodes(head) == {"first": (2, 0)}
    assert offer(head, "a", 1, "first", leases=[(old, 3), (new, 3)]) == [
        ("a", RevokeLease(old)),
        ("a", RevokeLease(new)),
    ]


def test_a_node_keeps_no_more_leases_than_it_has_cpus(head):
    claims = [(LeaseId(first_lease(4) + number), 3) for number in range(5)]
    assert offer(head, "a", 1, "first", cpus=2, leases=claims) == [("a", RevokeLease(lease)) for lease, _ in claims[2:]]
    assert nodes(head) == {"first": (2, 2)}


# What the next head finds


def test_the_next_head_gives_no_lease_that_this_one_gave_and_knows_who_has_what(head):
    offer(head, "a", 1, "first")
    offer(head, "b", 2, "second")
    leases = dict(grant(head, "c", 3, 3))
    again = restarted(head)
    assert states(again) == {"first": "away", "second": "away"}
    again.handle("c", greeting(3), 101.0)
    assert told(again)[0][1].cpus == 4, "they are about to come back"
    for link, life, node in (("a", 1, "first"), ("b", 2, "second")):
        claims = [(lease, 3) for lease, where in leases.items() if where == node]
        assert offer(again, link, life, node, leases=claims) == []
    assert states(again) == {"first": "up", "second": "up"}
    ((new, _),) = grant(again, "c", 3, 5)
    assert new not in leases
    assert sum(count for _, count in nodes(again).values()) == 4


def test_a_lease_that_was_granted_and_not_taken_up_is_free_again_after_a_restart(head):
    offer(head, "a", 1, "first")
    grant(head, "c", 3, 2)
    again = restarted(head)
    offer(again, "a", 1, "first")
    assert nodes(again) == {"first": (2, 0)}
    assert restarted(again)._recovery.leases_on(NodeId("first")) == 0, "and is not kept"


def test_nodes_that_do_not_come_back_are_forgotten_after_a_while(head):
    offer(head, "a", 1, "first")
    again = restarted(head, now=100.0)
    assert again.decide(100.0) == 160.0
    again.decide(160.0)
    assert states(again) == {}
    assert again.records == [NodeForgotten(NodeId("first"))]


def test_a_node_that_has_left_is_not_waited_for(head):
    offer(head, "a", 1, "first")
    grant(head, "c", 3, 2)
    head.handle("a", LeaveCluster(), 13.0)
    assert states(restarted(head)) == {}
    assert restarted(head)._recovery.leases_on(NodeId("first")) == 0


def test_without_a_cluster_nothing_is_kept():
    head = HeadRole()
    head.handle("node", RegisterNode(NodeId("local"), 2), 1.0)
    head.handle("client", RequestLeases(GroupId(1), 3, OWN_WORKER), 1.0)
    head.decide(1.0)
    assert len(told(head)) == 3
    assert head.records == []
