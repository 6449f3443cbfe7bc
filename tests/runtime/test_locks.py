"""Conditions and events whose lock is taken in C."""

import signal
import threading
import time
import types

import pytest

from distpool.runtime.locks import Condition, Event, Wakeup


def test_no_function_of_python_runs_between_the_lock_and_the_block():
    for name in ("__enter__", "__exit__"):
        assert isinstance(getattr(threading.Condition, name), types.FunctionType)
        assert not isinstance(getattr(Condition, name), types.FunctionType)


@pytest.mark.parametrize("make", [threading.Condition, Condition])
def test_a_condition_wakes_who_waits(make):
    condition, values = make(), []

    def take():
        with condition:
            condition.wait_for(lambda: values, 10)
            taken.append(values.pop())

    taken = []
    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for value in range(3):
        with condition, condition:  # it may be taken twice
            values.append(value)
            condition.notify()
    for thread in threads:
        thread.join(10)
    assert sorted(taken) == [0, 1, 2]
    assert condition.acquire(blocking=False)
    condition.release()


@pytest.mark.parametrize("make", [threading.Condition, Condition])
def test_a_condition_gives_up_in_time_and_refuses_who_has_not_its_lock(make):
    condition = make()
    with condition:
        assert not condition.wait(0.01)
    for call in (condition.wait, condition.notify):
        with pytest.raises(RuntimeError, match="un-acquired lock"):
            call()


@pytest.mark.parametrize("make", [threading.Condition, Condition])
def test_a_time_that_no_clock_has_is_refused_and_nobody_is_left_waiting(make):
    condition = make()
    with condition:
        with pytest.raises(OverflowError):
            condition.wait(1e20)
        assert not condition._waiters


@pytest.mark.parametrize("make", [threading.Event, Event])
def test_an_event_stays_set_until_it_is_cleared(make):
    event = make()
    assert not event.wait(0.01)
    threading.Timer(0.02, event.set).start()
    assert event.wait(10)
    assert event.wait(0)
    event.clear()
    assert not event.is_set()


def test_a_wakeup_is_clear_again_when_it_was_waited_for():
    wakeup = Wakeup()
    assert not wakeup.wait(0.01)
    wakeup.set()
    wakeup.set()
    assert wakeup.wait(0)
    assert not wakeup.wait(0)
    wakeup.set()
    wakeup.clear()
    assert not wakeup.wait(0)
    threading.Timer(0.02, wakeup.set).start()
    assert wakeup.wait()


@pytest.mark.parametrize("kind", [Condition, Event])
def test_an_interrupt_leaves_no_lock_held(kind):
    """With the standard classes this fails within a second: a handler that raises runs after each call."""

    class Interrupt(Exception):
        pass

    def interrupt(signum, frame):
        while frame is not None:
            if frame.f_code is use_it.__code__:
                raise Interrupt  # nowhere else: not where it is caught, and not in the test's own end
            frame = frame.f_back

    subject = kind()
    lock = subject if kind is Condition else subject._cond
    ends_at = time.monotonic() + 1.0

    def use_it():
        while time.monotonic() < ends_at:
            if kind is Event:
                subject.set()
            else:
                with subject:
                    subject.notify_all()

    interrupts = 0
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        while time.monotonic() < ends_at:
            try:
                use_it()
            except Interrupt:
                interrupts += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupts > 100
    taken = []
    other = threading.Thread(target=lambda: taken.append(lock.acquire(timeout=5) and lock.release() is None))
    other.start()
    other.join(10)
    assert taken == [True]
