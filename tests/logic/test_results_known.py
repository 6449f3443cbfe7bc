"""What is to follow the results that a worker has written, by the place in its ring up to which they are known."""

from distpool.ids import LeaseId
from distpool.logic.results_known import ResultsKnown

LEASE = LeaseId(1)


def test_what_follows_results_is_done_when_the_ring_is_read_up_to_them():
    known, done = ResultsKnown(), []
    known.started(LEASE)
    known.follow(LEASE, 0, lambda: done.append("none"))
    known.follow(LEASE, 16, lambda: done.append("first"))
    known.follow(LEASE, 48, lambda: done.append("second"))
    assert done == ["none"]

    known.read(LEASE, 32)
    assert done == ["none", "first"]
    known.follow(LEASE, 32, lambda: done.append("known"))
    assert done == ["none", "first", "known"]
    known.read(LEASE, 48)
    assert done == ["none", "first", "known", "second"]


def test_after_the_end_of_the_worker_nothing_is_waited_for():
    known, done = ResultsKnown(), []
    known.started(LEASE)
    known.follow(LEASE, 16, lambda: done.append("first"))
    known.lost(LEASE)
    known.follow(LEASE, 16, lambda: done.append("second"))

    assert done == ["first", "second"]
