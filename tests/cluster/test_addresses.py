"""Where a program's pools are: by `init`, by the environment, by the head that its user runs, or on its own machine."""

import pytest

import distpool
from distpool.errors import HeadUnreachable
from distpool.runtime import session
from tests.cluster import tasks
from tests.cluster.processes import Cluster
from tests.cluster.projects import Project
from tests.runtime.programs import LIMIT_S

# Workers of nodes have DISTPOOL_ADDRESS=local; others have what their program has.
PROGRAM = {
    "main.py": """
        import os, sys
        import distpool

        def nested():
            with distpool.Pool(1) as pool:
                return pool.apply(os.getenv, ("DISTPOOL_ADDRESS",))

        if __name__ == "__main__":
            if len(sys.argv) > 1:
                distpool.init(sys.argv[1])
            with distpool.Pool(1) as pool:
                print(pool.apply(os.getenv, ("DISTPOOL_ADDRESS",)), pool.apply(nested), "zmq" in sys.modules)
    """
}


def test_a_program_uses_the_head_that_its_user_runs_unless_it_says_local(processes: Cluster, tmp_path):
    program = Project(processes, tmp_path / "project", PROGRAM)
    head = processes.start_head("--port", "0")
    processes.start_node("only", "--cpus", "2")
    processes.until(lambda: processes.nodes() == {"only"})
    assert program.run("main.py", DISTPOOL_ADDRESS="") == ["local local True"]
    assert program.run("main.py", "local", DISTPOOL_ADDRESS="") == ["  False"]
    assert program.run("main.py", processes.address, DISTPOOL_ADDRESS="local") == ["local local True"]
    assert program.run("main.py", DISTPOOL_ADDRESS="local") == ["local local False"]
    status = processes.run("status", DISTPOOL_ADDRESS="local")
    assert status.returncode == 1
    assert "DISTPOOL_ADDRESS is 'local', which means no head at all: say with --head where it is" in status.stderr
    head.kill()
    head.wait()
    assert (processes.keys / "head.contact").exists(), "the next head finds its port there"
    assert program.run("main.py", DISTPOOL_ADDRESS="") == ["  False"]


STAYING = {
    "main.py": """
        import sys, threading
        import distpool

        def made():
            return distpool.put([1, 2, 3])

        if __name__ == "__main__":
            distpool.init()
            with distpool.Pool(1) as pool:
                ref = pool.apply(made)
            print(distpool.get(ref), flush=True)
            sys.stdin.readline()
            if len(sys.argv) > 1:
                raise SystemExit(sys.argv[1])
    """
}


@pytest.mark.parametrize(("arguments", "status", "errors"), [((), 0, ""), (("it ends",), 1, "it ends\n")])
def test_a_program_that_has_called_init_stays_without_a_pool_and_leaves_when_it_ends(
    arguments, status, errors, shared, tmp_path
):
    program = Project(shared, tmp_path / "project", STAYING)
    with program.started("main.py", *arguments) as process:
        assert process.stdout.readline() == "[1, 2, 3]\n"
        assert shared.status()["drivers"] == 1
        assert all(not node["leases"] for node in shared.status()["nodes"])
        assert process.communicate("\n", timeout=LIMIT_S) == ("", errors)
        assert process.returncode == status
    assert shared.status()["drivers"] == 0, "it has said that it leaves, and was heard before it ended"


def test_after_init_pools_follow_each_other_in_one_session_and_are_as_large_as_the_cluster_is_then(shared, monkeypatch):
    monkeypatch.setenv("DISTPOOL_HOME", str(shared.keys))
    distpool.init(shared.address)
    try:
        (kept,) = session._current
        with distpool.Pool() as pool:
            assert pool._processes == 4
            ref = pool.apply(tasks.put_array, (10, 2.0))
        third = shared.start_node("third", "--cpus", "3")
        shared.until(lambda: "third" in shared.nodes())
        assert distpool.get(ref).sum() == 20
        with distpool.Pool() as pool:
            assert pool._processes == 7
            assert pool.apply(tasks.total, (ref,)) == 20
        assert session._current == [kept]
    finally:
        distpool.shutdown()
    assert not session._current
    third.terminate()
    shared.until(lambda: shared.nodes() == {"first", "second"})


def test_a_head_that_cannot_be_reached_is_an_error_at_once(shared, monkeypatch):
    monkeypatch.setenv("DISTPOOL_HOME", str(shared.keys))
    with pytest.raises(HeadUnreachable, match=r"the name 'no-such-host.invalid' cannot be resolved"):
        distpool.init("no-such-host.invalid")
    assert not distpool.is_initialized()


def test_a_program_that_has_said_where_it_is_leaves_with_shutdown(shared, monkeypatch):
    monkeypatch.setenv("DISTPOOL_HOME", str(shared.keys))
    distpool.init(shared.address)
    try:
        assert distpool.is_initialized()
        with distpool.Pool() as pool:
            assert pool._processes == 4
            assert pool.map(abs, range(10)) == list(range(10))
    finally:
        distpool.shutdown()
    with distpool.Pool(1) as pool:
        assert pool._pool[0].pid, "a worker of this machine"
    shared.until(lambda: shared.status()["drivers"] == 0)
