"""Nodes that leave while pools run: nothing is lost, nothing runs twice, nothing fails."""

import signal
from collections import Counter
from pathlib import Path

import pytest

from distpool import NodeLost, Pool
from distpool.futures import ProcessPoolExecutor
from tests.cluster import tasks
from tests.cluster.conftest import use
from tests.runtime.programs import program, until

LIMIT_S = 20.0


def lines_of(path):
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def busy_on_both(pool, nodes):
    """Once the pool has workers on both nodes."""
    until(lambda: len({node for node, _ in pool.map(tasks.where_slowly, [0.03] * 8, chunksize=1)}) == len(nodes))


@pytest.fixture
def nodes(processes, monkeypatch):
    processes.start_head()
    started = {name: processes.start_node(name, "--cpus", "6") for name in ("first", "second")}
    processes.until(lambda: processes.nodes() == set(started))
    use(processes, monkeypatch)
    return started


OTHER_DRIVER = """
    import sys
    from distpool import Pool
    from tests.cluster.tasks import append, where_slowly

    if __name__ == "__main__":
        with Pool(2) as pool:
            while len({node for node, _ in pool.map(where_slowly, [0.03] * 8, chunksize=1)}) < 2:
                pass
            print("ready", flush=True)
            names = [f"other {number}" for number in range(200)]
            assert pool.starmap(append, [(sys.argv[1], name, 0.01) for name in names], chunksize=1) == names
        print("done", flush=True)
"""


def test_pools_executors_and_other_programs_do_not_notice_that_a_node_is_drained(nodes, processes, tmp_path, caplog):
    path = str(tmp_path / "begun")
    with program(tmp_path, OTHER_DRIVER, path) as driver, Pool(2) as pool, ProcessPoolExecutor(2) as executor:
        assert driver.stdout.readline() == "ready\n"
        busy_on_both(pool, nodes)
        # Begun when the node is drained, and still running then; what is behind them has not begun.
        long = [pool.apply_async(tasks.append, (path, f"long {number}", 1.5)) for number in range(2)]
        until(lambda: sum(line.startswith("long") for line in lines_of(path)) == 2)
        short = [pool.apply_async(tasks.append, (path, f"short {number}")) for number in range(50)]
        futures = [executor.submit(tasks.append, path, f"future {number}", 0.01) for number in range(200)]
        drained = processes.run("node", "--drain", "first")
        assert (drained.returncode, drained.stdout) == (0, "node first has left\n"), drained.stderr
        assert "node first is being drained; leases: " in drained.stderr
        assert nodes["first"].wait(LIMIT_S) == 0
        assert processes.nodes() == {"second"}
        assert [result.get(LIMIT_S) for result in long] == ["long 0", "long 1"]
        assert [result.get(LIMIT_S) for result in short] == [f"short {number}" for number in range(50)]
        assert [future.result(LIMIT_S) for future in futures] == [f"future {number}" for number in range(200)]
        output, errors = driver.communicate(timeout=LIMIT_S)
        assert (output, errors) == ("done\n", "")
        assert len(lines_of(path)) == 452
        assert max(Counter(lines_of(path)).values()) == 1, "a call ran twice"
        # All are elsewhere now, and as many as before.
        assert until(lambda: len(set(pool.map(tasks.where_slowly, [0.05] * 4, chunksize=1))) == 2)
        assert {node for node, _ in pool.map(tasks.where, range(10))} == {nodes["second"].pid}
    assert "asked for" not in caplog.text, "there was room for all"


def test_what_takes_longer_than_the_limit_is_lost_with_the_node(nodes, processes, tmp_path):
    path = str(tmp_path / "begun")
    with Pool(4) as pool:
        busy_on_both(pool, nodes)
        results = [pool.apply_async(tasks.append, (path, f"{number}", 3.0)) for number in range(4)]
        until(lambda: len(lines_of(path)) == 4)
        drained = processes.run("node", "--drain", "first", "--timeout", "500ms")
        assert drained.returncode == 0, drained.stderr
        assert nodes["first"].wait(LIMIT_S) == 0
        ends = []
        for result in results:
            try:
                ends.append(result.get(LIMIT_S))
            except NodeLost as error:
                ends.append(error.node)
        assert ends.count("first") == 2
    unknown = processes.run("node", "--drain", "frist")
    assert unknown.returncode == 1
    assert unknown.stderr == "distpool node: there is no node 'frist'; there are: second\n"
    wrong = processes.run("node", "--drain", "second", "--timeout", "soon")
    assert wrong.returncode == 2
    assert "the time is 'soon'; it must be a number of seconds above 0, or a text such as" in wrong.stderr


def test_a_node_that_is_terminated_lets_calls_finish_and_at_the_second_time_does_not(nodes, processes, tmp_path):
    path = str(tmp_path / "begun")
    with Pool(4) as pool:
        busy_on_both(pool, nodes)
        results = [pool.apply_async(tasks.append, (path, f"{number}", 1.0)) for number in range(4)]
        until(lambda: len(lines_of(path)) == 4)
        nodes["first"].send_signal(signal.SIGTERM)
        assert [result.get(LIMIT_S) for result in results] == ["0", "1", "2", "3"]
        assert nodes["first"].wait(LIMIT_S) == 0
        endless = pool.apply_async(tasks.append, (path, "endless", 600.0))
        until(lambda: "endless" in lines_of(path))
        nodes["second"].send_signal(signal.SIGTERM)
        processes.until(lambda: processes.status()["nodes"][0]["state"] == "draining")
        assert not endless.ready()
        nodes["second"].send_signal(signal.SIGTERM)
        with pytest.raises(NodeLost):
            endless.get(LIMIT_S)
        assert nodes["second"].wait(LIMIT_S) == 0
