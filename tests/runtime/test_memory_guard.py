"""A call that takes too much memory is ended before the system ends something, and its caller is told why."""

import math
import os
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

import distpool
from distpool.config import SETTINGS
from distpool.ids import GroupId, LeaseId
from distpool.logic.memory_guard import Running
from distpool.protocol.messages import Death, EndWorker
from distpool.runtime import memory_use
from distpool.runtime.memory_guard import MemoryGuard
from distpool.runtime.memory_use import Use, own_bytes, resident_bytes
from distpool.runtime.session import live_handles
from distpool.settings import OFF, Chosen, sources
from tests.runtime.programs import LIMIT_S

MIB = 1024**2
GIB = 1024**3
KILLED = Death(7, -9)

# ---- when it looks, and what it does


class World:
    """A pool's workers and the machine's memory as a test wants them."""

    def __init__(self, monkeypatch, limit=None):
        self.used = 0
        self.workers = {}
        self.looked = 0
        self.outstanding = True
        self.orders = []
        self.notes = []
        self.living = {LeaseId(lease) for lease in range(1, 30)}
        handles = {lease: SimpleNamespace(known_pid=int(lease), name=f"Worker-{lease}") for lease in self.living}
        launcher = SimpleNamespace(
            crews={GroupId(1): SimpleNamespace(handles=handles)}, handle=self.orders.append, note=self.notes.append
        )
        client = SimpleNamespace(
            has_outstanding=lambda: self.outstanding,
            running=lambda: [Running(LeaseId(lease), GroupId(1), float(lease), False) for lease in self.workers],
        )
        monkeypatch.setattr(memory_use, "uses", self._uses)
        monkeypatch.setattr(memory_use, "resident_bytes", lambda pid: 2 * self.workers[pid])
        monkeypatch.setattr(memory_use, "own_bytes", lambda pid: self.workers[pid])
        self.guard = MemoryGuard(SETTINGS, Chosen(memory_limit=limit), launcher, client, self.living)

    def _uses(self):
        self.looked += 1
        return [Use("the machine's memory", self.used, 100 * GIB)]

    def look(self, now):
        self.guard.due(now)
        self.guard.look(now)


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


def test_it_looks_while_workers_run_calls_and_never_else(world):
    world.outstanding = False
    assert world.guard.due(10.0) is None
    world.guard.look(10.0)
    assert world.looked == 0
    world.outstanding = True
    at = world.guard.due(20.0)
    assert at == 20.0 + SETTINGS.look_at_memory_s, "a call has just been sent: it has no memory yet"
    assert world.guard.due(20.1) == at
    world.guard.look(at)
    assert world.looked == 1
    assert world.guard.due(at) == at + SETTINGS.look_at_memory_s


def test_a_look_that_comes_late_is_made(world):
    world.guard.due(20.0)
    world.guard.look(60.0)
    assert world.looked == 1


def test_one_worker_is_ended_at_a_time(world):
    world.used = 96 * GIB
    world.workers = {1: 10 * GIB, 2: 11 * GIB, 3: 12 * GIB}
    world.look(1.0)
    assert world.orders == [EndWorker(LeaseId(3), GroupId(1), 0.0)]
    world.look(2.0)
    assert len(world.orders) == 1, "it has not ended yet"
    death = world.guard.explained(LeaseId(3), KILLED)
    assert death.memory_ran_out
    assert death.note.startswith("96.0 GiB of the machine's memory, 100.0 GiB, were in use, and the limit is 95.0 GiB.")
    assert world.guard.explained(LeaseId(3), KILLED) == KILLED
    assert world.guard.explained(LeaseId(2), KILLED) == KILLED, "somebody else has killed it"
    world.living.discard(3)
    del world.workers[3]
    world.look(3.0)
    assert [order.lease for order in world.orders] == [3, 2]
    assert "worker process 3, which has 12.0 GiB, is ended" in world.notes[0]


def test_a_worker_that_ended_by_itself_meanwhile_was_not_ended(world):
    world.used, world.workers = 96 * GIB, {1: GIB}
    world.look(1.0)
    assert world.guard.explained(LeaseId(1), Death(7, 0)) == Death(7, 0)


def test_where_no_worker_has_much_none_is_ended_and_that_is_told_once(world):
    world.used, world.workers = 96 * GIB, {1: 400 * MIB}
    for now in (1.0, 2.0, 3.0):
        world.look(now)
    assert world.orders == []
    assert len(world.notes) == 1
    assert "no worker that runs a call has so much that its end would help" in world.notes[0]
    world.used = 50 * GIB
    world.look(4.0)
    world.used = 96 * GIB
    world.look(5.0)
    assert len(world.notes) == 2


@pytest.mark.parametrize(("limit", "ends"), [(None, False), ("80%", True), ("70GiB", True), (95 * GIB, False)])
def test_the_limit_is_a_share_or_a_size(monkeypatch, limit, ends):
    world = World(monkeypatch, limit)
    world.used, world.workers = 90 * GIB, {1: GIB}
    world.look(1.0)
    assert bool(world.orders) == ends


def test_it_can_be_switched_off(monkeypatch):
    world = World(monkeypatch, OFF)
    assert world.guard.look_at == math.inf
    assert world.guard.due(5.0) is None


def test_the_node_is_named_to_people_elsewhere(world):
    world.guard.where = "first"
    world.used, world.workers = 96 * GIB, {1: GIB}
    world.look(1.0)
    assert world.guard.explained(LeaseId(1), KILLED).note.startswith("On node 'first': 96.0 GiB of")


# ---- what is measured


def test_the_memory_of_the_machine_and_of_groups_with_a_limit_without_what_files_have_cached(monkeypatch, tmp_path):
    for name, text in {
        "v2/memory.current": "800",
        "v2/memory.stat": "anon 700\ninactive_file 100\n",
        "v1/memory.usage_in_bytes": "500",
        "v1/memory.stat": "cache 1\ntotal_inactive_file 50\n",
        "open/memory.current": "1",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    groups = [(tmp_path / "v2", 2, 1000), (tmp_path / "v1", 1, 600), (tmp_path / "open", 2, 1 << 62)]
    monkeypatch.setattr(memory_use, "memory_groups", lambda: groups)
    monkeypatch.setattr(memory_use, "machine_memory", lambda: (2000, 500))
    assert memory_use.uses() == [
        Use("the machine's memory", 1500, 2000),
        Use("the memory of the control group v2", 700, 1000),
        Use("the memory of the control group v1", 450, 600),
    ]


def test_the_memory_of_this_machine_is_known():
    (use, *_) = memory_use.uses()
    assert 0 < use.used_bytes < use.total_bytes
    assert own_bytes(os.getpid()) <= resident_bytes(os.getpid()) + 64 * MIB
    assert own_bytes(1 << 30) == resident_bytes(1 << 30) == 0


# ---- with workers


@pytest.fixture
def workers_are_the_machine(monkeypatch):
    """What its workers have is what the machine has in use, of 1 GiB, so that nobody else on it counts."""

    def uses():
        pids = [handle.known_pid for handle in live_handles() if handle.known_pid is not None]
        return [Use("the machine's memory", sum(map(resident_bytes, pids)), GIB)]

    monkeypatch.setenv("DISTPOOL_MEMORY_LIMIT", "150MiB")
    monkeypatch.setattr(memory_use, "uses", uses)
    monkeypatch.setattr(sources, "SETTINGS", msgspec.structs.replace(SETTINGS, memory_rest_s=0.3))


def take_memory(marker):
    """Once; then it takes none."""
    if Path(marker).exists():
        return "small"
    Path(marker).touch()
    held = [b"x" * (40 * MIB) for _ in range(6)]
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        time.sleep(0.01)
    return f"was not ended with {len(held)} pieces"


@pytest.mark.usefixtures("workers_are_the_machine")
def test_a_call_that_takes_too_much_fails_with_who_had_how_much_and_the_pool_goes_on(tmp_path):
    with distpool.get_context("fork").Pool(2) as pool:
        with pytest.raises(distpool.OutOfMemory, match="The largest workers that ran calls") as failure:
            pool.apply(take_memory, [tmp_path / "marker"])
        assert isinstance(failure.value, MemoryError)
        assert isinstance(failure.value, distpool.WorkerDied)
        assert failure.value.exitcode == -9
        assert failure.value.call == "take_memory"
        lines = str(failure.value).splitlines()
        assert lines[0].startswith(
            f"worker process {failure.value.pid} was ended as memory was about to run out while it"
        )
        assert lines[2].split()[0] == str(failure.value.pid)
        assert lines[2].endswith("take_memory  (ended)")
        assert "Use fewer workers" in lines[3]
        assert pool.apply(take_memory, [tmp_path / "marker"]) == "small"
    pool.join()


@pytest.mark.usefixtures("workers_are_the_machine")
def test_with_retries_it_runs_again_after_a_rest(tmp_path, caplog):
    with distpool.Executor(1) as executor:
        began_at = time.monotonic()
        future = executor.with_options(retries=1).submit(take_memory, tmp_path / "marker")
        assert future.result(LIMIT_S) == "small"
        assert time.monotonic() - began_at > 0.3
    assert "its call is run again (retry 1 of 1)" in caplog.text


@pytest.mark.usefixtures("workers_are_the_machine")
def test_a_pool_that_ends_does_not_wait_for_a_call_that_rests(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "SETTINGS", msgspec.structs.replace(SETTINGS, memory_rest_s=1000.0))
    with distpool.Executor(1) as executor:
        future = executor.with_options(retries=1).submit(take_memory, tmp_path / "marker")
        group = executor._workers._group
        began_at = time.monotonic()
        while not group._resting:
            assert time.monotonic() - began_at < LIMIT_S
            time.sleep(0.01)
        executor._workers.terminate()
        assert isinstance(future.exception(LIMIT_S), distpool.PoolTerminated)


@pytest.mark.usefixtures("workers_are_the_machine")
def test_the_standard_executor_breaks_and_says_why(tmp_path):
    with distpool.futures.ProcessPoolExecutor(1) as executor:
        error = executor.submit(take_memory, tmp_path / "marker").exception(LIMIT_S)
    assert "was ended as memory was about to run out. " in str(error)
