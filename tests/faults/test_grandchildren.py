"""Processes that a worker's call has started end with their worker, and with the driver."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

import distpool
from distpool.errors import WorkerDied

from ..runtime.programs import left_of, program, until
from . import dying, innocents
from .cell import METHODS, Ended, Subject
from .innocents import LIMIT_S

GONE_WITHIN_S = 1.0


def start_children(ledger, is_apart):
    """Start a child, and that child one of its own; with `is_apart` each in a session of its own. Tell their pids."""
    nested = (
        f"import subprocess; print(subprocess.Popen(['sleep', '60'], start_new_session={is_apart}).pid, flush=True)"
    )
    code = f"{nested}; import time; time.sleep(60)"
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=is_apart
    )
    ledger.write(f"pid {child.pid}")
    ledger.write(f"pid {child.stdout.readline().strip()}")


def start_children_and_stay(ledger, is_apart):
    start_children(ledger, is_apart)
    ledger.write("stays")
    time.sleep(60)


def start_children_and_die(ledger, is_apart):
    start_children(ledger, is_apart)
    dying.kill_oneself()


def fork_a_child_and_die(ledger):
    if os.fork() == 0:
        ledger.write(f"pid {os.getpid()}")
        time.sleep(60)
        os._exit(0)
    while not ledger.lines():
        time.sleep(0.002)
    dying.kill_oneself()


def started_by(ledger) -> list[psutil.Process]:
    """Those that live of the processes that the ledger names."""
    processes = []
    for line in ledger.lines():
        if line.startswith("pid "):
            try:
                processes.append(psutil.Process(int(line.split()[1])))
            except psutil.NoSuchProcess:
                continue  # It is gone already.
    return processes


def require_gone(processes: list[psutil.Process]) -> None:
    """Within a second from now."""
    try:
        assert until(lambda: not left_of(processes), GONE_WITHIN_S), left_of(processes)
    finally:
        for process in left_of(processes):
            process.kill()


@pytest.mark.parametrize("is_apart", [False, True], ids=["same session", "own session"])
@pytest.mark.parametrize("method", METHODS)
def test_what_a_killed_worker_had_started_is_gone(method, is_apart, ledger):
    with Subject("Pool", method) as subject:
        call = subject.submit(start_children_and_stay, ledger, is_apart)
        assert ledger.wait_for("stays")
        processes = started_by(ledger)
        assert len(processes) == 2
        (worker,) = {process.ppid() for process in processes} & subject.pids()
        os.kill(worker, signal.SIGKILL)
        require_gone(processes)
        assert isinstance(Ended.of(call, LIMIT_S).error, WorkerDied)
        assert Ended.of(subject.submit(abs, -3), LIMIT_S) == Ended(value=3)


@pytest.mark.parametrize("is_apart", [False, True], ids=["same session", "own session"])
def test_what_a_call_had_started_before_it_died_is_gone(survivor, is_apart, ledger):
    assert isinstance(Ended.of(survivor.submit(start_children_and_die, ledger, is_apart), LIMIT_S).error, WorkerDied)
    require_gone(started_by(ledger))


def test_a_forked_child_of_a_worker_that_died_is_gone_and_hides_no_death(survivor, ledger):
    assert isinstance(Ended.of(survivor.submit(fork_a_child_and_die, ledger), LIMIT_S).error, WorkerDied)
    require_gone(started_by(ledger))


def test_children_of_other_workers_live_on(survivor, ledger, tmp_path):
    other = innocents.Ledger(tmp_path / "other")
    beside = survivor.submit(start_children_and_stay, other, True)
    assert other.wait_for("stays")
    assert isinstance(Ended.of(survivor.submit(start_children_and_die, ledger, True), LIMIT_S).error, WorkerDied)
    require_gone(started_by(ledger))
    try:
        assert left_of(started_by(other)) == started_by(other)
        assert not (beside.ready() if survivor.kind == "Pool" else beside.done())
    finally:
        for process in started_by(other):
            process.kill()
        for pid in survivor.pids() - {None}:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("is_apart", [False, True], ids=["same session", "own session"])
def test_terminate_ends_what_workers_had_started(is_apart, ledger):
    pool = distpool.get_context("fork").Pool(2)
    pool.apply_async(start_children_and_stay, [ledger, is_apart])
    assert ledger.wait_for("stays")
    processes = started_by(ledger)
    pool.terminate()
    pool.join()
    require_gone(processes)


DRIVER = """
    import sys, time
    import distpool
    from tests.faults.innocents import Ledger
    from tests.faults.test_grandchildren import start_children, start_children_and_stay

    if __name__ == "__main__":
        method, state, path = sys.argv[1:]
        pool = distpool.get_context(method).Pool(2)
        if state == "busy":
            pool.apply_async(start_children_and_stay, [Ledger(path), True])
        else:
            pool.apply(start_children, [Ledger(path), True])
        time.sleep(60)
"""


@pytest.mark.parametrize("state", ["busy", "idle"])
@pytest.mark.parametrize("method", METHODS)
def test_a_killed_driver_leaves_no_grandchildren(method, state, ledger, tmp_path):
    with program(tmp_path, DRIVER, method, state, ledger.path) as driver:
        assert until(lambda: len(ledger.lines()) >= 2 + (state == "busy"))
        processes = [*psutil.Process(driver.pid).children(recursive=True), *started_by(ledger)]
        assert len(processes) >= 5
        driver.kill()
        require_gone(processes)
    assert list((tmp_path / "temporary").rglob("*")) == []
