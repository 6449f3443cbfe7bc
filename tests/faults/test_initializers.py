"""An initializer that fails ends the pool with its traceback after three tries; one that succeeds then is forgiven."""

import os
import signal
import sys
import time

import pytest

import distpool
import distpool.futures
from distpool.errors import PoolBroken

from .cell import METHODS, Ended
from .innocents import LIMIT_S

TOLD_WITHIN_S = 5.0


def refuse(ledger):
    ledger.write("begins")
    raise ValueError("no licence")


def exit_with_three(ledger):
    ledger.write("begins")
    sys.exit(3)


def kill_oneself(ledger):
    ledger.write("begins")
    os.kill(os.getpid(), signal.SIGKILL)


def hang(ledger):
    ledger.write("begins")
    time.sleep(60)


def refuse_twice(ledger):
    ledger.write("begins")
    if len(ledger.lines()) <= 2:
        raise ValueError("not yet")


class Unpicklable:
    def __reduce__(self):
        return refuse_to_load, ()


def refuse_to_load():
    raise ValueError("not here")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("initializer", [refuse, exit_with_three, kill_oneself], ids=lambda value: value.__name__)
def test_a_pool_breaks_after_three_tries_and_says_why(initializer, method, ledger):
    started = time.monotonic()
    with distpool.get_context(method).Pool(1, initializer, [ledger]) as pool:
        calls = [pool.apply_async(abs, [-number]) for number in range(5)]
        ended = [Ended.of(call, LIMIT_S) for call in calls]
        assert time.monotonic() - started < TOLD_WITHIN_S
        assert all(type(one.error) is PoolBroken for one in ended)
        if initializer is refuse:
            assert "ValueError: no licence" in str(ended[0].error)
            assert "in refuse" in str(ended[0].error)
        assert type(Ended.of(pool.apply_async(abs, [-1]), LIMIT_S).error) is PoolBroken
    assert ledger.counts() == {"begins": 3}


@pytest.mark.parametrize("workers", [2, 4])
def test_a_larger_pool_starts_no_storm_of_workers(workers, ledger):
    with (
        distpool.get_context("fork").Pool(workers, refuse, [ledger]) as pool,
        pytest.raises(PoolBroken, match="no licence"),
    ):
        pool.map_async(abs, range(20)).get(LIMIT_S)
    assert ledger.counts()["begins"] <= 3 + 2 * workers


def test_an_initializer_that_fails_at_first_is_tried_again(ledger):
    with distpool.get_context("fork").Pool(1, refuse_twice, [ledger]) as pool:
        assert pool.map_async(abs, range(-5, 0)).get(LIMIT_S) == [5, 4, 3, 2, 1]
    assert ledger.counts() == {"begins": 3}


@pytest.mark.parametrize("method", METHODS)
def test_an_executor_breaks_after_three_tries_and_says_why(method, ledger):
    with distpool.Executor(
        1, mp_context=distpool.get_context(method), initializer=refuse, initargs=(ledger,)
    ) as executor:
        ended = [Ended.of(future, LIMIT_S) for future in [executor.submit(abs, -1) for _ in range(5)]]
        for one in ended:
            assert isinstance(one.error, distpool.futures.BrokenProcessPool)
        assert "ValueError: no licence" in str(ended[0].error)
        with pytest.raises(distpool.futures.BrokenProcessPool, match="no licence"):
            executor.submit(abs, -1)
    assert ledger.counts() == {"begins": 3}


def test_arguments_of_an_initializer_that_fail_to_unpickle_are_its_failure(ledger):
    with (
        distpool.get_context("spawn").Pool(1, print, [Unpicklable()]) as pool,
        pytest.raises(PoolBroken, match="not here"),
    ):
        pool.apply_async(abs, [-1]).get(LIMIT_S)


def test_a_pool_whose_initializer_hangs_can_be_terminated(ledger):
    pool = distpool.get_context("fork").Pool(2, hang, [ledger])
    call = pool.apply_async(abs, [-1])
    assert ledger.wait_for("begins")
    started = time.monotonic()
    pool.terminate()
    pool.join()
    assert time.monotonic() - started < 2.0
    assert isinstance(Ended.of(call, 1.0).error, distpool.PoolTerminated)
