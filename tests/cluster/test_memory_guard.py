"""A node ends a call that takes too much memory, and the program elsewhere is told who had how much."""

import time
from pathlib import Path

import pytest

import distpool
from distpool.runtime.memory_use import uses
from tests.cluster.conftest import use
from tests.runtime.programs import LIMIT_S

MIB = 1024**2
SPARE = 400 * MIB
"""More than the head, the node and their workers take themselves."""


def take_memory(marker, most):
    """Once, piece by piece until it is ended; then it takes none."""
    if Path(marker).exists():
        return "small"
    Path(marker).touch()
    held = []
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        if len(held) * 50 * MIB < most:
            held.append(b"x" * (50 * MIB))
        time.sleep(0.02)
    return f"was not ended with {len(held)} pieces"


@pytest.fixture
def most(processes, monkeypatch):
    """One node whose limit is somewhat above what is in use now; the memory that a call needs to get beyond it, with
    some to spare for what others give back meanwhile."""
    machine = uses()[0]
    processes.start_head()
    processes.start_node("first", "--cpus", "2", DISTPOOL_MEMORY_LIMIT=str(machine.used_bytes + SPARE))
    processes.until(lambda: processes.nodes() == {"first"})
    use(processes, monkeypatch)
    return 2 * SPARE + machine.total_bytes // 100


def test_a_call_on_a_node_fails_with_the_nodes_table_or_runs_again(most, processes, tmp_path):
    with distpool.Executor(1) as executor:
        error = executor.submit(take_memory, tmp_path / "first", most).exception(LIMIT_S)
        assert isinstance(error, distpool.OutOfMemory), error
        assert error.call == "take_memory"
        assert "On node 'first': " in str(error)
        assert f"{error.pid}" in str(error).splitlines()[2]
        again = executor.with_options(retries=1).submit(take_memory, tmp_path / "second", most)
        assert again.result(LIMIT_S) == "small"
    assert f"worker process {error.pid}, which has" in processes.logged("first")
