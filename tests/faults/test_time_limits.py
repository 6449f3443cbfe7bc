"""Calls that never end: cancelled before they begin, or stopped at their time limit; and calls that only look dead."""

import ctypes
import time

import pytest

import distpool
from distpool.errors import DistpoolError

from ..runtime.programs import is_gone, until
from . import innocents
from .cell import METHODS, Ended, Subject
from .innocents import LIMIT_S

LATE_S = 0.5


def loop_for_ever(*_):
    while True:
        pass


def ignore_interrupts_for_ever(ledger):
    ledger.write("begins")
    while True:
        try:
            time.sleep(60)
        except BaseException:
            continue


def hold_the_interpreter(seconds):
    """Sleep in C without letting another thread run."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    return seconds


def submit_limited(subject: Subject, limit: object, *call: object) -> object:
    limited = subject.pool.with_options(timeout=limit)
    return limited.apply_async(call[0], call[1:]) if subject.kind == "Pool" else limited.submit(*call)


@pytest.mark.parametrize("limit", [0.3, "300ms", "0.3s"])
def test_a_call_that_runs_too_long_is_stopped_at_its_limit(survivor, limit):
    started = time.monotonic()
    ended = Ended.of(submit_limited(survivor, limit, loop_for_ever), LIMIT_S)
    assert type(ended.error) is distpool.CallTimeout
    assert isinstance(ended.error, TimeoutError)
    assert isinstance(ended.error, DistpoolError)
    assert 0.3 <= time.monotonic() - started < 0.3 + LATE_S
    assert Ended.of(survivor.submit(abs, -3), LIMIT_S) == Ended(value=3)
    assert until(lambda: len(survivor.pids() - {None}) == 2)


@pytest.mark.parametrize("method", METHODS)
def test_a_call_that_catches_everything_is_stopped_too(method, ledger):
    with Subject("Pool", method) as subject:
        Ended.of(subject.submit(abs, 1), LIMIT_S)
        started = time.monotonic()
        ended = Ended.of(submit_limited(subject, 0.3, ignore_interrupts_for_ever, ledger), LIMIT_S)
        assert type(ended.error) is distpool.CallTimeout
        assert time.monotonic() - started < 0.3 + LATE_S
        assert Ended.of(subject.submit(abs, -3), LIMIT_S) == Ended(value=3)


def test_a_call_stopped_at_its_limit_costs_no_other_call(survivor, ledger, gate):
    beside = survivor.submit(innocents.stay, ledger, "beside", str(gate))
    assert ledger.wait_for("beside")
    slow = submit_limited(survivor, 0.2, loop_for_ever)
    behind = [survivor.submit(innocents.square, ledger, value) for value in range(6)]
    assert type(Ended.of(slow, LIMIT_S).error) is distpool.CallTimeout
    gate.touch()
    assert Ended.of(beside, LIMIT_S) == Ended(value="beside")
    assert [Ended.of(call, LIMIT_S).value for call in behind] == [value * value for value in range(6)]
    assert set(ledger.counts().values()) == {1}


def test_a_call_within_its_limit_is_not_touched(survivor):
    assert Ended.of(survivor.submit(abs, -1), LIMIT_S) == Ended(value=1)
    pids = survivor.pids()
    assert Ended.of(submit_limited(survivor, 10, abs, -2), LIMIT_S) == Ended(value=2)
    assert survivor.pids() == pids


def test_a_future_that_was_cancelled_before_it_began_never_runs(ledger, gate):
    with Subject("Executor", "fork", workers=1) as subject:
        running = subject.submit(innocents.stay, ledger, "runs", str(gate))
        assert ledger.wait_for("runs")
        waiting = [subject.submit(innocents.square, ledger, value) for value in range(50)]
        cancelled = [future for future in reversed(waiting) if future.cancel()]
        assert cancelled
        gate.touch()
        assert Ended.of(running, LIMIT_S) == Ended(value="runs")
        for future in waiting:
            if future not in cancelled:
                Ended.of(future, LIMIT_S)
    assert sum(ledger.counts().values()) == 1 + len(waiting) - len(cancelled)


def test_a_worker_that_holds_the_interpreter_is_not_taken_for_dead(survivor):
    assert Ended.of(survivor.submit(abs, -1), LIMIT_S) == Ended(value=1)
    pids = survivor.pids()
    calls = [survivor.submit(hold_the_interpreter, 0.7) for _ in range(2)]
    assert [Ended.of(call, LIMIT_S) for call in calls] == [Ended(value=0.7)] * 2
    assert survivor.pids() == pids


def test_a_pool_with_endless_calls_can_be_terminated(ledger):
    import psutil

    subject = Subject("Pool", "fork")
    calls = [subject.submit(ignore_interrupts_for_ever, ledger) for _ in range(2)]
    assert until(lambda: len(ledger.lines()) == 2)
    workers = [psutil.Process(pid) for pid in subject.pids()]
    started = time.monotonic()
    subject.end()
    assert time.monotonic() - started < 2.0
    assert all(map(is_gone, workers))
    assert all(isinstance(Ended.of(call, 1.0).error, distpool.PoolTerminated) for call in calls)
