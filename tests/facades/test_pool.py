"""Every way to give a pool work: the same results as the standard pool, in the same order."""

import functools
import threading

import pytest

from . import tasks
from .comparison import LIMIT_S, compare


class Local:
    """A class of the test module itself."""

    def __init__(self, value):
        self.value = value


def is_local(x):
    return type(x) is Local


def double_local(x):
    return Local(x.value * 2)


# ---- apply


@pytest.mark.parametrize(
    ("func", "args", "kwds"),
    [
        (tasks.square, (3,), {}),
        (tasks.add, (3,), {"y": 4}),
        (tasks.keywords, (), {"func": 1, "args": 2, "kwds": 3, "self": 4, "callback": 5}),
        (tasks.echo, (), {}),
        (tasks.echo, ([1, 2], None), {"option": {"a": (1, 2)}}),
        (tasks.Squarer(), (5,), {}),
        (tasks.Point(1, 2).moved, (3,), {}),
        (tasks.Point, (1, 2), {}),
        (pow, (2, 10), {}),
        ("a,b".split, (",",), {}),
    ],
)
def test_apply_calls_the_function_with_its_arguments(pools, func, args, kwds):
    compare(lambda pool: pool.apply(func, args, kwds), pools)
    compare(lambda pool: pool.apply_async(func, args, kwds).get(LIMIT_S), pools)


def test_apply_takes_its_arguments_by_keyword(pools):
    compare(lambda pool: pool.apply(func=tasks.add, args=(1,), kwds={"y": 2}), pools)
    compare(lambda pool: pool.apply_async(func=tasks.add, args=[1], kwds={"y": 2}).get(LIMIT_S), pools)


def test_apply_async_calls_back_before_get_returns(pools):
    def scenario(pool):
        called, failed = [], []
        pool.apply_async(tasks.square, (3,), callback=called.append, error_callback=failed.append).get(LIMIT_S)
        return called, failed

    compare(scenario, pools)


def test_a_callback_may_submit_more_work(pools):
    def scenario(pool):
        results, enough = [], threading.Event()

        def again(value):
            results.append(value)
            if len(results) < 4:
                pool.apply_async(tasks.add, (value, 1), callback=again)
            else:
                enough.set()

        pool.apply_async(tasks.add, (0, 1), callback=again)
        return enough.wait(LIMIT_S), results

    compare(scenario, pools)


def test_many_small_calls_all_come_back(pools):
    def scenario(pool):
        results = [pool.apply_async(tasks.square, (i,)) for i in range(2000)]
        return [result.get(LIMIT_S) for result in results]

    compare(scenario, pools)


# ---- map and starmap


@pytest.mark.parametrize("chunksize", [None, 1, 3, 7, 100])
@pytest.mark.parametrize("make_input", [lambda: range(23), lambda: (i for i in range(23)), lambda: [5], lambda: []])
def test_map_keeps_the_order_for_each_input_and_chunk_size(pools, make_input, chunksize):
    compare(lambda pool: pool.map(tasks.square, make_input(), chunksize), pools)
    compare(lambda pool: pool.map_async(tasks.square, make_input(), chunksize=chunksize).get(LIMIT_S), pools)


@pytest.mark.parametrize("make_input", [lambda: "abc", lambda: {"a": 1, "b": 2}, lambda: {1: 2}.items(), lambda: (1,)])
def test_map_takes_any_iterable(pools, make_input):
    compare(lambda pool: pool.map(tasks.same, make_input()), pools)


@pytest.mark.parametrize("chunksize", [None, 1, 4])
def test_starmap_unpacks_each_item(pools, chunksize):
    pairs = [(i, 2 * i) for i in range(13)]
    compare(lambda pool: pool.starmap(tasks.add, pairs, chunksize), pools)
    compare(lambda pool: pool.starmap(tasks.add, iter(pairs), chunksize), pools)
    compare(lambda pool: pool.starmap_async(tasks.add, pairs, chunksize).get(LIMIT_S), pools)
    compare(lambda pool: pool.starmap(tasks.add, []), pools)


def test_map_async_calls_back_once_with_the_whole_list(pools):
    def scenario(pool):
        called = []
        pool.map_async(tasks.square, range(7), chunksize=2, callback=called.append).get(LIMIT_S)
        pool.starmap_async(tasks.add, [(1, 2), (3, 4)], callback=called.append).get(LIMIT_S)
        pool.map_async(tasks.square, [], callback=called.append).get(LIMIT_S)
        return called

    compare(scenario, pools)


@pytest.mark.parametrize("chunksize", [0, -1])
def test_map_with_a_senseless_chunk_size_does_what_the_standard_one_does(libraries, chunksize):
    # The standard pool returns a list of None without calling anything.
    def scenario(library):
        with library.pool(1) as pool:
            return pool.map_async(tasks.square, [1, 2, 3], chunksize=chunksize).get(LIMIT_S)

    compare(scenario, libraries)


# ---- imap and imap_unordered


@pytest.mark.parametrize("chunksize", [1, 4])
@pytest.mark.parametrize("count", [0, 1, 23])
def test_imap_yields_in_order(pools, count, chunksize):
    compare(lambda pool: list(pool.imap(tasks.square, range(count), chunksize)), pools)
    compare(lambda pool: list(pool.imap(tasks.square, (i for i in range(count)), chunksize=chunksize)), pools)


@pytest.mark.parametrize("chunksize", [1, 4])
@pytest.mark.parametrize("count", [0, 1, 23])
def test_imap_unordered_yields_each_result_once(pools, count, chunksize):
    compare(lambda pool: sorted(pool.imap_unordered(tasks.square, range(count), chunksize)), pools)
    compare(lambda pool: sorted(pool.imap_unordered(tasks.square, (i for i in range(count)), chunksize)), pools)


def test_imap_unordered_yields_what_is_ready_while_the_first_item_still_runs(pools, new_gate):
    def scenario(pool):
        gate = new_gate()
        results = pool.imap_unordered(functools.partial(tasks.wait_or_return, gate.path), range(10))
        early = sorted(results.next(LIMIT_S) for _ in range(9))
        gate.open()
        return early, list(results)

    compare(scenario, pools)


def test_imap_yields_a_slow_first_item_first(pools):
    compare(lambda pool: list(pool.imap(tasks.sleep_for, [0.1, 0, 0.01])), pools)


def test_short_tasks_do_not_wait_behind_a_long_one(pools, new_gate):
    def scenario(pool):
        gate = new_gate()
        long_one = pool.apply_async(tasks.wait_for, (gate.path, "long"))
        short = [pool.apply_async(tasks.square, (i,)) for i in range(50)]
        early = [result.get(LIMIT_S) for result in short], long_one.ready()
        gate.open()
        return early, long_one.get(LIMIT_S)

    compare(scenario, pools)


def test_imap_may_be_left_before_its_end(pools):
    def scenario(pool):
        results = pool.imap(tasks.square, range(100))
        first = [next(results) for _ in range(3)]
        del results
        return first, pool.apply(tasks.square, (9,))

    compare(scenario, pools)


# ---- what travels


def test_classes_of_the_test_module_are_the_same_in_the_worker(pools):
    compare(lambda pool: pool.map(is_local, [Local(1), 2]), pools)
    compare(lambda pool: [type(x) is Local for x in pool.map(double_local, [Local(1)])], pools)
    compare(lambda pool: pool.apply(tasks.is_point, (tasks.Point(1, 2),)), pools)
    compare(lambda pool: pool.apply(tasks.same, (tasks.Point(1, 2),)), pools)


def test_large_bytes_travel_both_ways(pools):
    large = bytes(range(256)) * 12_000
    compare(lambda pool: pool.map(tasks.size, [large] * 3), pools)
    compare(lambda pool: pool.apply(tasks.same, (large,)) == large, pools)


def test_large_arrays_travel_both_ways(pools):
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(2_500_000, dtype=float)
    compare(lambda pool: pool.map(tasks.array_sum, [array, array[:10]]), pools)
    compare(lambda pool: pool.apply(tasks.ones, (2_500_000,)).sum(), pools)
    compare(lambda pool: bool((pool.apply(tasks.same, (array,)) == array).all()), pools)


def test_arrays_are_writable_on_both_sides_and_the_callers_stays_as_it_was(pools):
    numpy = pytest.importorskip("numpy")

    def scenario(pool):
        array = numpy.zeros(200_000)
        written = pool.apply(tasks.write_into_array, (array,))
        result = pool.apply(tasks.same, (array,))
        result[0] = 3
        return written, array[0], result[0], result.flags.writeable

    compare(scenario, pools)


# ---- several at once


def test_a_pool_is_used_from_several_threads(pools):
    def scenario(pool):
        results = {}

        def work(number):
            results[number] = pool.map(tasks.square, range(number, number + 50), chunksize=3)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
        return results

    compare(scenario, pools)


def test_two_pools_work_side_by_side(libraries):
    def scenario(library):
        with library.pool(1) as first, library.pool(1) as second:
            ours = first.map_async(tasks.square, range(20))
            theirs = second.map_async(tasks.sleep_for, [0.01] * 3)
            different = first.apply(tasks.pid) != second.apply(tasks.pid)
            return ours.get(LIMIT_S), theirs.get(LIMIT_S), different

    compare(scenario, libraries)


def test_several_maps_run_in_one_pool_at_once(pools):
    def scenario(pool):
        running = [pool.map_async(tasks.square, range(i, i + 30), chunksize=2) for i in range(5)]
        lazy = pool.imap(tasks.square, range(30))
        return [result.get(LIMIT_S) for result in running], list(lazy)

    compare(scenario, pools)
