"""A worker's handler of interrupts: where one ends a call, where it waits for the next, and where it does nothing."""

import signal
from types import SimpleNamespace

import pytest

from distpool.ids import INLINE_FUNCTION
from distpool.protocol.messages import CallMode, Slice
from distpool.runtime.worker import Worker


class PretendedRing:
    """`meant`: see `Ring.is_interrupted`."""

    def __init__(self, meant):
        self.meant = meant
        self.is_heard = False

    def is_interrupted(self):
        return self.meant

    def hear_interrupt(self):
        self.is_heard = True


@pytest.fixture
def worker():
    made = Worker.__new__(Worker)
    made._ring, made._in_call, made._is_copy = PretendedRing(True), True, False
    return made


def frame_of(file):
    return SimpleNamespace(f_code=SimpleNamespace(co_filename=file))


def test_one_that_python_would_ignore_is_left_for_the_next(worker):
    worker._on_interrupt(signal.SIGINT, frame_of("<frozen importlib._bootstrap>"))
    assert not worker._ring.is_heard
    with pytest.raises(KeyboardInterrupt):
        worker._on_interrupt(signal.SIGINT, frame_of("user.py"))
    assert worker._ring.is_heard


@pytest.mark.parametrize(("meant", "in_call"), [(False, True), (True, False), (None, False)])
def test_one_that_means_another_call_or_comes_in_none_does_nothing(worker, meant, in_call):
    worker._ring.meant, worker._in_call = meant, in_call
    worker._on_interrupt(signal.SIGINT, frame_of("user.py"))
    assert not worker._ring.is_heard


def test_none_is_raised_once_a_call_has_failed(worker):
    """Out of the handler of its failure it would end the worker."""
    in_call = []
    worker.failed = lambda error: in_call.append(worker._in_call)
    worker.load_arguments = dict.popitem
    worker._run_call(Slice(INLINE_FUNCTION, CallMode.CALL, 1, False, b""), {})
    assert in_call == [False]
