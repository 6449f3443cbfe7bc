"""Which leases a node may claim, and what a head knows of those that have not come back."""

from distpool.ids import LeaseId, NodeId
from distpool.logic.recovery import Recovery, epoch_of, first_lease
from distpool.protocol.records import Kept, LeaseForgotten, LeaseKept, NodeForgotten, NodeKept

FIRST, SECOND = NodeId("first"), NodeId("second")
OLD = first_lease(4)
NEW = first_lease(5)


def recovery(*leases, nodes=()):
    return Recovery(Kept(5, list(nodes), list(leases)), away_until=60.0)


def test_the_leases_of_two_lives_of_a_head_differ():
    assert epoch_of(first_lease(4)) == 4
    assert epoch_of(LeaseId(first_lease(4) + 100_000)) == 4
    assert epoch_of(first_lease(2**20 + 3)) == 3


def test_a_lease_of_this_head_that_is_placed_nowhere_is_over():
    assert not recovery().is_at(NEW, 7, FIRST)


def test_a_lease_of_an_earlier_head_is_where_it_was_kept_and_for_whom():
    known = recovery(LeaseKept(OLD, FIRST, 7))
    assert known.is_at(OLD, 7, FIRST)
    assert not known.is_at(OLD, 7, SECOND)
    assert not known.is_at(OLD, 8, FIRST)


def test_a_lease_of_which_nothing_is_kept_is_believed_to_its_node():
    assert recovery().is_at(OLD, 7, FIRST)


def test_a_lease_that_was_lost_or_is_over_is_not_believed_to_anybody():
    known = recovery(LeaseKept(OLD, FIRST, 7, is_lost=True), LeaseKept(LeaseId(OLD + 1), FIRST, 7))
    assert not known.is_at(OLD, 7, FIRST)
    assert known.end(LeaseId(OLD + 1)) == [LeaseForgotten(LeaseId(OLD + 1))]
    assert not known.is_at(LeaseId(OLD + 1), 7, FIRST)
    lost = LeaseId(OLD + 2)
    assert known.lose(lost, SECOND, 8) == [LeaseKept(lost, SECOND, 8, is_lost=True)]
    assert not known.is_at(lost, 8, SECOND)


def test_what_a_node_does_not_claim_when_it_comes_back_is_over():
    nodes = [NodeKept(FIRST, 1, 2, 100), NodeKept(SECOND, 2, 4, 100)]
    known = recovery(LeaseKept(OLD, FIRST, 7), LeaseKept(LeaseId(OLD + 1), FIRST, 7), nodes=nodes)
    assert (known.cpus(), known.leases_on(FIRST)) == (6, 2)
    assert known.came_back(FIRST, [OLD]) == [LeaseForgotten(LeaseId(OLD + 1))]
    assert (known.cpus(), known.leases_on(FIRST), list(known.away)) == (4, 0, [SECOND])


def test_nodes_that_do_not_come_back_are_forgotten_with_their_leases():
    known = recovery(LeaseKept(OLD, SECOND, 7), nodes=[NodeKept(FIRST, 1, 2, 100), NodeKept(SECOND, 2, 4, 100)])
    assert known.forget_away() == [NodeForgotten(FIRST), NodeForgotten(SECOND), LeaseForgotten(OLD)]
    assert known.cpus() == 0


def test_of_those_that_are_over_the_oldest_are_forgotten_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr("distpool.logic.recovery._OVER_LIMIT", 2)
    known = recovery()
    for number in range(3):
        records = known.lose(LeaseId(OLD + number), FIRST, 7)
    assert records == [LeaseKept(LeaseId(OLD + 2), FIRST, 7, is_lost=True), LeaseForgotten(OLD)]
    assert known.is_at(OLD, 7, FIRST)
