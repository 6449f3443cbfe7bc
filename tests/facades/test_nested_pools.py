"""Workers open pools of their own, to any depth; and they end with their owners, however those end."""

import logging
import os
import signal
import time

import psutil
import pytest

import distpool
import distpool.futures
from distpool.errors import CallTimeout, WorkerDied
from tests.runtime.programs import left_of, processes_of, program, until

from . import tasks
from .comparison import LIMIT_S

pytestmark = pytest.mark.extension

METHODS = ["fork", "forkserver", "spawn"]
GONE_WITHIN_S = 1.0


def sum_below(method, depth, value):
    """The sum of `depth` levels of two calls each."""
    if depth == 0:
        return value
    with distpool.get_context(method).Pool(2) as pool:
        return sum(pool.starmap(sum_below, [(method, depth - 1, value), (method, depth - 1, value + 1)], 1))


def depth_by_one_worker(method, depth):
    """How deep it went, through one worker at each level."""
    if depth == 0:
        return 0
    with distpool.get_context(method).Pool(1) as pool:
        return 1 + pool.apply(depth_by_one_worker, (method, depth - 1))


def depth_by_executors(method, depth):
    if depth == 0:
        return 0
    with distpool.Executor(1, mp_context=distpool.get_context(method)) as executor:
        return 1 + executor.submit(depth_by_executors, method, depth - 1).result(LIMIT_S)


def stay_below(method, depth, folder):
    """Say so in the innermost pool, and stay there."""
    if depth == 0:
        tasks.create_file(os.path.join(folder, "innermost"))
        time.sleep(LIMIT_S)
        return
    with distpool.get_context(method).Pool(1) as pool:
        pool.apply(stay_below, (method, depth - 1, folder))


def keep_a_pool():
    """The pool is neither closed nor terminated when the call ends."""
    global kept
    kept = distpool.get_context("fork").Pool(1)
    kept.apply(tasks.pid)
    return os.getpid()


def use_the_kept_pool():
    return kept.apply(tasks.square, (3,))


@pytest.mark.parametrize("method", METHODS)
def test_pools_in_workers_to_a_depth_of_four(method):
    with distpool.get_context(method).Pool(1) as pool:
        assert pool.apply_async(depth_by_one_worker, (method, 3)).get(LIMIT_S) == 3
    pool.join()


def test_a_tree_of_pools():
    assert sum_below("fork", 4, 1) == 48


@pytest.mark.parametrize(("outer", "inner"), [("fork", "spawn"), ("spawn", "forkserver"), ("forkserver", "fork")])
def test_start_methods_may_be_mixed(outer, inner):
    with distpool.get_context(outer).Pool(1) as pool:
        assert pool.apply_async(depth_by_one_worker, (inner, 1)).get(LIMIT_S) == 1
    pool.join()


def test_executors_in_workers():
    assert depth_by_executors("fork", 3) == 3


def test_a_pool_may_live_on_in_its_worker_and_ends_with_it():
    with distpool.get_context("fork").Pool(1) as pool:
        worker = psutil.Process(pool.apply(keep_a_pool))
        below = worker.children(recursive=True)
        assert len(below) == 2, "a template and a worker"
        assert pool.apply(use_the_kept_pool) == 9
        pool.close()
        pool.join()
    assert until(lambda: not left_of(below), GONE_WITHIN_S), left_of(below)


def test_lambdas_exceptions_and_options_pass_through_a_nested_pool():
    def run(value):
        with distpool.get_context("fork").Pool(1) as pool:
            return pool.with_options(retries=1).map(lambda item: 10 // item, [value])

    with distpool.get_context("fork").Pool(1) as pool:
        assert pool.apply(run, (5,)) == [2]
        with pytest.raises(ZeroDivisionError):
            pool.apply(run, (0,))
    pool.join()


def test_output_and_log_records_pass_through_a_nested_pool(capsys, caplog):
    def speak():
        print("from within")
        logging.getLogger("tests.nested").warning("logged within")

    def run():
        with distpool.get_context("fork").Pool(1) as pool:
            pool.apply(speak)

    with distpool.get_context("fork").Pool(1) as pool:
        pool.apply(run)
        assert capsys.readouterr().out == "from within\n"
        assert [record.getMessage() for record in caplog.records] == ["logged within"]
    pool.join()


# ---- ends


@pytest.mark.parametrize("method", METHODS)
def test_the_inner_pool_of_a_killed_worker_is_gone(tmp_path, method):
    with distpool.get_context(method).Pool(1) as pool:
        worker = pool._pool[0]
        result = pool.apply_async(stay_below, (method, 1, str(tmp_path)))
        assert until((tmp_path / "innermost").exists)
        below = psutil.Process(worker.pid).children(recursive=True)
        assert len(below) == 2, "a template and a worker"
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerDied):
            result.get(LIMIT_S)
        assert until(lambda: not left_of(below), GONE_WITHIN_S), left_of(below)
        assert pool.apply(tasks.square, (3,)) == 9
    pool.join()


def test_the_inner_pools_of_a_call_that_ran_for_too_long_are_gone(tmp_path):
    with distpool.get_context("fork").Pool(1) as pool:
        result = pool.with_options(timeout=1.0).apply_async(stay_below, ("fork", 2, str(tmp_path)))
        assert until((tmp_path / "innermost").exists)
        below = psutil.Process(pool._pool[0].pid).children(recursive=True)
        with pytest.raises(CallTimeout):
            result.get(LIMIT_S)
        assert until(lambda: not left_of(below), 3 * GONE_WITHIN_S), left_of(below)
    pool.join()


def test_terminate_ends_all_that_is_below(tmp_path):
    with distpool.get_context("fork").Pool(1) as pool:
        pool.apply_async(stay_below, ("fork", 2, str(tmp_path)))
        assert until((tmp_path / "innermost").exists)
        below = psutil.Process(pool._pool[0].pid).children(recursive=True)
        pool.terminate()
        pool.join()
        assert until(lambda: not left_of(below), GONE_WITHIN_S), left_of(below)


DRIVER = """
    import sys
    from tests.facades.test_nested_pools import stay_below

    if __name__ == "__main__":
        stay_below(sys.argv[1], 4, sys.argv[2])
"""


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_driver_leaves_nothing_at_any_depth(tmp_path, method):
    with program(tmp_path, DRIVER, method, str(tmp_path)) as driver:
        assert until((tmp_path / "innermost").exists)
        processes = processes_of(driver.pid)
        assert len(processes) >= 8, "at each of four levels a template and a worker"
        driver.kill()
        killed_at = time.monotonic()
        assert until(lambda: not left_of(processes)), left_of(processes)
        assert time.monotonic() - killed_at < GONE_WITHIN_S
