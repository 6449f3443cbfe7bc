"""Every way to give an executor work: submit, map, and the functions of the standard library on its futures."""

import asyncio
import concurrent.futures
import functools
import threading

import pytest

from . import tasks
from .comparison import LIMIT_S, compare, failure_of

# ---- submit


@pytest.mark.parametrize(
    ("func", "args", "kwargs"),
    [
        (tasks.square, (3,), {}),
        (tasks.add, (3,), {"y": 4}),
        (tasks.keywords, (), {"self": 1, "fn": 2, "args": 3, "kwargs": 4, "timeout": 5}),
        (tasks.echo, ([1, 2], None), {"option": {"a": (1, 2)}}),
        (tasks.Squarer(), (5,), {}),
        (tasks.Point(1, 2).moved, (3,), {}),
        (functools.partial(tasks.add, 1), (), {"y": 2}),
        (pow, (2, 10), {}),
    ],
)
def test_submit_calls_the_function_with_its_arguments(executors, func, args, kwargs):
    compare(lambda executor: executor.submit(func, *args, **kwargs).result(LIMIT_S), executors)


@pytest.mark.parametrize(
    "call",
    [
        lambda executor: executor.submit(),
        lambda executor: executor.submit(fn=tasks.square, arg=1),
        lambda executor: executor.map(),
    ],
)
def test_the_function_must_be_given_by_position(executors, call):
    compare(call, executors, raises=TypeError)


def test_many_small_calls_all_come_back(executors):
    def scenario(executor):
        futures = [executor.submit(tasks.square, i) for i in range(1000)]
        return [future.result(LIMIT_S) for future in futures]

    compare(scenario, executors)


def test_large_values_travel_both_ways(executors):
    numpy = pytest.importorskip("numpy")
    large, array = bytes(range(256)) * 12_000, numpy.arange(2_500_000, dtype=float)
    compare(lambda executor: executor.submit(tasks.same, large).result(LIMIT_S) == large, executors)
    compare(lambda executor: executor.submit(tasks.array_sum, array).result(LIMIT_S), executors)
    compare(lambda executor: executor.submit(tasks.ones, 2_500_000).result(LIMIT_S).sum(), executors)


def test_an_executor_is_used_from_several_threads(executors):
    def scenario(executor):
        results = {}

        def work(number):
            results[number] = list(executor.map(tasks.square, range(number, number + 20)))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
        return results

    compare(scenario, executors)


def test_short_tasks_do_not_wait_behind_a_long_one(executors, new_gate):
    def scenario(executor):
        gate = new_gate()
        long_one = executor.submit(tasks.wait_for, gate.path, "long")
        early = [executor.submit(tasks.square, i).result(LIMIT_S) for i in range(20)], long_one.done()
        gate.open()
        return early, long_one.result(LIMIT_S)

    compare(scenario, executors)


# ---- map


@pytest.mark.parametrize("chunksize", [1, 3, 100])
@pytest.mark.parametrize("count", [0, 1, 23])
def test_map_yields_in_order_for_each_chunk_size(executors, count, chunksize):
    compare(lambda executor: list(executor.map(tasks.square, range(count), chunksize=chunksize)), executors)
    compare(lambda executor: list(executor.map(tasks.square, iter(range(count)), chunksize=chunksize)), executors)


def test_map_takes_several_iterables_and_stops_with_the_shortest(executors):
    compare(lambda executor: list(executor.map(tasks.add, range(5), range(10, 13))), executors)
    compare(lambda executor: list(executor.map(pow, [2, 3], (i for i in (2, 3)), chunksize=2)), executors)


def test_map_submits_everything_before_it_is_iterated(executors):
    def scenario(executor):
        taken = []
        results = executor.map(tasks.square, (taken.append(i) or i for i in range(8)))
        return list(taken), next(results), list(results)

    compare(scenario, executors)


def test_map_runs_out_of_time(executors, new_gate):
    def scenario(executor):
        gate = new_gate()
        results = executor.map(tasks.wait_for, [gate.path], timeout=0.05)
        failure = failure_of(lambda: next(results))
        gate.open()
        return failure

    compare(scenario, executors)


def test_map_within_its_time_out_yields_everything(executors):
    compare(lambda executor: list(executor.map(tasks.square, range(5), timeout=LIMIT_S)), executors)


@pytest.mark.parametrize("chunksize", [1, 3])
def test_map_stops_at_the_first_failure(executors, chunksize):
    def scenario(executor):
        results = executor.map(tasks.fail_on_three, range(8), chunksize=chunksize)
        seen = []

        def go_through():
            seen.extend(iter(results))

        failure = failure_of(go_through)
        return seen, failure, list(results)

    compare(scenario, executors)


@pytest.mark.parametrize("chunksize", [0, -1])
def test_map_refuses_a_chunk_size_below_one(executors, chunksize):
    compare(lambda executor: executor.map(tasks.square, [1], chunksize=chunksize), executors, raises=ValueError)


@pytest.mark.parametrize(
    "call",
    [
        lambda executor: executor.map(tasks.square, 5),
        lambda executor: executor.map(tasks.square, [1], chunksize="x"),
        lambda executor: executor.map(tasks.square, [1], None, 1),
        lambda executor: list(executor.map(tasks.square, [1], timeout="x")),
    ],
)
def test_map_refuses_senseless_arguments(executors, call):
    compare(call, executors, raises=TypeError)


def test_a_broken_input_fails_map_at_once(executors):
    def broken():
        yield 1
        raise LookupError("the input broke")

    compare(lambda executor: executor.map(tasks.square, broken()), executors, raises=LookupError)


def test_a_map_that_is_dropped_cancels_what_has_not_begun(libraries, new_gate):
    def scenario(library):
        gate, ran = new_gate(), new_gate()
        with library.executor(1) as executor:
            held = executor.submit(tasks.wait_for, gate.path)
            results = executor.map(tasks.create_file, [f"{ran.path}-{i}" for i in range(50)])
            # The first next() starts the generator; a generator that was never started has nothing to cancel.
            gate.open()
            next(results)
            held_again = executor.submit(tasks.sleep_for, 0.01)
            results.close()
            held.result(LIMIT_S)
            held_again.result(LIMIT_S)
            return list(results)

    compare(scenario, libraries)


# ---- the standard library's functions and asyncio


def test_futures_are_the_standard_librarys(executors):
    def scenario(executor):
        future = executor.submit(tasks.square, 2)
        return type(future).__mro__[-2] is concurrent.futures.Future, isinstance(future, concurrent.futures.Future)

    compare(scenario, executors)


@pytest.mark.parametrize("return_when", ["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"])
def test_the_standard_wait_takes_the_futures(executors, new_gate, return_when):
    def scenario(executor):
        gate = new_gate()
        quick = executor.submit(tasks.fail if return_when == "FIRST_EXCEPTION" else tasks.same, "x")
        slow = executor.submit(tasks.wait_for, gate.path)
        if return_when == "ALL_COMPLETED":
            gate.open()
        done, pending = concurrent.futures.wait([quick, slow], timeout=LIMIT_S, return_when=return_when)
        gate.open()
        slow.result(LIMIT_S)
        return quick in done, slow in done, slow in pending

    compare(scenario, executors)


def test_the_standard_wait_runs_out_of_time(executors, new_gate):
    def scenario(executor):
        gate = new_gate()
        slow = executor.submit(tasks.wait_for, gate.path)
        done, pending = concurrent.futures.wait([slow], timeout=0.05)
        failure = failure_of(lambda: list(concurrent.futures.as_completed([slow], timeout=0.05)))
        gate.open()
        return len(done), len(pending), failure, slow.result(LIMIT_S)

    compare(scenario, executors)


def test_the_standard_as_completed_yields_each_future_once(executors):
    def scenario(executor):
        futures = [executor.submit(tasks.square, i) for i in range(20)]
        return sorted(future.result() for future in concurrent.futures.as_completed(futures, timeout=LIMIT_S))

    compare(scenario, executors)


def test_futures_of_both_libraries_are_waited_for_together(executors):
    futures = [executors.standard.submit(tasks.square, 2), executors.distpool.submit(tasks.square, 3)]
    assert sorted(future.result() for future in concurrent.futures.as_completed(futures, LIMIT_S)) == [4, 9]


def test_asyncio_waits_for_the_futures(executors):
    def scenario(executor):
        async def main():
            loop = asyncio.get_running_loop()
            wrapped = asyncio.wrap_future(executor.submit(tasks.square, 2))
            called = [loop.run_in_executor(executor, tasks.add, i, 1) for i in range(5)]
            failing = loop.run_in_executor(executor, tasks.fail, "in the worker")
            together = await asyncio.wait_for(asyncio.gather(wrapped, *called), LIMIT_S)
            with pytest.raises(ValueError, match="in the worker"):
                await asyncio.wait_for(failing, LIMIT_S)
            return together

        return asyncio.run(main())

    compare(scenario, executors)


def test_asyncio_runs_out_of_time(executors, new_gate):
    def scenario(executor):
        gate = new_gate()
        future = executor.submit(tasks.wait_for, gate.path)

        async def main():
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), 0.05)

        failure = failure_of(lambda: asyncio.run(main()))
        gate.open()
        future_result = failure_of(lambda: future.result(LIMIT_S)) if future.cancelled() else future.result(LIMIT_S)
        return failure, future_result

    compare(scenario, executors)


# ---- what 3.14 added, offered on every version


@pytest.mark.extension
def test_map_with_a_buffer_size_reads_an_endless_input_lazily(executors):
    taken = []

    def endless():
        number = 0
        while True:
            taken.append(number)
            yield number
            number += 1

    results = executors.distpool.map(tasks.square, endless(), buffersize=3)
    assert taken == [0, 1, 2]
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert len(taken) <= 8
    results.close()


@pytest.mark.extension
@pytest.mark.parametrize("buffersize", [1, 3, 100, None])
@pytest.mark.parametrize("chunksize", [1, 4])
def test_map_with_a_buffer_size_yields_the_same(executors, buffersize, chunksize):
    results = executors.distpool.map(tasks.square, range(20), chunksize=chunksize, buffersize=buffersize)
    assert list(results) == [x * x for x in range(20)]
    assert list(executors.distpool.map(tasks.square, [], buffersize=buffersize)) == []


@pytest.mark.extension
def test_map_refuses_a_senseless_buffer_size(executors):
    for buffersize in ("x", 1.5, [1]):
        with pytest.raises(TypeError, match=r"^buffersize must be an integer or None$"):
            executors.distpool.map(tasks.square, [1], buffersize=buffersize)
    for buffersize in (0, -1):
        with pytest.raises(ValueError, match=r"^buffersize must be None or > 0$"):
            executors.distpool.map(tasks.square, [1], buffersize=buffersize)
