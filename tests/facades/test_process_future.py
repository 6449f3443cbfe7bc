"""The process pool's futures set up what the standard class does, by themselves."""

import concurrent.futures
import threading
from concurrent.futures import CancelledError

import pytest

from distpool.process_future import Future
from distpool.protocol.messages import OutcomeKind


def test_a_future_has_what_a_standard_one_has():
    ours, standard = vars(Future()), vars(concurrent.futures.Future())
    assert ours.keys() - {"_workers"} == standard.keys()
    for name in standard.keys() - {"_condition"}:
        assert ours[name] == standard[name]
    assert isinstance(ours["_condition"], threading.Condition)


def test_a_waiting_thread_is_told():
    future = Future()
    got = []
    thread = threading.Thread(target=lambda: got.append(concurrent.futures.Future.result(future, 10)))
    thread.start()
    future.set_result(5)
    thread.join(10)
    assert got == [5]


def test_request_queue_without_the_lock_is_an_error_as_with_the_standard_condition():
    for condition in (Future()._condition, threading.Condition()):
        with pytest.raises(RuntimeError, match="cannot notify on un-acquired lock"):
            condition.notify_all()


def test_a_future_that_is_cancelled_when_it_runs_ends_all_the_same():
    future = Future()
    assert future.begin()
    future.deliver(0, [(OutcomeKind.CANCELLED, b"")])
    with pytest.raises(CancelledError):
        future.result(0)
