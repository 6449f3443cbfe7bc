"""`wait` of the standard library and of distpool, on futures of both: whatever the pair, the same."""

import concurrent.futures
import threading

import pytest

import distpool.futures

from . import tasks
from .comparison import LIMIT_S, UNDER_FORK, failure_of

FUNCTIONS = {"standard": concurrent.futures.wait, "distpool": distpool.futures.wait}

pytestmark = UNDER_FORK


@pytest.fixture(params=FUNCTIONS)
def wait(request):
    return FUNCTIONS[request.param]


@pytest.fixture
def slow(executor, new_gate):
    """A call that runs until the end of the test."""
    gate = new_gate()
    future = executor.submit(tasks.wait_for, gate.path)
    yield future
    gate.open()
    future.result(LIMIT_S)


def test_all(wait, executor):
    futures = [executor.submit(tasks.square, i) for i in range(200)]
    ended = wait(futures * 2, LIMIT_S)
    assert ended == (set(futures), set())
    assert (ended.done, ended.not_done) == ended
    assert all(future.done() for future in futures)
    assert all(future._waiters == [] for future in futures)


def test_none_at_all(wait):
    assert wait([]) == (set(), set())
    assert wait([], return_when="FIRST_COMPLETED") == (set(), set())


def test_the_first(wait, executor, slow):
    quick = executor.submit(tasks.square, 3)
    assert wait([slow, quick], LIMIT_S, "FIRST_COMPLETED") == ({quick}, {slow})
    assert slow._waiters == []
    assert wait([slow, quick], return_when="FIRST_COMPLETED") == ({quick}, {slow})


@pytest.mark.parametrize("early", [False, True])
def test_the_first_error(wait, executor, slow, early):
    good, bad = executor.submit(tasks.square, 3), executor.submit(pow, 1, "x")
    good.result(LIMIT_S)
    if early:
        bad.exception(LIMIT_S)
    assert wait([slow, good, bad], LIMIT_S, "FIRST_EXCEPTION") == ({good, bad}, {slow})
    assert slow._waiters == []


def test_the_first_error_where_there_is_none(wait, executor):
    futures = [executor.submit(tasks.square, i) for i in range(20)]
    assert wait(futures, LIMIT_S, "FIRST_EXCEPTION") == (set(futures), set())


def test_a_cancelled_call_has_ended_and_is_no_error(wait, executor, new_gate):
    gate, started = new_gate(), [new_gate(), new_gate()]
    running = [executor.submit(tasks.announce_and_wait, begun.path, gate.path) for begun in started]
    for begun in started:
        tasks.wait_for(begun.path)
    waiting = [executor.submit(tasks.square, i) for i in range(20)]
    threading.Timer(0.05, waiting[-1].cancel).start()
    threading.Timer(0.1, gate.open).start()
    assert wait([*running, *waiting], LIMIT_S, "FIRST_EXCEPTION") == ({*running, *waiting}, set())
    assert waiting[-1].cancelled()


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_out_of_time(wait, executor, slow, timeout):
    quick = executor.submit(tasks.square, 3)
    quick.result(LIMIT_S)
    assert wait([slow, quick], timeout) == ({quick}, {slow})
    assert slow._waiters == quick._waiters == []


def test_a_condition_that_is_none_is_refused(wait, executor, slow):
    failure = failure_of(lambda: wait([slow], 1, "SOON"))
    assert failure.kind == "builtins.ValueError"
    assert failure.message.startswith("Invalid return condition: 'SOON'")
    assert slow._waiters == []


def test_two_threads_wait_for_the_same_futures(wait, executor):
    futures = [executor.submit(tasks.square, i) for i in range(300)]
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        waits = [threads.submit(wait, futures, LIMIT_S) for _ in range(2)]
        assert [each.result(LIMIT_S) for each in waits] == [(set(futures), set())] * 2


def test_futures_of_several_kinds(wait, futures_of_several_kinds):
    assert wait(futures_of_several_kinds, LIMIT_S) == (set(futures_of_several_kinds), set())


def test_calls_of_an_executor_that_broke(wait, libraries):
    with libraries.distpool.executor(1) as executor:
        futures = [executor.submit(tasks.exit_at_once, 3)]
        futures += [executor.submit(tasks.square, i) for i in range(50)]
        assert wait(futures, LIMIT_S) == (set(futures), set())
        assert isinstance(futures[-1].exception(), concurrent.futures.process.BrokenProcessPool)
