"""What a head grants of GPUs and other resources, refuses and takes back, and learns from nodes that come back."""

import pytest

from distpool.ids import GroupId, LeaseId, NodeId
from distpool.logic.membership import Membership, Versions
from distpool.logic.recovery import first_lease
from distpool.protocol.cluster import AskStatus, Greeting, LeaseGranted, PeerLost, RequestsWait, RevokeLease
from distpool.protocol.devices import Device
from distpool.protocol.messages import GrantLease, RegisterNode, RequestLeases, ReturnLease
from distpool.protocol.placing import LeaseWaits, RequestsRefused
from distpool.protocol.records import Kept, NodeKept
from distpool.protocol.resources import UNIT, Claim, Shape
from distpool.roles.head import HeadRole

GPU = Shape(gpus=UNIT)
HALF = Shape(cpus=0, gpus=UNIT // 2)
DEVICES = tuple(Device(f"gpu-{at}", "pretend", 2**34) for at in range(2))


@pytest.fixture
def head():
    return HeadRole(Membership(Versions(1, "3.11", "0.1.0")), 77, now=10.0)


def told(head):
    messages = list(head.outbox.messages)
    head.outbox.messages.clear()
    return messages


def join(head, link, life):
    head.handle(link, Greeting(f"process {life}", life, 1, "3.11", "0.1.0"), 11.0)
    told(head)


def offer(head, link, life, node, cpus=2, devices=(), claims=()):
    join(head, link, life)
    about = RegisterNode(NodeId(node), cpus, 0, f"tcp://{node}:1", "key", list(claims), devices=devices)
    head.handle(link, about, 11.0)
    return told(head)


def ask(head, link, wanted, shape, now=12.0):
    head.handle(link, RequestLeases(GroupId(5), wanted, shape), now)
    head.decide(now)
    return told(head)


def granted(messages):
    """(lease, devices) of what nodes were told."""
    return [(message.lease, message.devices) for _, message in messages if isinstance(message, GrantLease)]


def test_a_node_is_told_which_devices_a_lease_has_and_gets_them_back_with_it(head):
    offer(head, "a", 1, "first", devices=DEVICES)
    join(head, "c", 3)
    messages = ask(head, "c", 3, GPU)
    (one, first), (other, second) = granted(messages)
    assert sorted([first, second]) == [(0,), (1,)]
    assert {message.shape for _, message in messages if isinstance(message, GrantLease)} == {GPU}
    assert sum(isinstance(message, LeaseGranted) for _, message in messages) == 2
    head.handle("a", ReturnLease(one), 13.0)
    head.decide(13.0)
    assert [devices for _, devices in granted(told(head))] == [first]
    assert other in head.leasing.callers


def test_what_no_node_has_is_refused_with_a_table_and_what_one_may_have_waits(head):
    join(head, "c", 3)
    assert ask(head, "c", 1, GPU) == [], "no node has joined: one with a GPU may"
    offer(head, "a", 1, "first", devices=DEVICES)
    assert len(granted(ask(head, "c", 1, GPU))) == 2
    ((to, refused),) = ask(head, "c", 4, Shape(gpus=3 * UNIT))
    assert (to, type(refused), refused.group, refused.count) == ("c", RequestsRefused, 5, 4)
    assert refused.text.splitlines()[0].startswith("no node can ever have what one worker needs, 1 CPU, 3 GPUs")
    assert [line.split() for line in refused.text.splitlines()[2:]] == [
        ["needed", "1", "3"],
        ["node", "first", "2", "2"],
    ]
    assert list(head.leasing.waiting) == []


def test_a_node_that_is_away_may_come_back_with_what_is_asked_for(head):
    kept = Kept(78, [NodeKept(NodeId("first"), 1, 2, 0, devices=DEVICES)])
    again = HeadRole(Membership(Versions(1, "3.11", "0.1.0")), 78, 100.0, kept=kept)
    offer(again, "b", 2, "second")
    join(again, "c", 3)
    assert ask(again, "c", 1, GPU) == []
    assert len(granted([*offer(again, "a", 1, "first", devices=DEVICES), *ask(again, "c", 0, GPU)])) == 1
    ((_, refused),) = ask(again, "c", 1, Shape(gpus=4 * UNIT))
    assert [line.split()[:2] for line in refused.text.splitlines()[3:]] == [["node", "first"], ["node", "second"]]


def test_a_node_that_was_lost_may_come_back_with_what_is_asked_for(head):
    offer(head, "a", 1, "first", devices=DEVICES)
    offer(head, "b", 2, "second")
    join(head, "c", 3)
    ((lease, _),) = granted(ask(head, "c", 1, GPU))
    head.handle("a", PeerLost(), 13.0)
    told(head)
    assert ask(head, "c", 1, GPU, 13.0) == [], "a pool that has lost its worker waits for another"
    assert len(granted([*offer(head, "again", 1, "first", devices=DEVICES), *ask(head, "c", 0, GPU)])) == 1
    assert lease not in head.leasing.callers


@pytest.mark.parametrize("shape", [Shape(cpus=-1), Shape(gpus=15_000), Shape(custom=(("tpu", -1),))])
def test_a_shape_that_makes_no_sense_is_refused(head, shape):
    offer(head, "a", 1, "first", devices=DEVICES)
    join(head, "c", 3)
    ((to, refused),) = ask(head, "c", 1, shape)
    assert (to, type(refused)) == ("c", RequestsRefused)


def test_who_waits_is_told_what_is_missing_where(head):
    offer(head, "a", 1, "first", devices=DEVICES)
    join(head, "c", 3)
    ask(head, "c", 3, HALF)
    ask(head, "c", 1, Shape(gpus=2 * UNIT), 12.0)
    head.decide(14.0)
    ((_, waits),) = [pair for pair in told(head) if isinstance(pair[1], RequestsWait)]
    assert waits.why == "needs 2 GPUs on one node; largest free: 0.5 GPUs on first"
    head.handle("asker", AskStatus(), 20.0)
    ((_, status),) = told(head)
    (pending,) = status.pending
    assert (pending.caller, pending.wanted, pending.shape) == ("process 3", 1, "1 CPU, 2 GPUs")
    assert (pending.waits_s, pending.why) == (8.0, waits.why)
    (node,) = status.nodes
    assert (node.gpus, node.free_gpus, node.free_cpus) == (2 * UNIT, 5_000, 2 * UNIT)


def test_the_cpus_of_a_lease_that_waits_go_to_another_and_its_node_knows_it_waits(head):
    offer(head, "a", 1, "first", cpus=1)
    for link, life in (("c", 3), ("d", 4)):
        join(head, link, life)
    ((lease, _),) = granted(ask(head, "c", 1, Shape()))
    assert granted(ask(head, "d", 1, Shape())) == []
    head.handle("d", LeaseWaits(lease, True), 13.0)
    head.decide(13.0)
    assert told(head) == [], "it is not its caller"
    head.handle("c", LeaseWaits(lease, True), 13.0)
    head.decide(13.0)
    messages = told(head)
    assert messages[0] == ("a", LeaseWaits(lease, True))
    ((other, _),) = granted(messages)
    head.handle("c", LeaseWaits(lease, False), 14.0)
    assert granted(ask(head, "c", 1, Shape(), 14.0)) == []
    head.handle("a", ReturnLease(other), 15.0)
    head.decide(15.0)
    assert granted(told(head)) == [], "the CPU is its own again"


def test_claims_come_back_with_their_devices_and_none_is_given_twice(head):
    leases = [LeaseId(first_lease(4) + number) for number in range(4)]
    claims = [
        Claim(leases[0], 3, GPU, (1,)),
        Claim(leases[1], 3, HALF, (1,)),  # it is another's
        Claim(leases[2], 3, HALF, (0,)),
        Claim(leases[3], 3, Shape(cpus=2 * UNIT), (), waits=True),
    ]
    assert offer(head, "a", 1, "first", devices=DEVICES, claims=claims) == [("a", RevokeLease(leases[1]))]
    join(head, "c", 3)
    assert granted(ask(head, "c", 1, GPU)) == []
    ((_, devices),) = granted(ask(head, "c", 1, HALF))
    assert devices == (0,)
    head.handle("c", PeerLost(), 13.0)
    assert sum(isinstance(message, RevokeLease) for _, message in told(head)) == 4
