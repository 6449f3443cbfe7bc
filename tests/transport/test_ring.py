"""The ring of results: against a list, and with a real second process that writes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import distpool
from distpool.transport.ring import PAGE, SMALL_BYTES, Ring, ring_size

LIMIT_S = 20.0
CAPACITY = PAGE
LARGEST = CAPACITY - 8


def room_for(payload: bytes) -> int:
    return 8 + -(-len(payload) // 8) * 8


class RingMachine(RuleBasedStateMachine):
    """A writer and a reader, each with its own mapping of the same memory, and between them a list."""

    def __init__(self) -> None:
        super().__init__()
        memory = os.memfd_create("ring")
        os.ftruncate(memory, 2 * ring_size(CAPACITY))
        # The second ring of the file, so that a neighbour would be seen to change.
        self.neighbour = Ring(memory, 0, CAPACITY)
        self.writer = Ring(memory, ring_size(CAPACITY), CAPACITY)
        self.reader = Ring(memory, ring_size(CAPACITY), CAPACITY)
        os.close(memory)
        self.records: list[tuple[int, bytes]] = []
        self.used = 0
        self.busy = 0
        self.waits = False

    def teardown(self) -> None:
        assert self.reader.read_all() == self.records
        assert not self.neighbour.has_records()
        for ring in (self.neighbour, self.writer, self.reader):
            ring.close()

    @rule(
        kind=st.integers(0, 2**32 - 1),
        size=st.one_of(
            st.integers(0, 40), st.integers(0, LARGEST), st.sampled_from([LARGEST - 1, LARGEST, LARGEST + 1])
        ),
        filling=st.integers(0, 255),
        busy=st.integers(0, 2**40),
    )
    def write(self, kind: int, size: int, filling: int, busy: int) -> None:
        payload = bytes((filling + position) % 256 for position in range(size))
        fits = self.used + room_for(payload) <= CAPACITY
        assert self.writer.write(kind, payload, self.busy + busy) is fits
        if fits:
            self.records.append((kind, payload))
            self.used += room_for(payload)
            self.busy += busy

    @rule(size=st.integers(0, 300))
    def write_until_full(self, size: int) -> None:
        payload = b"f" * size
        while self.writer.write(1, payload, self.busy):
            self.records.append((1, payload))
            self.used += room_for(payload)
        assert self.used + room_for(payload) > CAPACITY

    @rule(sizes=st.lists(st.integers(0, SMALL_BYTES), max_size=40), read_before=st.integers(0, 40))
    def write_small_ones(self, sizes: list[int], read_before: int) -> None:
        write = self.writer.small_writer()
        for number, size in enumerate(sizes):
            if number == read_before:
                self.read()
            payload = b"s" * size
            fits = self.used + room_for(payload) <= CAPACITY
            assert write(payload, self.busy + 1) is fits
            if not fits:
                return
            self.records.append((0, payload))
            self.used += room_for(payload)
            self.busy += 1

    @rule()
    def read(self) -> None:
        assert self.reader.read_all() == self.records
        self.records = []
        self.used = 0

    @rule()
    def ask_for_room(self) -> None:
        self.writer.wait_for_room()
        self.waits = True

    @rule()
    def answer(self) -> None:
        assert self.reader.take_wait() is self.waits
        self.waits = False

    @precondition(lambda self: not self.records)
    @rule()
    def give_to_a_new_worker(self) -> None:
        self.reader.clear()
        self.busy = 0
        self.waits = False

    @invariant()
    def both_ends_agree(self) -> None:
        for end in (self.writer, self.reader):
            assert end.has_records() is bool(self.records)
            assert end.is_half_full() is (self.used * 2 > CAPACITY)
            assert end.busy_ns() == self.busy


RingMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRing = RingMachine.TestCase


@pytest.fixture
def memory() -> Iterator[int]:
    memory = os.memfd_create("ring")
    os.ftruncate(memory, ring_size(CAPACITY))
    yield memory
    os.close(memory)


@pytest.mark.parametrize(("wanted", "pages"), [(1, 1), (PAGE, 1), (PAGE + 1, 2), (8 * PAGE, 8)])
def test_a_ring_takes_whole_pages_and_one_for_its_header(wanted, pages):
    assert ring_size(wanted) == (pages + 1) * PAGE


@pytest.mark.parametrize("shift", range(0, 64, 8))
def test_records_wrap_around_the_end_at_every_offset(memory, shift):
    ring = Ring(memory, 0, CAPACITY)
    payload = bytes(range(200))
    # So near to the end that the payload, or all of it, lies behind the wrap.
    assert ring.write(0, bytes(CAPACITY - 8 - shift - 8), 0)
    ring.read_all()
    assert ring.write(5, payload, 0)
    assert ring.write(6, b"next", 0)
    assert ring.read_all() == [(5, payload), (6, b"next")]
    ring.close()


# ---- two processes

WRITER = """
import os, sys, time
from distpool.transport.ring import Ring

memory, capacity, count = map(int, sys.argv[1:])
ring = Ring(memory, 0, capacity)
give_up_at = time.monotonic() + 20
for number in range(count):
    payload = number.to_bytes(4, "little") * (number * 7 % 120)
    while not ring.write(number, payload, number):
        ring.wait_for_room()
        os.sched_yield()
        if time.monotonic() > give_up_at:
            sys.exit("nobody reads")
"""


def start_writer(memory: int, count: int) -> subprocess.Popen:
    library = str(Path(distpool.__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(memory), str(CAPACITY), str(count)],
        pass_fds=[memory],
        env={**os.environ, "PYTHONPATH": library},
    )


def expected(number: int) -> tuple[int, bytes]:
    return number, number.to_bytes(4, "little") * (number * 7 % 120)


def read_while(ring: Ring, process: subprocess.Popen, enough: int) -> list[tuple[int, bytes]]:
    records: list[tuple[int, bytes]] = []
    give_up_at = time.monotonic() + LIMIT_S
    while len(records) < enough and time.monotonic() < give_up_at:
        ended = process.poll() is not None
        records += ring.read_all()
        if ended:
            break
    return records


def test_an_interrupt_means_one_call_and_is_heard_once(memory):
    writer, reader = Ring(memory, 0, CAPACITY), Ring(memory, 0, CAPACITY)
    assert writer.is_interrupted() is None
    assert reader.mark_interrupt()
    assert writer.is_interrupted()
    writer.hear_interrupt()
    assert not reader.mark_interrupt(), "nothing is sent again"
    assert writer.is_interrupted() is False, "the signal was sent twice before it was heard"
    writer.write(0, b"its result", 0)
    assert writer.is_interrupted() is False, "the signal came late: another call runs"
    reader.read_all()
    assert reader.mark_interrupt()
    assert writer.is_interrupted()
    writer.write(0, b"its result", 0)
    assert writer.is_interrupted() is False
    reader.let_interrupts()
    assert writer.is_interrupted() is None, "the worker is to end, whatever it runs"
    for ring in (writer, reader):
        ring.close()


def test_another_process_writes_while_this_one_reads(memory):
    count = 4_000
    ring = Ring(memory, 0, CAPACITY)
    with start_writer(memory, count) as writer:
        records = read_while(ring, writer, count)
        assert writer.wait(LIMIT_S) == 0
    assert records == [expected(number) for number in range(count)]
    assert ring.take_wait(), "so many records do not fit, so the writer must have waited"
    assert ring.busy_ns() == count - 1
    ring.close()


def test_a_writer_killed_at_any_moment_leaves_whole_records(memory):
    ring = Ring(memory, 0, CAPACITY)
    with start_writer(memory, 10_000_000) as writer:
        records = read_while(ring, writer, 5_000)
        writer.send_signal(signal.SIGKILL)
        writer.wait(LIMIT_S)
    records += ring.read_all()
    assert len(records) >= 5_000
    assert records == [expected(number) for number in range(len(records))]
    ring.close()
