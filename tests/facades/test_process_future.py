"""The process pool's futures set up what the standard class does, by themselves."""

import concurrent.futures
import threading

import pytest

from distpool.process_future import Future


def test_a_future_has_what_a_standard_one_has():
    ours, standard = vars(Future()), vars(concurrent.futures.Future())
    assert ours.keys() - {"_workers", "_breaks"} == standard.keys()
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


def test_waiting_without_the_lock_is_an_error_as_with_the_standard_condition():
    for condition in (Future()._condition, threading.Condition()):
        with pytest.raises(RuntimeError, match="cannot notify on un-acquired lock"):
            condition.notify_all()
