"""Workers on nodes with GPUs, which a table pretends: what each has, and what an agent that was killed leaves."""

import os
import signal
from collections import Counter
from pathlib import Path

import psutil
import pytest

import distpool
from tests.cluster.conftest import use
from tests.runtime.programs import LIMIT_S, left_of, until

TABLE = """
[[devices]]
count = 2
memory = "16GiB"
"""


@pytest.fixture
def node(processes, tmp_path, monkeypatch):
    """The agent of the one node, which has two GPUs, and what starts another when that has been killed."""
    (tmp_path / "gpus.toml").write_text(TABLE)
    processes.start_head()

    def start():
        agent = processes.start_node("first", "--cpus", "4", DISTPOOL_DEVICES=str(tmp_path / "gpus.toml"))
        processes.until(lambda: processes.nodes() == {"first"})
        return agent

    agent = start()
    use(processes, monkeypatch)

    def start_again():
        processes.until(lambda: processes.nodes() == set())  # until then the head has one of that name
        return start()

    return agent, start_again


def what_it_has(folder):
    """Waits until two have been here, so that they are two workers."""
    Path(folder, str(os.getpid())).touch()
    until(lambda: len(os.listdir(folder)) == 2)
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"), distpool.get_gpu_ids()


def gpu_of(_=None):
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def stay(folder):
    """Until it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Path(folder, str(os.getpid())).touch()
    until(lambda: False, LIMIT_S)


def test_each_worker_has_a_gpu_of_its_own_and_gives_it_back_also_when_its_agent_is_killed(node, tmp_path):
    agent, start_again = node
    folder = tmp_path / "workers"
    folder.mkdir()
    with distpool.Pool(2, num_gpus=1) as pool:
        seen = pool.map(what_it_has, [str(folder)] * 2, chunksize=1)
        assert Counter(gpu for _, gpu, _ in seen) == {"pretend-0": 1, "pretend-1": 1}
        assert all(ids == [gpu] for _, gpu, ids in seen)
        os.kill(seen[0][0], signal.SIGKILL)
        until(lambda: len(set(pool.map(gpu_of, range(20), chunksize=1))) == 2)
    pool.join()
    with distpool.Pool(1, num_gpus=2) as pool:
        assert pool.apply(gpu_of) == "pretend-0,pretend-1"
    with distpool.Pool(1) as pool:
        assert pool.apply(gpu_of) is None
    # An agent that follows one that was killed offers them when the old workers have gone.
    folder = tmp_path / "staying"
    folder.mkdir()
    with distpool.Executor(2, num_gpus=1) as executor:
        calls = [executor.submit(stay, str(folder)) for _ in range(2)]
        assert until(lambda: len(os.listdir(folder)) == 2)
        workers = [psutil.Process(int(name)) for name in os.listdir(folder)]
        agent.kill()
        agent.wait()
        start_again()
        assert left_of(workers) == []
        assert {type(call.exception(LIMIT_S)) for call in calls} == {distpool.NodeLost}
        assert executor.submit(gpu_of).result(LIMIT_S) in ("pretend-0", "pretend-1")
