"""Pools and executors whose workers are on two nodes do what they do on one machine."""

import logging
import os
import re
import time

import numpy as np
import pytest

import distpool
from distpool import Pool, WorkerDied
from distpool.futures import ProcessPoolExecutor, as_completed
from tests.cluster import tasks

pytestmark = pytest.mark.usefixtures("two_nodes")
LIMIT_S = 20.0


def test_a_pool_has_a_worker_for_each_cpu_of_all_nodes():
    with Pool() as pool:
        places = set(pool.map(tasks.where_slowly, [0.05] * 16, chunksize=1))
    assert len(places) == 4
    assert len({node for node, _ in places}) == 2


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_all_ways_to_call(method):
    with distpool.get_context(method).Pool(3) as pool:
        assert pool.map(tasks.square, range(1000)) == [x * x for x in range(1000)]
        assert pool.map(tasks.square, range(50), chunksize=1) == [x * x for x in range(50)]
        assert list(pool.imap(tasks.square, range(50))) == [x * x for x in range(50)]
        assert sorted(pool.imap_unordered(tasks.square, range(50), chunksize=7)) == [x * x for x in range(50)]
        assert pool.starmap(tasks.add, [(1, 2), (3, 4)]) == [3, 7]
        assert pool.apply(tasks.add, (1, 2), {"third": 3}) == 6
        assert pool.map_async(tasks.square, [3]).get(LIMIT_S) == [9]


def test_an_executor_does_too():
    with ProcessPoolExecutor(3) as executor:
        futures = {executor.submit(tasks.square, x): x for x in range(200)}
        assert all(future.result() == futures[future] ** 2 for future in as_completed(futures, LIMIT_S))
        assert list(executor.map(tasks.square, range(100), chunksize=9)) == [x * x for x in range(100)]
        assert isinstance(executor.submit(tasks.fail, "x").exception(LIMIT_S), KeyError)


def test_an_initializer_runs_in_each_worker():
    with Pool(4, tasks.set_up, ("key", [1, 2])) as pool:
        assert pool.map(tasks.state_of, ["key"] * 20, chunksize=1) == [[1, 2]] * 20


def test_a_pool_that_is_closed_at_once_has_had_its_workers(tmp_path):
    pool = Pool(3, tasks.append, (str(tmp_path / "begun"), "begun"))
    pool.close()
    pool.join()
    assert (tmp_path / "begun").read_text().splitlines() == ["begun"] * 3


def test_true_is_a_number_of_workers():
    with Pool(True) as pool, ProcessPoolExecutor(True) as executor:
        assert pool.apply(tasks.square, (3,)) == executor.submit(tasks.square, 3).result(LIMIT_S) == 9


@pytest.mark.parametrize("kind", ["Queue", "SimpleQueue", "Lock", "Event"])
def test_what_is_shared_by_inheritance_is_refused_as_an_initializers_argument_and_the_error_says_what_helps(kind):
    text = r"should only be shared .* a cluster's workers inherit nothing: .* Manager\(\).Queue\(\)"
    shared = getattr(distpool, kind)()
    with pytest.raises(RuntimeError, match=text):
        Pool(2, tasks.set_up, ("key", shared))
    executor = ProcessPoolExecutor(2, initializer=tasks.set_up, initargs=("key", shared))
    with executor, pytest.raises(RuntimeError, match=text):
        executor.submit(tasks.square, 2)


def test_a_managers_queue_reaches_the_nodes():
    with distpool.Manager() as manager:
        queue = manager.Queue()
        with Pool(2, queue.put, ("begun",)) as pool:
            pool.map(queue.put, range(5))
            pool.close()
            pool.join()
        assert sorted((queue.get(timeout=LIMIT_S) for _ in range(7)), key=str) == [0, 1, 2, 3, 4, "begun", "begun"]


def test_lambdas_and_closures_travel():
    factor = 3
    with Pool(2) as pool:
        assert pool.map(lambda x: x * factor, range(5)) == [0, 3, 6, 9, 12]


def test_errors_arrive_with_their_type_and_traceback():
    with Pool(2) as pool:
        with pytest.raises(KeyError, match="wrong") as caught:
            pool.apply(tasks.fail, ("wrong",))
        assert "in fail" in str(caught.value.__cause__)
        with pytest.raises(AttributeError):
            pool.apply(tasks.square, (lambda: None,), {"no": object().missing})


def test_what_workers_print_and_log_arrives_before_the_result(capfd, caplog):
    with Pool(2) as pool:
        with caplog.at_level(logging.WARNING):
            assert pool.apply(tasks.shout, ("hello",)) == "hello"
            assert "logged hello" in caplog.text
        output = capfd.readouterr()
        assert re.fullmatch(r"\[(first|second)\] hello\n", output.out)
        assert re.search(r"^\[(first|second)\] hello\n", output.err, re.MULTILINE)
        (record,) = [record for record in caplog.records if record.name == "tests.cluster"]
        assert record.getMessage() == f"[{record.node}] logged hello"


@pytest.mark.parametrize("megabytes", [0.05, 1, 20])
def test_arrays_arrive_as_they_were_and_writable(megabytes):
    array = np.arange(int(megabytes * 2**20 / 8), dtype=np.int64)
    with Pool(2) as pool:
        for doubled in pool.map(tasks.double, [array, array[::-1].copy()]):
            assert doubled.flags.writeable
            assert doubled.sum() == array.sum() * 2
        assert array[-1] == len(array) - 1


def test_a_ref_that_is_an_argument_arrives_as_its_value():
    ref = distpool.put(np.ones(100_000))
    with Pool(2, tasks.set_up, ("array", ref)) as pool:
        assert pool.map(tasks.total, [ref] * 4, chunksize=1) == [100_000.0] * 4
        assert pool.apply(tasks.total, (ref,)) == 100_000.0
        assert pool.apply(tasks.state_of, ("array",)).sum() == 100_000.0


def test_a_worker_that_dies_costs_the_call_that_it_had_begun_and_no_other():
    with Pool(4) as pool:
        results = [pool.apply_async(tasks.square, (x,)) for x in range(50)]
        lost = pool.apply_async(tasks.die)
        results += [pool.apply_async(tasks.square, (x,)) for x in range(50)]
        with pytest.raises(WorkerDied, match="was killed by SIGKILL") as caught:
            lost.get(LIMIT_S)
        assert caught.value.call == "die"
        assert [result.get(LIMIT_S) for result in results] == [x * x for x in range(50)] * 2
        assert len(set(pool.map(tasks.where_slowly, [0.05] * 16, chunksize=1))) == 4, "it was replaced"


def test_an_executor_breaks_with_its_worker():
    with ProcessPoolExecutor(2) as executor:
        with pytest.raises(distpool.futures.BrokenProcessPool):
            executor.submit(tasks.die).result(LIMIT_S)
        with pytest.raises(distpool.futures.BrokenProcessPool):
            executor.submit(tasks.square, 2)


@pytest.mark.parametrize("end", ["terminate_workers", "kill_workers"])
def test_an_executors_workers_can_be_ended_at_once(two_nodes, tmp_path, end):
    path = tmp_path / "begun"
    executor = ProcessPoolExecutor(2)
    running = [executor.submit(tasks.append, str(path), "begun", 30.0) for _ in range(2)]
    two_nodes.until(lambda: path.exists() and len(path.read_text().splitlines()) == 2)
    getattr(executor, end)()
    for future in running:
        assert isinstance(future.exception(LIMIT_S), distpool.futures.BrokenProcessPool)
    executor.shutdown()
    two_nodes.until(lambda: all(node["leases"] == 0 for node in two_nodes.status()["nodes"]))


def test_a_call_over_its_limit_is_ended():
    with Pool(2) as pool:
        began_at = time.monotonic()
        with pytest.raises(distpool.CallTimeout):
            pool.with_options(timeout=0.2).apply(time.sleep, (30,))
        assert time.monotonic() - began_at < 5
        assert pool.map(tasks.square, range(10)) == [x * x for x in range(10)]


def test_uneven_calls_balance_over_the_nodes():
    with Pool(4) as pool:
        pool.map(tasks.square, range(1000), chunksize=1)
        began_at = time.monotonic()
        pool.map(time.sleep, [0.5, *[0.01] * 60], chunksize=1)
        assert time.monotonic() - began_at < 3


def test_pools_end_in_every_way_and_leave_nothing_on_the_nodes(two_nodes):
    pool = Pool(4)
    result = pool.map_async(time.sleep, [30] * 4, chunksize=1)
    time.sleep(0.2)
    pool.terminate()
    pool.join()
    with pytest.raises(distpool.PoolTerminated):
        result.get(LIMIT_S)
    pool = Pool(4)
    kept = pool.map_async(tasks.square, range(100))
    pool.close()
    pool.join()
    assert kept.get(LIMIT_S)[9] == 81
    two_nodes.until(lambda: all(node["leases"] == 0 for node in two_nodes.status()["nodes"]))


def test_more_workers_than_there_are_cpus_wait_and_the_pool_runs_with_what_it_has():
    with Pool(3) as other, Pool(6) as pool:
        assert pool.map(tasks.square, range(100), chunksize=1) == [x * x for x in range(100)]
        assert other.map(tasks.square, range(10)) == [x * x for x in range(10)]
        other.terminate()
        other.join()
        places = set()
        give_up_at = time.monotonic() + LIMIT_S
        while len(places) < 4:
            places |= set(pool.map(tasks.where_slowly, [0.02] * 12, chunksize=1))
            assert time.monotonic() < give_up_at


def test_a_pool_that_never_got_a_worker_closes_all_the_same():
    with Pool(4) as pool:
        assert pool.map(tasks.square, [2]) == [4]
        late = Pool(2)
        late.close()
        late.join()


def test_a_worker_opens_pools_on_its_own_machine():
    with Pool(2) as pool:
        assert pool.apply(tasks.in_a_pool, ([1, 2, 3],)) == [1, 4, 9]


def test_calls_run_on_other_processes_than_this_one():
    with Pool(2) as pool:
        assert os.getpid() not in {pid for _, pid in pool.map(tasks.where, range(10))}
