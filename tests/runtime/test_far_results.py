"""What workers on nodes say is heard in order, and results not before they are here."""

from types import SimpleNamespace

import msgspec
import pytest

from distpool.ids import GroupId, LeaseId, NodeId, ObjectId
from distpool.logic.calls import Bundle, CallOptions, Span
from distpool.logic.leases import Lease
from distpool.objects.results import StoredValue
from distpool.protocol.messages import CallsDone, Death, GroupGone, LeaseLost, OutcomeKind, TakenBack
from distpool.protocol.objects import ReleaseObjects
from distpool.protocol.store import StoredResult
from distpool.runtime.far_results import FarResults

LEASE, OTHER = LeaseId(1), LeaseId(2)
NODE, ELSEWHERE = NodeId("a"), NodeId("b")
GROUP = GroupId(9)
LOST = LeaseLost(LEASE, GROUP, Death(0, -9))


class Copy:
    def __init__(self, object_id):
        self.key = (7, object_id)
        self.failure = ""


class Objects:
    """Objects come when the test says so."""

    def __init__(self):
        self.awaited = {}
        self.values = SimpleNamespace(leave=lambda node, result, made, named, lineage: ("stays", node, result.made))

    def knows(self, node):
        return True

    def made_on(self, node, objects):
        return [("named", node, object_id) for object_id in objects]

    def keep(self, keys):
        return [("kept", key) for key in keys]

    def fetch(self, node, objects, then, now):
        self.awaited.update(dict.fromkeys(objects, then))
        return []

    def come(self, object_id, failure=""):
        copy = Copy(object_id)
        copy.failure = failure
        self.awaited.pop(object_id)(copy)


@pytest.fixture
def objects():
    return Objects()


@pytest.fixture
def said():
    return []


@pytest.fixture
def results(objects, said):
    return FarResults(objects, lambda node, message: said.append((node, message)))


def done(*made, named=(), foreign=()):
    """Calls that ended: the first with a plain result, then one with such objects."""
    told = msgspec.msgpack.encode(StoredResult(b"pickled", list(made), list(named), list(foreign)))
    return CallsDone([(OutcomeKind.VALUE, b"plain"), (OutcomeKind.STORED, told)], 0.5, False)


def test_what_has_no_objects_is_heard_at_once(results):
    plain = CallsDone([(OutcomeKind.VALUE, b"plain")], 0.5, False)
    results.said(LEASE, NODE, plain, 0.0)
    results.said(LEASE, None, LOST, 0.0)
    assert list(results.heard()) == [(LEASE, plain), (None, LOST)]


def test_a_result_waits_for_its_objects_and_what_follows_waits_for_it(results, objects, said):
    results.said(LEASE, NODE, done(ObjectId(1), ObjectId(2)), 0.0)
    results.said(LEASE, NODE, TakenBack(3), 0.0)
    results.said(LEASE, None, LOST, 0.0)
    results.said(OTHER, NODE, TakenBack(1), 0.0)
    results.group_gone(GroupGone(GROUP))
    assert list(results.heard()) == [(OTHER, TakenBack(1))]
    objects.come(ObjectId(2))
    assert list(results.heard()) == []
    assert said == []
    objects.come(ObjectId(1))
    (first, ended), *rest = results.heard()
    assert first == LEASE
    assert [kind for kind, _ in ended.outcomes] == [OutcomeKind.VALUE, OutcomeKind.STORED]
    assert isinstance(ended.outcomes[1][1], StoredValue)
    assert rest == [(LEASE, TakenBack(3)), (None, LOST), (None, GroupGone(GROUP))]
    assert said == [(NODE, ReleaseObjects([(ObjectId(1), 1), (ObjectId(2), 1)]))], "the node need not keep them"


def test_a_result_that_only_names_objects_does_not_wait(results):
    results.said(LEASE, NODE, done(named=[ObjectId(4)], foreign=[(8, 5)]), 0.0)
    ((_, ended),) = results.heard()
    assert ended.outcomes[1][1].holds == [("named", NODE, 4), ("kept", (8, 5))]


def test_a_result_that_does_not_come_is_an_error_of_its_call(results, objects):
    results.said(LEASE, NODE, done(ObjectId(1)), 0.0)
    objects.come(ObjectId(1), "no room")
    ((_, ended),) = results.heard()
    kind, payload = ended.outcomes[1]
    assert kind == OutcomeKind.ERROR
    assert b"the result of a call on node a did not come: no room" in payload


class Lineage:
    """Of a call with so many retries left."""

    def __init__(self, retries):
        self.retries = retries
        self.values = []

    def retries_after(self, sink, retries_left):
        return min(self.retries, retries_left)

    def size(self):
        return 10

    def objects(self):
        return [(("store", 1), 5)]

    def is_remembered(self, node, forget):
        assert node == NODE
        self.forget = forget

    def stays(self, value, retries_left):
        self.values.append((value, retries_left))


def lease_of(*sinks):
    """A group whose worker has these calls, of two retries."""
    lease = Lease(LEASE, None)
    lease.holding.add([Span(Bundle(1, 0, [b""], sink, options=CallOptions(retries=2)), 0, 1) for sink in sinks])
    return SimpleNamespace(leases={LEASE: lease})


def test_a_result_whose_call_may_run_again_and_is_remembered_stays(objects, said):
    results = FarResults(objects, lambda node, message: said.append((node, message)), 20)
    lineages = [Lineage(2), Lineage(0), Lineage(2)]
    sinks = [SimpleNamespace(lineage=lineage) for lineage in lineages]
    group = lease_of(SimpleNamespace(), sinks[0], SimpleNamespace(), sinks[1], SimpleNamespace(), sinks[2])
    results.group_of = lambda lease: group
    results.said(LEASE, NODE, done(ObjectId(1)), 0.0)
    ((_, message),) = results.heard()
    value, retries_left = lineages[0].values[0]
    assert message.outcomes[1] == (OutcomeKind.STORED, value)
    assert (retries_left, results.remembered.bytes, objects.awaited) == (2, 15, {})
    results.said(LEASE, NODE, done(ObjectId(2)), 0.0)
    assert list(results.heard()) == [], "it may not run again: it is brought"
    results.said(LEASE, NODE, done(ObjectId(3)), 0.0)
    assert set(objects.awaited) == {2, 3}, "there is no room to remember this one too"
    lineages[0].forget(id(lineages[0]))
    assert results.remembered.bytes == 0


def test_what_a_lost_node_had_not_sent_is_lost_with_it(results, objects):
    results.said(LEASE, NODE, done(ObjectId(1)), 0.0)
    results.said(LEASE, NODE, TakenBack(3), 0.0)
    results.said(OTHER, ELSEWHERE, done(ObjectId(2)), 0.0)
    results.node_gone(NODE)
    results.said(LEASE, None, LOST, 0.0)
    assert list(results.heard()) == [(None, LOST)]
    objects.come(ObjectId(1), "its process is lost")
    assert list(results.heard()) == []
    objects.come(ObjectId(2))
    assert [lease for lease, _ in results.heard()] == [OTHER]


def test_a_group_that_is_terminated_does_not_wait_for_results(results, objects):
    results.said(LEASE, NODE, done(ObjectId(1)), 0.0)
    results.said(LEASE, None, LOST, 0.0)
    results.said(OTHER, NODE, done(ObjectId(2)), 0.0)
    results.group_ended(GROUP, [OTHER])
    results.group_gone(GroupGone(GROUP))
    assert list(results.heard()) == [(None, LOST), (None, GroupGone(GROUP))]
