"""What a node tells a head that does not know it, or not any more."""

from distpool.ids import HEAD, LAUNCHER, GroupId, LeaseId, NodeId
from distpool.protocol.cluster import EndGroup, Rejoined, UseLease, Welcome
from distpool.protocol.messages import Death, GrantLease, RegisterNode, ReturnLease, WorkerExited
from distpool.roles.node import NodeRole

GROUP = GroupId(5)
LIFE = 33


def said_to_head(node):
    messages = [message for to, message in node.outbox.messages if to == HEAD]
    node.outbox.messages.clear()
    return messages


def registered(*leases):
    return RegisterNode(NodeId("first"), 2, 0, "tcp://first:1", "key", [(LeaseId(lease), LIFE) for lease in leases])


def test_each_new_link_to_a_head_begins_with_what_the_node_has():
    node = NodeRole(NodeId("first"), 2, 0, "tcp://first:1", "key")
    assert said_to_head(node) == [registered()]
    node.handle(HEAD, Welcome(1), 1.0)
    assert said_to_head(node) == []
    for lease in (1, 2, 3):
        node.handle(HEAD, GrantLease(LeaseId(lease), GROUP, LIFE), 2.0)
    for lease in (1, 2, 4):
        node.handle("client", UseLease(LeaseId(lease), GROUP, LIFE), 2.0)
    node.handle(LAUNCHER, WorkerExited(LeaseId(1), GROUP, Death(7, 0)), 3.0)
    assert said_to_head(node) == [ReturnLease(LeaseId(1))]
    # Only 2 has a worker: 3 was placed by the head before, and 4 may yet be granted.
    node.handle(HEAD, Rejoined({}), 4.0)
    assert said_to_head(node) == [registered(2)]
    node.handle("client", UseLease(LeaseId(3), GROUP, LIFE), 5.0)
    assert [to for to, _ in node.outbox.messages] == [], "what an earlier head has granted is no grant"


def test_a_lease_that_was_asked_for_before_its_group_ended_gets_no_worker_after_that():
    node = NodeRole(NodeId("first"), 2, 0, "tcp://first:1", "key")
    node.handle("client", UseLease(LeaseId(1), GROUP, LIFE), 2.0)
    node.handle("client", EndGroup(GROUP), 2.5)
    node.outbox.messages.clear()
    node.handle(HEAD, GrantLease(LeaseId(1), GROUP, LIFE), 3.0)
    assert list(node.outbox.messages) == []
