"""When a worker says that results are there: not when the caller has read them already."""

import contextlib
import os
import pickle
import threading
import time

import pytest

from distpool.ids import INLINE_FUNCTION, StoreId
from distpool.objects.stores import Attached
from distpool.protocol.messages import CallMode, CallsFinished, ExitWorker, RunCalls, Slice
from distpool.runtime.worker import Worker
from distpool.runtime.worker_setup import WorkerSetup
from distpool.transport import lanes
from distpool.transport.lanes import Lane, make_tokens
from distpool.transport.pairs import socket_pair
from distpool.transport.ring import Ring, ring_size

from .programs import until

RING_BYTES = 16 * 1024
LIMIT_S = 10.0
CALLS = 20


class ReadAtOnce(Ring):
    """The worker's end of a ring whose reader takes each result in the moment in which it is written."""

    taken = ()

    def write(self, kind, payload, busy_ns):
        is_written = super().write(kind, payload, busy_ns)
        self.taken = (*self.taken, *self.read_all())
        return is_written


@contextlib.contextmanager
def working(kind):
    """The caller's lane to a worker that runs in a thread, and the worker's ring."""
    memory = os.memfd_create("ring")
    os.ftruncate(memory, ring_size(RING_BYTES))
    rings = Ring(memory, 0, RING_BYTES), kind(memory, 0, RING_BYTES)
    os.close(memory)
    ours, theirs = socket_pair()
    tokens = make_tokens()
    lane = Lane(ours, tokens, rings[0], bytes)
    worker = Worker(
        theirs, os.dup(tokens), rings[1], WorkerSetup(None, ()), Attached(StoreId(1), -1, theirs, os.getpid())
    )
    thread = threading.Thread(target=worker.serve)
    thread.start()
    try:
        yield lane, rings[1]
    finally:
        lane.send(ExitWorker())
        thread.join(LIMIT_S)
        lane.close()
        theirs.close()
        os.close(worker._tokens)
        rings[1].close()


@pytest.fixture
def told(monkeypatch):
    """The messages of that kind that have come."""
    messages = []
    decode = lanes.decode_lane

    def noting(frame):
        message = decode(frame)
        if isinstance(message, CallsFinished):
            messages.append(message)
        return message

    monkeypatch.setattr(lanes, "decode_lane", noting)
    return messages


def call(number):
    return RunCalls([Slice(INLINE_FUNCTION, CallMode.CALL, 1, False, pickle.dumps((abs, (-number,), {})))], [])


def test_a_worker_does_not_tell_of_a_result_that_was_read_in_the_moment_it_was_written(told):
    with working(ReadAtOnce) as (lane, ring):
        for number in range(CALLS):
            lane.send(call(number))
            assert until(lambda so_far=number + 1: len(ring.taken) == so_far, LIMIT_S)
            time.sleep(0.002)  # it has nothing more to do, and would tell now
        assert lane.receive() == []
    assert [pickle.loads(payload) for _, payload in ring.taken] == list(range(CALLS))
    assert told == []


def test_a_worker_tells_once_of_a_result_that_nobody_has_read(told):
    with working(Ring) as (lane, _):
        for number in range(CALLS):
            lane.send(call(number))
            done = []
            assert until(lambda to=done: to.extend(lane.receive()) or to, LIMIT_S)
            assert [pickle.loads(payload) for _, payload in done[0].outcomes] == [number]
    assert len(told) == CALLS
