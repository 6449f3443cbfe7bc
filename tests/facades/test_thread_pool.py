"""ThreadPool: the pool's interface on threads, where nothing is pickled and no exception is wrapped."""

import importlib
import multiprocessing.pool
import threading

import pytest

import distpool.pool

from . import tasks
from .comparison import LIMIT_S, Pair, compare, failure_of, normalised

POOL_CLASSES = Pair(multiprocessing.pool.ThreadPool, distpool.pool.ThreadPool)


@pytest.fixture
def thread_pools():
    with POOL_CLASSES.standard(2) as standard, POOL_CLASSES.distpool(2) as ours:
        yield Pair(standard, ours)
    standard.join()
    ours.join()


@pytest.mark.parametrize(
    "call",
    [
        lambda pool: pool.apply(tasks.add, (1,), {"y": 2}),
        lambda pool: pool.apply_async(tasks.add, (1, 2)).get(LIMIT_S),
        lambda pool: pool.map(tasks.square, range(20)),
        lambda pool: pool.map(tasks.square, range(20), 3),
        lambda pool: pool.map_async(tasks.square, (i for i in range(5))).get(LIMIT_S),
        lambda pool: pool.starmap(tasks.add, [(1, 2), (3, 4)]),
        lambda pool: pool.starmap_async(tasks.add, [(1, 2)]).get(LIMIT_S),
        lambda pool: list(pool.imap(tasks.square, range(20))),
        lambda pool: list(pool.imap(tasks.square, range(20), 3)),
        lambda pool: sorted(pool.imap_unordered(tasks.square, range(20))),
        lambda pool: (pool.map(tasks.square, []), list(pool.imap(tasks.square, []))),
        lambda pool: (pool._state, len(pool._pool), pool._processes, normalised(repr(pool))),
    ],
)
def test_every_call_gives_the_same_results(thread_pools, call):
    compare(call, thread_pools)


def test_functions_arguments_and_results_need_no_pickle(thread_pools):
    def scenario(pool):
        lock = threading.Lock()
        return (
            pool.apply(lambda x: x, (lock,)) is lock,
            pool.map(lambda x: x + 1, range(3)),
            callable(pool.apply(tasks.return_lambda)),
        )

    compare(scenario, thread_pools)


def test_exceptions_are_the_ones_that_were_raised_without_a_remote_cause(thread_pools):
    def scenario(pool):
        error = KeyError("the very same")
        with pytest.raises(KeyError) as caught:
            pool.apply(tasks.raise_error, (error,))
        return caught.value is error, error.__cause__, failure_of(lambda: pool.map(tasks.fail_on_three, range(5)))

    compare(scenario, thread_pools)


def test_callbacks_run_before_get_returns(thread_pools):
    def scenario(pool):
        called, failed = [], []
        pool.apply_async(tasks.square, (3,), callback=called.append).get(LIMIT_S)
        result = pool.map_async(tasks.fail, ["x"], callback=called.append, error_callback=failed.append)
        failure_of(lambda: result.get(LIMIT_S))
        return called, [type(error) for error in failed]

    compare(scenario, thread_pools)


def test_the_initializer_runs_in_each_thread():
    def scenario(kind):
        names = []
        with kind(3, lambda prefix: names.append(prefix), ("x",)) as pool:
            pool.map(tasks.square, range(10))
        return names

    compare(scenario, POOL_CLASSES)


def test_time_outs_and_states_are_a_process_pools(new_gate):
    def scenario(kind):
        gate = new_gate()
        pool = kind(1)
        result = pool.apply_async(tasks.wait_for, (gate.path, 4))
        facts = [failure_of(lambda: result.get(0.01)), failure_of(result.successful), failure_of(pool.join)]
        gate.open()
        pool.close()
        pool.join()
        facts += [result.get(0), pool._state, failure_of(lambda: pool.apply(tasks.square, (1,)))]
        return facts

    compare(scenario, POOL_CLASSES)


@pytest.mark.parametrize("processes", [0, -1, "x"])
def test_a_senseless_size_is_refused(processes):
    compare(lambda kind: kind(processes), POOL_CLASSES, raises=TypeError if processes == "x" else ValueError)


def test_an_initializer_that_is_not_callable_is_refused():
    compare(lambda kind: kind(1, 5), POOL_CLASSES, raises=TypeError)


def test_the_dummy_packages_pool_is_a_thread_pool():
    def scenario(name):
        with importlib.import_module(f"{name}.dummy").Pool(2) as pool:
            return pool.map(tasks.square, range(4)), pool.apply(threading.current_thread) is not threading.main_thread()

    compare(scenario, Pair("multiprocessing", "distpool"))
