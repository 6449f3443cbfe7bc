"""A head that is killed again and again, while a pool needs new workers all the time."""

from collections import Counter
from pathlib import Path

from distpool import Pool
from tests.cluster import tasks
from tests.cluster.conftest import use
from tests.runtime.programs import until

LIMIT_S = 20.0
CALLS = 100


def test_nothing_is_lost_and_nothing_runs_twice_and_workers_come_again_at_once(processes, monkeypatch, tmp_path):
    head = processes.start_head()
    for name in ("first", "second"):
        processes.start_node(name, "--cpus", "2")
    processes.until(lambda: processes.nodes() == {"first", "second"})
    use(processes, monkeypatch)
    path = tmp_path / "begun"
    path.touch()
    names = [f"call {number}" for number in range(CALLS)]
    with Pool(4, maxtasksperchild=3) as pool:
        results = pool.starmap_async(tasks.append, [(str(path), name) for name in names], chunksize=1)
        for kept in ("sound", "damaged", "sound"):
            head.kill()
            head.wait()
            if kept == "damaged":
                for file in processes.keys.glob("head.db*"):
                    file.write_bytes(b"no database" * 1000)
            head = processes.start_head()
            count = len(path.read_text().splitlines())
            # More than the workers that there are may begin: so there are new ones.
            assert until(lambda count=count: len(path.read_text().splitlines()) > count + 12, LIMIT_S)
        assert results.get(LIMIT_S) == names
        assert Counter(path.read_text().splitlines()) == dict.fromkeys(names, 1)
        assert "head.db cannot be used (file is not a database): it was moved to head.db.damaged-1" in (
            processes.said("head")
        )
        # It counts what there is, and no lease is left behind.
        processes.until(lambda: sum(node["leases"] for node in processes.status()["nodes"]) == 4)
    processes.until(lambda: {node["leases"] for node in processes.status()["nodes"]} == {0})


def test_a_node_that_was_there_before_a_restart_and_has_not_come_back_is_shown_as_away(processes):
    head = processes.start_head()
    node = processes.start_node("first", "--cpus", "2")
    processes.until(lambda: processes.nodes() == {"first"})
    for process in (head, node):
        process.kill()
        process.wait()
    processes.start_head()
    (away,) = processes.status()["nodes"]
    assert (away["node"], away["state"], away["cpus"], away["leases"]) == ("first", "away", 2, 0)
    processes.start_node("first", "--cpus", "3")
    processes.until(lambda: processes.nodes() == {"first"})
    (there,) = processes.status()["nodes"]
    assert (there["state"], there["cpus"]) == ("up", 3)
    assert Path(processes.keys / "head.db").stat().st_mode & 0o777 == 0o600
