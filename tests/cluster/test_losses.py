"""What is lost when a node, a head or a driver is, with calls under way; and what is not."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

import distpool
from distpool import NodeLost, Pool
from tests.cluster import tasks
from tests.cluster.conftest import use
from tests.cluster.processes import Cluster
from tests.runtime.programs import is_gone, program, until

LIMIT_S = 20.0
GIVEN_UP_WITHIN_S = 5.0


@pytest.fixture
def nodes(processes: Cluster, monkeypatch) -> dict[str, psutil.Popen]:
    """Two nodes of two CPUs each, by their names, which this process uses and the test may kill."""
    processes.start_head()
    started = {name: processes.start_node(name, "--cpus", "2") for name in ("first", "second")}
    processes.until(lambda: processes.nodes() == set(started))
    use(processes, monkeypatch)
    return started


def node_of(pool, nodes):
    """Where each worker is, once all are there: the names of the nodes."""
    names = {process.pid: name for name, process in nodes.items()}
    give_up_at = time.monotonic() + LIMIT_S
    while len(places := set(pool.map(tasks.where_slowly, [0.03] * 16, chunksize=1))) < 4:
        assert time.monotonic() < give_up_at
    return [names[node] for node, _ in places]


def is_tracker(process):
    """The standard library's, which lives as long as its node."""
    return "resource_tracker" in " ".join(process.cmdline())


def test_what_lay_on_a_node_that_is_lost_is_lost_and_named_and_the_rest_stays_without_a_pool(nodes):
    with Pool(4) as pool:
        node_of(pool, nodes)
        there = {}
        while len(there) < 2:
            there.update(pool.map(tasks.put_here, [10] * 8, chunksize=1))
    nodes["first"].kill()
    nodes["first"].wait()
    with pytest.raises(distpool.ObjectLost, match=r"is gone: it lay on node 'first', which has left, or was lost"):
        distpool.get(there[nodes["first"].pid])
    assert distpool.get(there[nodes["second"].pid]).sum() == 10
    distpool.shutdown()  # while there is a head that can hear it


def test_values_of_tasks_stay_when_their_node_is_lost_and_are_there_for_what_runs_again(nodes, tmp_path):
    path, gate, size = str(tmp_path / "begun"), tmp_path / "gate", 20_000
    lost, other = nodes["first"].pid, nodes["second"].pid
    made, give_up_at = {}, time.monotonic() + LIMIT_S
    while set(made) < {lost, other}:
        assert time.monotonic() < give_up_at
        refs = [tasks.ones_and_where.remote(size) for _ in range(8)]
        made.update((distpool.get(where), array) for array, where in refs)
    # Two on each node, with a value of the node that is lost.
    repeated = tasks.total_when_told.options(retries=1)
    running = [repeated.remote(path, str(gate), made[lost]) for _ in range(4)]
    until(lambda: Path(path).exists() and Path(path).read_text().split().count(str(lost)) == 2)
    nodes["first"].kill()
    nodes["first"].wait()
    gate.touch()
    assert distpool.get(running) == [(float(size), other)] * 4
    assert distpool.get(made[lost]).sum() == size
    assert distpool.get(tasks.remote_total.remote(made[lost])) == (float(size), other)
    distpool.shutdown()  # while there is a head that can hear it


def test_a_node_that_is_killed_costs_the_calls_that_it_had_begun_and_its_workers_go(nodes, tmp_path):
    path = str(tmp_path / "begun")
    with Pool(4) as pool:
        assert Counter(node_of(pool, nodes)) == {"first": 2, "second": 2}
        workers = psutil.Process(nodes["first"].pid).children(recursive=True)
        # One call for each worker, and many that wait.
        lost = []
        long = [
            pool.apply_async(
                tasks.append,
                (path, f"long {number}", 3.0),
                error_callback=lambda error: lost.append((error, time.monotonic())),
            )
            for number in range(4)
        ]
        until(lambda: Path(path).exists() and len(Path(path).read_text().splitlines()) == 4)
        short = [pool.apply_async(tasks.append, (path, f"short {number}")) for number in range(100)]
        # What was sent ahead comes back when the call before it turns out to be long; until then it may have begun.
        time.sleep(0.3)
        nodes["first"].kill()
        killed_at = time.monotonic()
        for result in long:
            result.wait(LIMIT_S)
        assert len(lost) == 2
        for error, lost_at in lost:
            assert isinstance(error, NodeLost)
            assert error.node == "first"
            assert error.call == "append"
            assert "node 'first' was lost with a worker while it ran append" in str(error)
            assert lost_at - killed_at < 1.0
        assert [result.get(LIMIT_S) for result in short] == [f"short {number}" for number in range(100)]
        assert max(Counter(Path(path).read_text().splitlines()).values()) == 1, "a call ran twice"
        assert until(lambda: all(map(is_gone, workers)), 1.0)


def test_with_retries_the_calls_of_a_lost_node_run_again(nodes):
    with Pool(4) as pool:
        node_of(pool, nodes)
        results = pool.with_options(retries=2).map_async(time.sleep, [0.5] * 8, chunksize=1)
        time.sleep(0.3)
        nodes["second"].kill()
        assert results.get(LIMIT_S) == [None] * 8


def test_a_node_that_is_silent_is_given_up_and_one_that_comes_back_has_ended_its_workers(nodes, tmp_path):
    path = str(tmp_path / "begun")
    with Pool(4) as pool:
        node_of(pool, nodes)
        results = [pool.apply_async(tasks.append, (path, f"{number}", 0.5)) for number in range(4)]
        until(lambda: Path(path).exists() and len(Path(path).read_text().splitlines()) == 4)
        below = psutil.Process(nodes["first"].pid).children(recursive=True)
        workers = [process for process in below if not is_tracker(process)]
        nodes["first"].send_signal(signal.SIGSTOP)
        stopped_at = time.monotonic()
        lost = 0
        for result in results:
            try:
                result.get(LIMIT_S)
            except NodeLost:
                lost += 1
        assert lost == 2
        assert time.monotonic() - stopped_at < GIVEN_UP_WITHIN_S
        nodes["first"].send_signal(signal.SIGCONT)
        assert until(lambda: all(map(is_gone, workers)), GIVEN_UP_WITHIN_S), [worker.cmdline() for worker in workers]
        # It is there again, and the pool uses it.
        assert Counter(node_of(pool, nodes)) == {"first": 2, "second": 2}


def test_a_running_pool_does_not_notice_that_the_head_is_killed_and_started_again(nodes, processes, tmp_path):
    path = str(tmp_path / "begun")
    with Pool(4) as pool:
        node_of(pool, nodes)
        names = [f"call {number}" for number in range(400)]
        results = pool.starmap_async(tasks.append, [(path, name, 0.02) for name in names], chunksize=1)
        time.sleep(0.3)
        head = processes.processes[0]
        head.kill()
        head.wait()
        time.sleep(0.5)
        assert not results.ready()
        processes.start_head()
        assert results.get(LIMIT_S) == names
        assert Counter(Path(path).read_text().splitlines()) == dict.fromkeys(names, 1)
        # The new head knows who has which leases, and gives out new ones.
        processes.until(lambda: {node["leases"] for node in processes.status()["nodes"]} == {2}, GIVEN_UP_WITHIN_S)
        with pytest.raises(distpool.WorkerDied):
            pool.apply(tasks.die)
        assert len(node_of(pool, nodes)) == 4
    processes.until(lambda: {node["leases"] for node in processes.status()["nodes"]} == {0})


def test_a_pool_that_was_opened_without_the_head_gets_its_workers_when_there_is_one_again(nodes, processes):
    with Pool(2) as pool:
        assert pool.map(tasks.square, range(10))[3] == 9
        processes.processes[0].kill()
        processes.processes[0].wait()
        with Pool(2) as late:
            result = late.map_async(tasks.square, range(10))
            assert pool.map(tasks.square, range(10))[3] == 9
            assert not result.ready()
            processes.start_head()
            listens_at = time.monotonic()
            assert result.get(LIMIT_S)[3] == 9
            assert time.monotonic() - listens_at < GIVEN_UP_WITHIN_S


def test_a_node_that_joins_is_used_by_a_pool_that_waits_for_workers_and_has_said_so_once(nodes, processes, caplog):
    with Pool(6) as pool:
        node_of(pool, nodes)
        assert until(lambda: "asked for" in caplog.text)
        record = next(record for record in caplog.records if "asked for" in record.getMessage())
        assert (record.name, record.levelname) == ("distpool", "WARNING")
        text = "the pool asked for 6 workers and has 4: the cluster's 4 CPUs are in use. It goes on with what it has"
        assert record.getMessage().startswith(text)
        third = processes.start_node("third", "--cpus", "2")
        names = {process.pid: name for name, process in {**nodes, "third": third}.items()}
        began_at = time.monotonic()
        seen: set[str] = set()
        while "third" not in seen:
            seen |= {names[node] for node, _ in pool.map(tasks.where_slowly, [0.02] * 12, chunksize=1)}
            assert time.monotonic() - began_at < LIMIT_S
    assert caplog.text.count("asked for") == 1


def test_a_pool_that_waits_for_its_first_node_begins_when_there_is_one(processes, monkeypatch):
    processes.start_head()
    use(processes, monkeypatch)
    with Pool(2) as pool:
        result = pool.map_async(tasks.square, range(10))
        time.sleep(0.3)
        assert not result.ready()
        processes.start_node("late", "--cpus", "2")
        assert result.get(LIMIT_S)[3] == 9


DRIVER = """
    import sys, time
    import distpool
    from distpool import Pool
    from tests.cluster.tasks import put_array, total, where_slowly

    if __name__ == "__main__":
        pool = Pool(4)
        while len(places := set(pool.map(where_slowly, [0.03] * 16, chunksize=1))) < 4:
            pass
        made = [pool.apply(put_array, (100_000, 1.0)) for _ in range(4)]
        mine = distpool.put(bytes(1_000_000))
        pool.map(len, [mine] * 8, chunksize=1)
        pool.map(total, made, chunksize=1)
        print(*[pid for _, pid in places], flush=True)
        pool.map(time.sleep, [60] * 4, chunksize=1)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSTOP])
def test_a_driver_that_goes_frees_its_workers_and_objects_on_all_nodes(nodes, processes, tmp_path, number):
    with program(tmp_path, DRIVER) as driver:
        workers = [psutil.Process(int(pid)) for pid in driver.stdout.readline().split()]
        assert len(workers) == 4
        processes.until(lambda: sum(node["objects"] for node in processes.status()["nodes"]) >= 5)
        os.kill(driver.pid, number)
        gone_at_s = processes.until(lambda: all(map(is_gone, workers)), GIVEN_UP_WITHIN_S)
        assert gone_at_s < (GIVEN_UP_WITHIN_S if number in (signal.SIGSTOP, signal.SIGKILL) else 3.0)
        processes.until(lambda: {node["leases"] for node in processes.status()["nodes"]} == {0})
        processes.until(lambda: {node["objects"] for node in processes.status()["nodes"]} == {0})
        with Pool(4) as pool:
            assert len(node_of(pool, nodes)) == 4


BUSY_DRIVER = """
    import ctypes
    from distpool import Pool
    from tests.cluster.tasks import where_slowly

    if __name__ == "__main__":
        with Pool(4) as pool:
            before = set()
            while len(before) < 4:
                before |= set(pool.map(where_slowly, [0.03] * 16, chunksize=1))
            ctypes.PyDLL(None).sleep(5)  # with the interpreter's lock: no thread of this program runs meanwhile
            after = set(pool.map(where_slowly, [0.03] * 16, chunksize=1))
            print(after <= before)
"""


def test_a_program_that_holds_the_interpreters_lock_for_long_keeps_its_workers(nodes, tmp_path, processes):
    with program(tmp_path, BUSY_DRIVER) as driver:
        output, errors = driver.communicate(timeout=LIMIT_S)
    assert (output, errors) == ("True\n", "")


def test_without_a_head_a_pool_is_an_error_in_one_line_that_says_what_was_tried(processes, monkeypatch):
    processes.start_head()
    use(processes, monkeypatch)
    processes.processes[0].kill()
    processes.processes[0].wait()
    with pytest.raises(distpool.errors.HeadUnreachable, match="no head answered within 5 s; nothing listens at port"):
        Pool(2)
    monkeypatch.setenv("DISTPOOL_ADDRESS", "no such address")
    with pytest.raises(distpool.DistpoolError, match="'no such address'; it must be like tcp://host"):
        Pool(2)
