"""Worker processes as their user sees them."""

import gc
import multiprocessing.connection
import os
import signal
import time
from collections.abc import Callable

import pytest

import distpool
from distpool.ids import LeaseId
from distpool.runtime.handles import WorkerHandle

from . import calls
from .programs import LIMIT_S, until


def handle_of(pid: int | None, *, daemon: bool = True) -> WorkerHandle:
    """A handle whose process the launcher has started, or starts when somebody waits for it."""

    def wait(is_so: Callable[[], bool], timeout_s: float | None) -> None:
        if handle.known_pid is None:
            handle.known_pid = 4321
        assert is_so() or timeout_s is not None, "nothing more will happen here"

    handle = WorkerHandle(LeaseId(1), "Worker-1", daemon=daemon, wait=wait)
    handle.known_pid = pid
    return handle


def test_a_handle_waits_for_the_pid_of_a_process_that_is_being_started():
    handle = handle_of(None)
    assert (handle.pid, handle.ident) == (4321, 4321)


def test_a_handle_knows_its_name_and_state():
    handle = handle_of(77)
    assert (handle.name, handle.daemon, handle.pid, handle.exitcode) == ("Worker-1", True, 77, None)
    assert handle.is_alive()
    assert repr(handle) == "<WorkerProcess name='Worker-1' pid=77 started daemon>"
    handle.ended(-9)
    assert not handle.is_alive()
    assert handle.exitcode == -9
    assert repr(handle) == "<WorkerProcess name='Worker-1' pid=77 stopped exitcode=-9 daemon>"
    assert repr(handle_of(None, daemon=False)) == "<WorkerProcess name='Worker-1' pid=None started>"


def test_an_ended_process_is_signalled_no_more():
    """Its number may be another process's by now: here it is the test's own."""
    handle = handle_of(os.getpid())
    handle.ended(0)
    handle.kill()
    handle.terminate()
    handle.join(0)


def test_a_process_that_never_started_has_no_pid_and_an_exit_code():
    handle = handle_of(None)
    handle.ended(71)
    assert (handle.pid, handle.exitcode) == (None, 71)
    handle.kill()


def test_a_process_that_has_just_gone_does_no_harm():
    pid = os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(pid, 0)
    handle = handle_of(pid)
    handle.kill()
    handle.join(1)
    with pytest.raises(ProcessLookupError):
        _ = handle.sentinel


# ---- with real workers


@pytest.fixture
def pool():
    with distpool.get_context("fork").Pool(2) as pool:
        pool.map(calls.square, range(4))
        yield pool
    pool.join()


def test_the_handles_of_a_pool_are_its_workers(pool):
    handles = list(pool._pool)
    assert len({handle.pid for handle in handles}) == 2
    assert {pool.apply(calls.pid_of_worker) for _ in range(20)} <= {handle.pid for handle in handles}
    assert all(handle.is_alive() and handle.daemon and handle.exitcode is None for handle in handles)
    assert len({handle.name for handle in handles}) == 2


def test_the_sentinel_becomes_ready_when_the_process_ends(pool):
    handle = pool._pool[0]
    assert handle.sentinel == handle.sentinel
    assert multiprocessing.connection.wait([handle.sentinel], 0) == []
    handle.kill()
    assert multiprocessing.connection.wait([handle.sentinel], LIMIT_S) == [handle.sentinel]


@pytest.mark.parametrize(("end", "code"), [("kill", -signal.SIGKILL), ("terminate", -signal.SIGTERM)])
def test_a_worker_can_be_ended_and_joined(pool, end, code):
    handle = pool._pool[0]
    getattr(handle, end)()
    handle.join(LIMIT_S)
    assert until(lambda: handle.exitcode is not None)
    assert (handle.exitcode, handle.is_alive()) == (code, False)
    assert handle not in pool._pool
    assert until(lambda: len(pool._pool) == 2)
    assert pool.apply_async(calls.square, [3]).get(LIMIT_S) == 9


def test_joining_a_live_worker_ends_with_the_time_limit(pool):
    began_at = time.monotonic()
    pool._pool[0].join(0.02)
    assert 0.02 <= time.monotonic() - began_at < LIMIT_S
    assert pool._pool[0].is_alive()


def watched_and_killed(pool: distpool.Pool) -> int:
    """The descriptor that the handle of a worker, which has ended since, had open."""
    handle = pool._pool[0]
    descriptor = handle.sentinel
    assert os.readlink(f"/proc/self/fd/{descriptor}") == "anon_inode:[pidfd]"
    handle.kill()
    handle.join(LIMIT_S)
    assert until(lambda: handle not in pool._pool)
    return descriptor


def test_a_handle_lets_go_of_its_descriptor(pool):
    descriptor = watched_and_killed(pool)
    gc.collect()
    assert not os.path.exists(f"/proc/self/fd/{descriptor}") or "pidfd" not in os.readlink(
        f"/proc/self/fd/{descriptor}"
    )
