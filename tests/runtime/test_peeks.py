"""When rings are looked into without being told, and what a worker sees of it."""

import os
import threading

import pytest

from distpool.config import SETTINGS
from distpool.ids import LeaseId
from distpool.runtime.peeks import Peeks
from distpool.transport.ring import Ring, ring_size

CAPACITY = 4096


class FakeLane:
    """A lane, as far as peeks know it."""

    def __init__(self, ring):
        self.ring = ring


@pytest.fixture
def ends():
    """The caller's and the worker's end of one ring."""
    memory = os.memfd_create("ring")
    os.ftruncate(memory, ring_size(CAPACITY))
    rings = [Ring(memory, 0, CAPACITY) for _ in range(2)]
    os.close(memory)
    yield rings
    for ring in rings:
        ring.close()


def peeks_of(ring):
    return Peeks(SETTINGS, {LeaseId(1): FakeLane(ring)})


def test_a_busy_worker_is_looked_at_once_after_a_silence(ends):
    peeks = peeks_of(ends[0])
    peeks.sent(LeaseId(1), 10.0)
    assert peeks.take_due(10.0 + SETTINGS.peek_after_s / 2) == []
    assert peeks.take_due(10.0 + SETTINGS.peek_after_s) == [1]
    assert peeks.take_due(20.0) == []


def test_what_is_heard_puts_the_look_off_and_an_empty_hand_ends_it(ends):
    peeks = peeks_of(ends[0])
    peeks.sent(LeaseId(1), 10.0)
    peeks.heard(LeaseId(1), 11.0, holds_calls=True)
    assert peeks.take_due(11.0) == []
    peeks.heard(LeaseId(1), 11.0, holds_calls=False)
    assert peeks.take_due(20.0) == []


def test_nothing_is_watched_when_nobody_is_busy(ends):
    assert peeks_of(ends[0]).watch([]) is False
    assert not ends[1].reader_looks()


def test_a_result_that_lies_there_is_found_and_due_now(ends):
    caller, worker = ends
    peeks = peeks_of(caller)
    peeks.sent(LeaseId(1), 10.0)
    worker.write(0, b"result", 0)
    assert peeks.watch([])
    assert peeks.take_due(10.0) == [1]
    caller.read_all()
    assert not peeks.withdraw()
    assert not worker.reader_looks(), "the watch is over"


def test_between_two_turns_a_worker_need_not_tell(ends):
    caller, worker = ends
    peeks = peeks_of(caller)
    peeks.sent(LeaseId(1), 10.0)
    peeks.look_out()
    assert worker.reader_looks()
    worker.write(0, b"result", 0)
    assert peeks.withdraw(), "whoever runs the next turn finds it"
    assert peeks.take_due(10.0) == [1]
    assert worker.reader_looks(), "and reads it at once: there is nothing to tell"
    caller.read_all()
    assert not peeks.withdraw()
    assert not worker.reader_looks()


def test_a_worker_without_a_result_is_to_tell_before_anybody_sleeps(ends):
    caller, worker = ends
    peeks = peeks_of(caller)
    peeks.sent(LeaseId(1), 10.0)
    peeks.look_out()
    assert not peeks.withdraw()
    assert not worker.reader_looks()
    assert peeks.take_due(10.0) == []


def test_many_busy_workers_always_tell():
    memory = os.memfd_create("rings")
    os.ftruncate(memory, 9 * ring_size(CAPACITY))
    rings = [Ring(memory, at * ring_size(CAPACITY), CAPACITY) for at in range(9)]
    os.close(memory)
    peeks = Peeks(SETTINGS, {LeaseId(at): FakeLane(ring) for at, ring in enumerate(rings)})
    for at in range(9):
        peeks.sent(LeaseId(at), 10.0)
    peeks.look_out()
    assert not any(ring.reader_looks() for ring in rings)
    peeks.forget(LeaseId(8))
    peeks.look_out()
    assert [ring.reader_looks() for ring in rings] == [True] * 8 + [False]
    for ring in rings:
        ring.close()


def test_nothing_is_seen_of_a_ring_whose_worker_is_forgotten(ends):
    caller, worker = ends
    peeks = peeks_of(caller)
    peeks.sent(LeaseId(1), 10.0)
    peeks.look_out()
    worker.write(0, b"result", 0)
    peeks.forget(LeaseId(1))
    assert not peeks.withdraw()
    assert peeks.take_due(20.0) == []


def test_a_worker_sees_that_it_is_watched(ends):
    caller, worker = ends
    peeks = peeks_of(caller)
    seen = threading.Event()

    def work():
        while not worker.reader_looks() and not seen.is_set():
            pass
        worker.write(0, b"result", 0)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(100_000):
            peeks.sent(LeaseId(1), 10.0)
            if peeks.watch([]):
                break
        else:
            pytest.fail("the worker never saw the watch")
    finally:
        seen.set()
        thread.join()
    assert peeks.take_due(10.0) == [1]


def test_a_watch_ends_when_something_is_posted(ends):
    peeks = peeks_of(ends[0])
    peeks.sent(LeaseId(1), 10.0)
    assert peeks.watch(["posted"]) is False


def test_watches_that_find_nothing_are_given_up_soon(ends):
    peeks = peeks_of(ends[0])
    peeks.sent(LeaseId(1), 10.0)
    for _ in range(20):
        peeks.watch([])
    assert peeks.spin.budget_s() == 0.0
