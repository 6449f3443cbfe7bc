"""`as_completed` of the standard library and of distpool, on futures of both: whatever the pair, the same."""

import concurrent.futures
import gc
import threading
import time
import weakref

import pytest

import distpool.futures

from . import tasks
from .comparison import LIMIT_S, UNDER_FORK, failure_of
from .test_futures_state import eventually

FUNCTIONS = {"standard": concurrent.futures.as_completed, "distpool": distpool.futures.as_completed}

pytestmark = UNDER_FORK


@pytest.fixture(params=FUNCTIONS)
def as_completed(request):
    return FUNCTIONS[request.param]


def test_each_future_comes_once(as_completed, executor):
    futures = [executor.submit(tasks.square, i) for i in range(200)]
    ended = list(as_completed(futures * 2, timeout=LIMIT_S))
    assert len(ended) == 200
    assert set(ended) == set(futures)
    assert all(future.done() for future in ended)


def test_none_at_all(as_completed):
    assert list(as_completed([])) == []


def test_those_that_ended_before_come_too(as_completed, executor):
    early = executor.submit(tasks.square, 2)
    early.result(LIMIT_S)
    late = executor.submit(tasks.square, 3)
    assert {future.result() for future in as_completed([late, early], LIMIT_S)} == {4, 9}


def test_a_future_comes_while_another_one_runs(as_completed, executor, new_gate):
    gate = new_gate()
    slow, quick = executor.submit(tasks.wait_for, gate.path), executor.submit(tasks.square, 3)
    iterator = as_completed([slow, quick], LIMIT_S)
    assert next(iterator) is quick
    gate.open()
    assert list(iterator) == [slow]


def test_errors_and_cancelled_calls_come_too(as_completed, executor, new_gate):
    gate, started = new_gate(), [new_gate(), new_gate()]
    blocking = [executor.submit(tasks.announce_and_wait, begun.path, gate.path) for begun in started]
    for begun in started:
        tasks.wait_for(begun.path)
    waiting = [executor.submit(tasks.square, i) for i in range(20)]
    cancelled = waiting[-1]
    failing = executor.submit(pow, 1, "x")
    threading.Timer(0.05, cancelled.cancel).start()
    threading.Timer(0.1, gate.open).start()
    futures = [*blocking, *waiting, failing]
    assert set(as_completed(futures, LIMIT_S)) == set(futures)
    assert cancelled.cancelled()
    assert isinstance(failing.exception(), TypeError)


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_out_of_time(as_completed, executor, new_gate, timeout):
    gate = new_gate()
    slow, quick = executor.submit(tasks.wait_for, gate.path), executor.submit(tasks.square, 3)
    quick.result(LIMIT_S)
    ended = []
    failure = failure_of(lambda: ended.extend(as_completed([slow, quick], timeout)))
    gate.open()
    assert failure == failure_of(lambda: exec('raise TimeoutError("1 (of 2) futures unfinished")'))
    assert slow._waiters == []
    slow.result(LIMIT_S)


def test_an_iterator_that_is_given_up_leaves_nothing_with_the_futures(as_completed, executor, new_gate):
    gate = new_gate()
    slow, quick = executor.submit(tasks.wait_for, gate.path), executor.submit(tasks.square, 3)
    iterator = as_completed([slow, quick], LIMIT_S)
    assert next(iterator) is quick
    assert len(slow._waiters) == 1
    iterator.close()
    assert slow._waiters == quick._waiters == []
    gate.open()
    slow.result(LIMIT_S)


def test_a_future_that_was_given_away_is_free(as_completed, executor):
    futures = [executor.submit(tasks.square, i) for i in range(5)]
    for future in as_completed([futures.pop() for _ in range(5)], LIMIT_S):
        reference = weakref.ref(future)
        del future
        assert eventually(
            lambda alive=reference: gc.collect() >= 0 and alive() is None
        )  # whoever resolved it has it for a moment


class Lingering(list):
    """Those who wait for a future, of whom each that was told has the time to take it before the next is told."""

    def __iter__(self):
        position = 0
        while position < len(self):
            yield self[position]
            time.sleep(0.1)
            position += 1


def test_one_who_is_told_first_takes_nobody_elses_turn():
    future = concurrent.futures.Future()
    future._waiters = Lingering()
    collected = [[], []]
    threads = [
        threading.Thread(target=lambda to=to: to.extend(distpool.futures.as_completed([future], 3.0)), daemon=True)
        for to in collected
    ]
    for thread in threads:
        thread.start()
    while len(future._waiters) < 2:
        time.sleep(0.001)
    future.set_result(1)
    for thread in threads:
        thread.join(LIMIT_S)
    assert collected == [[future], [future]]


def test_two_threads_collect_the_same_futures(as_completed, executor):
    futures = [executor.submit(tasks.square, i) for i in range(300)]
    collected = [[], []]
    threads = [
        threading.Thread(target=lambda to=to: to.extend(as_completed(futures, LIMIT_S)), daemon=True)
        for to in collected
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert [set(ended) for ended in collected] == [set(futures)] * 2


def test_futures_of_several_kinds(as_completed, futures_of_several_kinds):
    assert set(as_completed(futures_of_several_kinds, LIMIT_S)) == set(futures_of_several_kinds)


def test_what_is_submitted_while_one_collects_runs(as_completed, executor):
    """Each that ends gives rise to another, as a search does."""
    pending = {executor.submit(tasks.square, 1)}
    ended = 0
    while pending:
        for future in as_completed(pending, LIMIT_S):
            pending.discard(future)
            ended += 1
            if ended < 50:
                pending.add(executor.submit(tasks.square, ended))
            break
    assert ended == 50


def test_calls_of_an_executor_that_is_shut_down_and_one_that_broke(as_completed, libraries):
    with libraries.distpool.executor(2) as executor:
        futures = [executor.submit(tasks.square, i) for i in range(50)]
        executor.shutdown(wait=False)
        assert set(as_completed(futures, LIMIT_S)) == set(futures)
    with libraries.distpool.executor(1) as executor:
        futures = [executor.submit(tasks.exit_at_once, 3)]
        futures += [executor.submit(tasks.square, i) for i in range(50)]
        assert set(as_completed(futures, LIMIT_S)) == set(futures)
        assert isinstance(futures[-1].exception(), concurrent.futures.process.BrokenProcessPool)
