"""A pool's states: running, closed, terminated, joined, garbage-collected."""

import copy
import gc
import pickle
import time
import warnings

import psutil
import pytest

from . import tasks
from .comparison import LIMIT_S, compare, failure_of, normalised

CALLS = {
    "apply": lambda pool: pool.apply(tasks.square, (1,)),
    "apply_async": lambda pool: pool.apply_async(tasks.square, (1,)),
    "map": lambda pool: pool.map(tasks.square, [1]),
    "map_async": lambda pool: pool.map_async(tasks.square, [1]),
    "starmap": lambda pool: pool.starmap(tasks.add, [(1,)]),
    "starmap_async": lambda pool: pool.starmap_async(tasks.add, [(1,)]),
    "imap": lambda pool: pool.imap(tasks.square, [1]),
    "imap_chunks": lambda pool: pool.imap(tasks.square, [1], 2),
    "imap_unordered": lambda pool: pool.imap_unordered(tasks.square, [1]),
    "imap_unordered_chunks": lambda pool: pool.imap_unordered(tasks.square, [1], 2),
    "enter": lambda pool: pool.__enter__(),
}


@pytest.mark.parametrize("end", ["close", "terminate"])
def test_a_pool_that_has_ended_refuses_every_call(libraries, end):
    def scenario(library):
        pool = library.pool(1)
        getattr(pool, end)()
        try:
            return {name: failure_of(lambda call=call: call(pool)) for name, call in CALLS.items()}
        finally:
            pool.terminate()
            pool.join()

    compare(scenario, libraries)


def test_join_needs_an_ended_pool(pools):
    compare(lambda pool: pool.join(), pools, raises=ValueError)


def test_a_worker_that_is_let_go_runs_its_exit_functions(libraries, tmp_path):
    def scenario(library):
        folder = tmp_path / library.name
        folder.mkdir()
        pool = library.pool(1, tasks.note_exit, (folder,))
        pool.close()
        pool.join()
        return sorted(path.name for path in folder.iterdir())

    compare(scenario, libraries)


def test_a_pool_asked_for_its_workers_has_all_of_them(libraries):
    # The standard pool's own thread adds workers at the same time, and may add one too many.
    with libraries.distpool.pool(2, maxtasksperchild=1) as pool:
        pool.map(tasks.square, range(4), 1)
        pool._repopulate_pool()
        assert len(pool._pool) == 2
        assert all(worker.pid is not None for worker in pool._pool)


def test_close_lets_everything_finish(libraries):
    def scenario(library):
        pool = library.pool(2)
        result = pool.map_async(tasks.square, range(200), chunksize=1)
        lazy = pool.imap(tasks.square, range(20))
        pool.close()
        pool.join()
        return result.ready(), result.get(0), list(lazy)

    compare(scenario, libraries)


def test_close_terminate_and_join_may_be_repeated(libraries):
    def scenario(library):
        pool = library.pool(1)
        states = [pool._state]
        for step in (pool.close, pool.close, pool.join, pool.join, pool.terminate, pool.terminate, pool.join):
            assert step() is None
            states.append(pool._state)
        return states

    compare(scenario, libraries)


def test_leaving_the_with_block_terminates(libraries):
    def scenario(library):
        with library.pool(1) as pool:
            entered = pool._state
            workers = list(pool._pool)
        pool.join()
        return entered, pool._state, [worker.is_alive() for worker in workers]

    compare(scenario, libraries)


def test_the_with_block_passes_exceptions_on(libraries):
    def scenario(library):
        with library.pool(1) as pool:
            pool.apply(tasks.fail, ("inside",))

    compare(scenario, libraries, raises=ValueError)


def test_terminate_does_not_wait_for_long_tasks(libraries):
    def scenario(library):
        pool = library.pool(2)
        results = [pool.apply_async(tasks.sleep_for, (30,)) for _ in range(8)]
        before = time.monotonic()
        pool.terminate()
        pool.join()
        return time.monotonic() - before < 10, [result.ready() and result.successful() for result in results]

    compare(scenario, libraries)


def test_terminate_stops_reading_an_endless_input(libraries):
    def scenario(library):
        def endless():
            while True:
                yield 1

        pool = library.pool(1)
        results = pool.imap_unordered(tasks.square, endless())
        first = results.next(LIMIT_S)
        pool.terminate()
        pool.join()
        return first, pool._state

    compare(scenario, libraries)


@pytest.mark.parametrize("end", ["close", "terminate"])
def test_no_worker_is_alive_after_join(libraries, end):
    def scenario(library):
        pool = library.pool(2)
        pids = [worker.pid for worker in pool._pool]
        alive = [psutil.pid_exists(pid) for pid in pids]
        getattr(pool, end)()
        pool.join()
        return alive, [psutil.pid_exists(pid) for pid in pids]

    compare(scenario, libraries)


def test_workers_that_are_idle_when_the_pool_closes_exit_with_zero(libraries):
    def scenario(library):
        pool = library.pool(2)
        workers = list(pool._pool)
        pool.map(tasks.square, range(4))
        pool.close()
        pool.join()
        return [worker.exitcode for worker in workers]

    compare(scenario, libraries)


@pytest.mark.parametrize("maxtasks", [None, 1])
def test_exit_functions_of_a_worker_run_when_it_ends(libraries, tmp_path, maxtasks):
    def scenario(library):
        path = tmp_path / library.name
        with library.pool(1, tasks.register_exit_functions, (str(path),), maxtasks) as pool:
            pool.apply(tasks.square, (3,))
            pool.close()
            pool.join()
        return set(path.read_text().split())

    compare(scenario, libraries)


def test_a_running_pool_that_is_collected_warns_and_ends(libraries):
    def scenario(library):
        # No call first: the standard pool's own thread may hold its result, and so the pool, for a moment longer.
        pool = library.pool(1)
        workers = list(pool._pool)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del pool
            gc.collect()
        warned = [(entry.category, normalised(str(entry.message))) for entry in caught if "pool" in str(entry.message)]
        caught.clear()  # a recorded warning keeps the pool it is about alive
        gc.collect()
        for worker in workers:
            worker.join(LIMIT_S)
        return warned, [worker.is_alive() for worker in workers]

    compare(scenario, libraries)


@pytest.mark.parametrize("end", ["close", "terminate"])
def test_an_ended_pool_is_collected_without_a_warning(libraries, end):
    def scenario(library):
        pool = library.pool(1)
        getattr(pool, end)()
        pool.join()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del pool
            gc.collect()
        return [str(entry.message) for entry in caught if "pool" in str(entry.message)]

    compare(scenario, libraries)


def test_a_result_outlives_its_pool(libraries):
    def scenario(library):
        with library.pool(1) as pool:
            result = pool.map_async(tasks.square, range(5))
            result.wait(LIMIT_S)
        pool.join()
        del pool
        gc.collect()
        return result.get(0)

    compare(scenario, libraries)


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_pool_can_be_neither_pickled_nor_copied(pools, duplicate):
    compare(duplicate, pools, raises=NotImplementedError)


def test_the_repr_shows_state_and_size(libraries):
    def scenario(library):
        pool = library.pool(2)
        texts = [normalised(repr(pool))]
        pool.close()
        texts.append(normalised(repr(pool)))
        pool.terminate()
        pool.join()
        return texts, normalised(repr(pool)).split(" pool_size")[0]

    compare(scenario, libraries)


def test_making_and_ending_pools_again_and_again(libraries):
    def scenario(library):
        results = []
        for number in range(4):
            with library.pool(1) as pool:
                results.append(pool.apply_async(tasks.square, (number,)).get(LIMIT_S))
        return results

    compare(scenario, libraries)
