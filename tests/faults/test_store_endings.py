"""Killed at any step of put, get, map and spill: no process, memory or file is left, and no other call is harmed."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ..runtime.programs import left_of, shared_memory_files, until

PROGRAM = Path(__file__).with_name("store_program.py")
LIMIT_S = 60
GONE_LIMIT_S = 1.0

DRIVER_POINTS = [
    ("distpool.objects.shelf:Shelf.take", "before"),
    ("distpool.objects.shelf:Shelf.take", "after"),
    ("distpool.store.memory:Memory.write", "before"),
    ("distpool.store.memory:Memory.write", "after"),
    ("distpool.store.memory:Memory.give_back", "before"),
    ("distpool.store.memory:Memory.give_back", "after"),
    ("distpool.store.spill:Spill.write", "before"),
    ("distpool.store.spill:Spill.write", "after"),
    ("distpool.store.spill:_open_nameless", "after"),
    ("distpool.store.spill:Spill.read", "before"),
    ("distpool.store.spill:Spill.remove", "after"),
    ("distpool.store.mappings:Mappings.view", "before"),
    ("distpool.store.mappings:Mappings.view", "after"),
    ("distpool.objects.lending:Lending.reserve", "after"),
    ("distpool.objects.lending:Lending.adopt", "before"),
    ("distpool.objects.lending:Lending.adopt", "after"),
    ("distpool.objects.lending:Lending.hold", "after"),
]
WORKER_POINTS = [
    ("distpool.objects.remote:RemoteStore._allocate", "before"),
    ("distpool.objects.remote:RemoteStore._allocate", "after"),
    ("distpool.store.memory:Memory.write", "before"),
    ("distpool.store.memory:Memory.write", "after"),
    ("distpool.objects.remote:RemoteStore.have", "after"),
    ("distpool.objects.remote:RemoteStore.view", "after"),
    ("distpool.objects.remote:RemoteStore.give_away", "after"),
    ("distpool.objects.remote:RemoteStore.settle", "before"),
    ("distpool.objects.remote:RemoteStore.flush", "before"),
]


def run(tmp_path, method, point, when, who):
    folder = tmp_path / "spill"
    folder.mkdir()
    # With their own name, so that those of this run are known.
    command = [sys.executable, str(PROGRAM), str(folder), method, point, when, who]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    group = psutil.Process(started.pid)
    children = set()
    deadline = time.monotonic() + LIMIT_S
    while started.poll() is None:
        assert time.monotonic() < deadline
        try:
            children.update(group.children(recursive=True))
        except psutil.NoSuchProcess:
            break
        time.sleep(0.005)
    output, errors = started.communicate(timeout=LIMIT_S)
    return started.returncode, output.split("\n"), errors, children, folder


def assert_all_gone(children, folder):
    """No process of the run is left, and so nothing maps its memory; and no file."""
    assert until(lambda: not left_of(children), GONE_LIMIT_S), left_of(children)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("point", "when"), DRIVER_POINTS, ids=[" ".join(point) for point in DRIVER_POINTS])
def test_a_driver_that_is_killed_leaves_nothing(tmp_path, point, when):
    before = shared_memory_files()
    status, output, errors, children, folder = run(tmp_path, "fork", point, when, "driver")
    assert "killed" in output, errors
    assert status == -9
    assert_all_gone(children, folder)
    assert shared_memory_files() <= before


@pytest.mark.parametrize(("point", "when"), WORKER_POINTS, ids=[" ".join(point) for point in WORKER_POINTS])
def test_a_worker_that_is_killed_takes_only_its_call_with_it(tmp_path, point, when):
    status, output, errors, children, folder = run(tmp_path, "fork", point, when, "worker")
    assert "killed" in output, errors
    # After its result was told, nothing is lost with it.
    assert ("died" in output) == (not point.endswith("flush")), errors
    assert "0 objects are left" in output, (output, errors)
    assert status == 0, errors
    assert_all_gone(children, folder)
