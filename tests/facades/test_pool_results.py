"""What a pool hands back: AsyncResult, MapResult and the iterators, with their time-outs."""

import multiprocessing
import threading
import time

import pytest

from . import tasks
from .comparison import LIMIT_S, compare, failure_of


def test_a_result_is_not_ready_while_its_task_runs(pools, new_gate):
    def scenario(pool):
        gate = new_gate()
        result = pool.apply_async(tasks.wait_for, (gate.path, 5))
        before = result.ready(), failure_of(result.successful)
        gate.open()
        waited = result.wait(LIMIT_S)
        return before, waited, result.ready(), result.successful(), result.get()

    compare(scenario, pools)


def test_get_and_wait_run_out_of_time_and_work_afterwards(pools, new_gate):
    def scenario(pool):
        gate = new_gate()
        result = pool.apply_async(tasks.wait_for, (gate.path, 5))
        too_early = [
            failure_of(lambda: result.get(0.01)),
            failure_of(lambda: result.get(timeout=0)),
            failure_of(lambda: result.get(-1)),
            result.wait(0.01),
            result.ready(),
        ]
        gate.open()
        return too_early, result.get(timeout=LIMIT_S), result.get(0)

    compare(scenario, pools)


@pytest.mark.parametrize("method", ["map_async", "starmap_async"])
def test_a_map_result_runs_out_of_time_and_works_afterwards(pools, new_gate, method):
    def scenario(pool):
        gate = new_gate()
        items = [gate.path] * 3 if method == "map_async" else [(gate.path, i) for i in range(3)]
        result = getattr(pool, method)(tasks.wait_for, items, chunksize=1)
        before = failure_of(lambda: result.get(0.01)), result.ready(), failure_of(result.successful)
        gate.open()
        return before, result.get(LIMIT_S), result.successful()

    compare(scenario, pools)


def test_the_time_out_is_multiprocessings_not_the_builtin(pools, new_gate):
    def scenario(pool):
        gate = new_gate()
        result = pool.apply_async(tasks.wait_for, (gate.path,))
        with pytest.raises(multiprocessing.TimeoutError) as caught:
            result.get(0.001)
        gate.open()
        result.get(LIMIT_S)
        return isinstance(caught.value, multiprocessing.ProcessError), isinstance(caught.value, TimeoutError)

    compare(scenario, pools)


def test_a_failed_result_is_ready_but_not_successful_and_raises_each_time(pools):
    def scenario(pool):
        result = pool.apply_async(tasks.fail)
        result.wait(LIMIT_S)
        return result.ready(), result.successful(), failure_of(result.get), failure_of(result.get)

    compare(scenario, pools)


def test_an_empty_map_is_ready_at_once(pools):
    def scenario(pool):
        result = pool.map_async(tasks.square, [])
        return result.ready(), result.successful(), result.get(0)

    compare(scenario, pools)


def test_results_may_be_collected_in_any_order(pools):
    def scenario(pool):
        results = [pool.apply_async(tasks.square, (i,)) for i in range(20)]
        return [result.get(LIMIT_S) for result in reversed(results)]

    compare(scenario, pools)


# ---- iterators


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_an_iterator_is_its_own_iterator_and_stays_exhausted(pools, method):
    def scenario(pool):
        results = getattr(pool, method)(tasks.square, [4])
        facts = [iter(results) is results, results.next(LIMIT_S)]
        for _ in range(2):
            with pytest.raises(StopIteration):
                next(results)
            with pytest.raises(StopIteration):
                results.next(timeout=LIMIT_S)
        return facts

    compare(scenario, pools)


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_next_runs_out_of_time_and_the_item_comes_later(pools, new_gate, method):
    def scenario(pool):
        gate = new_gate()
        results = getattr(pool, method)(tasks.wait_for, [gate.path])
        too_early = failure_of(lambda: results.next(timeout=0.01)), failure_of(lambda: results.next(0))
        gate.open()
        return too_early, results.next(timeout=LIMIT_S)

    compare(scenario, pools)


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@pytest.mark.parametrize("chunksize", [0, -1])
def test_an_iterator_refuses_a_chunk_size_below_one(pools, method, chunksize):
    compare(lambda pool: getattr(pool, method)(tasks.square, [1], chunksize), pools, raises=ValueError)


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@pytest.mark.parametrize("error", [None, KeyError("late")])
def test_an_input_that_ends_late_ends_the_wait_for_its_next_result(pools, method, error):
    def scenario(pool):
        has_first = threading.Event()

        def items():
            yield 2
            has_first.wait(LIMIT_S)
            time.sleep(0.05)  # the reader waits for the next result by then
            if error is not None:
                raise error

        results = getattr(pool, method)(tasks.square, items())
        first = results.next(LIMIT_S)
        has_first.set()
        try:
            results.next(LIMIT_S)
        except (StopIteration, KeyError) as end:
            return first, repr(end)

    compare(scenario, pools)


def test_imap_with_chunks_is_iterated_like_a_generator(pools):
    def scenario(pool):
        results = pool.imap(tasks.square, range(5), chunksize=2)
        return iter(results) is results, next(results), list(results), list(results)

    compare(scenario, pools)


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_threads_share_the_results_of_one_iterator(pools, name):
    """Each result goes to one of them, and each of them sees the end; with the standard library some wait for ever."""
    results = getattr(pools.distpool, name)(tasks.square, range(400))
    taken = []
    threads = [threading.Thread(target=lambda: taken.extend(results), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
        assert not thread.is_alive()
    assert sorted(taken) == [number * number for number in range(400)]


def test_imap_consumes_an_endless_input_only_as_far_as_it_must(libraries):
    def scenario(library):
        def endless():
            number = 0
            while running:
                yield number
                number += 1

        running = [True]
        with library.pool(1) as pool:
            results = pool.imap(tasks.square, endless())
            first = [results.next(LIMIT_S) for _ in range(5)]
            running.clear()
            return first

    compare(scenario, libraries)
