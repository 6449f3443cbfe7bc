"""What every test owes to the next one: no process, thread, socket or file is left behind."""

import gc
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import zmq

from distpool.objects.stores import made_home

PATIENCE_S = 3.0
WATCHED_DESCRIPTORS = ("socket:", "anon_inode:[eventfd]", "anon_inode:[eventpoll]", "anon_inode:[pidfd]", "/memfd:")
STORE = "/memfd:distpool-store"
"""A process that has opened a pool keeps its store's memory; what lies in it is counted instead."""
STANDARD_SERVICES = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


def pytest_configure(config: pytest.Config) -> None:
    # Whatever head the user of this machine runs, the pools of a test are local unless it says where they are.
    os.environ["DISTPOOL_ADDRESS"] = "local"
    # Shells let their background jobs ignore it, and so would all programs that tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "extension: distpool does this where the standard library refuses or lacks it")
    config.addinivalue_line("markers", "cluster: the workers are on two nodes; left out unless asked for with -m")
    config.addinivalue_line("markers", "between: a run on two nodes with neither the first nor the last parameters")
    config.addinivalue_line("markers", "leaves_some: another library runs, which leaves processes for a while")
    # pytest's own time-out watcher is a thread, so every fork inside a test run would warn from Python 3.12 on.
    config.addinivalue_line("filterwarnings", "ignore:This process .* is multi-threaded:DeprecationWarning")


@dataclass(frozen=True)
class Belongings:
    """What this process holds that can outlive a test."""

    processes: frozenset[psutil.Process]
    threads: Counter[str]
    descriptors: Counter[str]
    files: frozenset[str]
    objects: int

    @classmethod
    def now(cls) -> "Belongings":
        return cls(
            processes=frozenset(_processes_below()),
            # By name: a runtime may end its thread before a fork and start the next one after it.
            threads=Counter(thread.name for thread in threading.enumerate()),
            descriptors=Counter(_watched_descriptors()),
            files=frozenset(_named_files()),
            objects=_objects_in_store(),
        )

    def added_since(self, before: "Belongings") -> list[str]:
        return [
            *(f"process {_described(process)}" for process in self.processes - before.processes),
            *(f"thread {name} × {count}" for name, count in (self.threads - before.threads).items()),
            *(f"descriptor {target} × {count}" for target, count in (self.descriptors - before.descriptors).items()),
            *(f"file {path}" for path in self.files - before.files),
            *([f"objects in the store × {self.objects - before.objects}"] if self.objects > before.objects else []),
        ]


def _processes_below() -> Iterator[psutil.Process]:
    multiprocessing.active_children()  # reaps the standard library's children that have ended
    for process in psutil.Process().children(recursive=True):
        try:
            if not _is_standard_service(process):
                yield process
        except psutil.NoSuchProcess:
            continue


def _is_standard_service(process: psutil.Process) -> bool:
    # Only a direct child: a worker forked by the standard fork server has the server's command line.
    command = " ".join(process.cmdline())
    return process.ppid() == os.getpid() and any(service in command for service in STANDARD_SERVICES)


def _objects_in_store() -> int:
    store = made_home()
    return 0 if store is None else store.stats().objects


def _watched_descriptors() -> Iterator[str]:
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
        except FileNotFoundError:
            continue  # the descriptor of the listing itself
        if target.startswith(WATCHED_DESCRIPTORS) and not target.startswith(STORE):
            yield target


def _named_files() -> Iterator[str]:
    for folder in {"/dev/shm", tempfile.gettempdir()}:
        if os.path.isdir(folder):
            yield from (str(path) for path in Path(folder).iterdir() if path.name.startswith("distpool"))


def _described(process: psutil.Process) -> str:
    try:
        return f"{process.pid} ({process.status()}): {' '.join(process.cmdline())}"
    except psutil.NoSuchProcess:
        return f"{process.pid} (just ended)"


def _still_added_since(before: Belongings) -> list[str]:
    """What is left once everything that is just ending has had the time to end."""
    left = Belongings.now().added_since(before)
    if left:
        gc.collect()
    give_up_at = time.monotonic() + PATIENCE_S
    while left and time.monotonic() < give_up_at:
        time.sleep(0.01)
        left = Belongings.now().added_since(before)
    return left


@pytest.fixture(scope="session")
def pyzmq_thread() -> None:
    """The one that keeps what is sent without a copy: it stays once it was needed, so it is there before the test."""
    zmq.Frame(bytes(zmq.COPY_THRESHOLD), copy=False)


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that leaves a process, thread, socket, event, memory segment or named file behind."""
    if not os.path.isdir("/proc/self/fd") or request.node.get_closest_marker("leaves_some"):
        yield
        return
    before = Belongings.now()
    yield
    left = _still_added_since(before)
    if left:
        pytest.fail("the test left behind:\n  " + "\n  ".join(sorted(left)), pytrace=False)
