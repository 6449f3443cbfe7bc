"""What a call has started ends with it when its worker is ended, and stays when the pool ends in peace."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

import distpool
from distpool.errors import CallTimeout, WorkerDied
from distpool.runtime.descendants import children_of, kill_orphans

from .calls import wait_for
from .programs import LIMIT_S, is_gone, left_of, program, until

METHODS = ["fork", "forkserver", "spawn"]
KINDS = ["child", "new session", "double fork", "grandchild"]
GONE_WITHIN_S = 1.0
SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


def start(kind, folder):
    """Start a process of this kind, which leaves its pid in the folder; return when it has."""
    path = os.path.join(folder, f"pid-{os.getpid()}-{kind.replace(' ', '-')}")
    shell = f"echo $$ > '{path}.new'; mv '{path}.new' '{path}'; exec sleep 60"
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if kind == "child":
        subprocess.Popen(["/bin/sh", "-c", shell], **quiet)
    elif kind == "new session":
        subprocess.Popen(["/bin/sh", "-c", shell], start_new_session=True, **quiet)
    elif kind == "grandchild":
        subprocess.Popen(["/bin/sh", "-c", f'/bin/sh -c "{shell.replace("$", chr(92) + "$")}" & wait'], **quiet)
    elif kind == "double fork":
        subprocess.run(["/bin/sh", "-c", f'setsid /bin/sh -c "{shell.replace("$", chr(92) + "$")}" &'], **quiet)
    wait_for(path)


def start_and_wait(kinds, folder):
    for kind in kinds:
        start(kind, folder)
    open(os.path.join(folder, "started"), "w").close()
    time.sleep(LIMIT_S)


def start_and_die(kinds, folder, number):
    for kind in kinds:
        start(kind, folder)
    os.kill(os.getpid(), number)
    time.sleep(LIMIT_S)


def start_and_return(kinds, folder):
    for kind in kinds:
        start(kind, folder)
    return os.getpid()


def started(folder):
    """The processes that calls have started."""
    processes = []
    for path in folder.glob("pid-*"):
        with contextlib.suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(int(path.read_text())))
    return processes


@pytest.fixture
def folder(tmp_path):
    yield tmp_path
    for process in started(tmp_path):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def pids_in(folder):
    return [int(path.read_text()) for path in folder.glob("pid-*")]


def all_gone(folder):
    return not left_of(started(folder))


@pytest.mark.parametrize("method", METHODS)
def test_a_crash_takes_along_what_the_call_had_started(folder, method):
    with distpool.get_context(method).Pool(1) as pool:
        with pytest.raises(WorkerDied):
            pool.apply(start_and_die, (KINDS, str(folder), signal.SIGSEGV))
        assert len(pids_in(folder)) == len(KINDS)
        assert until(lambda: all_gone(folder), GONE_WITHIN_S), left_of(started(folder))
    pool.join()


def test_a_time_limit_takes_it_along(folder):
    with distpool.get_context("fork").Pool(1) as pool:
        result = pool.with_options(timeout=1.0).apply_async(start_and_wait, (KINDS, str(folder)))
        with pytest.raises(CallTimeout):
            result.get(LIMIT_S)
        assert len(pids_in(folder)) == len(KINDS)
        assert until(lambda: all_gone(folder), 2 * GONE_WITHIN_S), left_of(started(folder))
    pool.join()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_terminate_takes_along_what_a_running_call_has_started(folder, method):
    with distpool.get_context(method).Pool(1) as pool:
        pool.apply_async(start_and_wait, (KINDS, str(folder)))
        assert until((folder / "started").exists)
        pool.terminate()
        pool.join()
        assert all_gone(folder), left_of(started(folder))


DRIVER = """
    import sys, time
    import distpool
    from tests.runtime.test_descendants import KINDS, start_and_wait

    if __name__ == "__main__":
        with distpool.get_context(sys.argv[1]).Pool(1) as pool:
            pool.apply(start_and_wait, (KINDS, sys.argv[2]))
"""


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_driver_takes_it_along(folder, method):
    with program(folder, DRIVER, method, str(folder)) as driver:
        assert until((folder / "started").exists)
        driver.kill()
        assert until(lambda: all_gone(folder), GONE_WITHIN_S), left_of(started(folder))


@pytest.mark.parametrize("method", METHODS)
def test_what_earlier_calls_left_behind_survives_the_pools_end(folder, method):
    kinds = ["new session", "double fork"]
    with distpool.get_context(method).Pool(1) as pool:
        pool.apply(start_and_return, (kinds, str(folder)))
        pool.close()
        pool.join()
    assert len(left_of(started(folder))) == len(kinds)
    assert {process.ppid() for process in started(folder)}.isdisjoint({os.getpid()})


def test_what_a_worker_that_has_left_in_peace_left_behind_survives_the_crash_of_another(folder):
    with distpool.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        first = pool.apply(start_and_return, (["new session", "double fork"], str(folder)))
        assert until(lambda: not psutil.pid_exists(first))
        with pytest.raises(WorkerDied):
            pool.apply(start_and_die, (["child"], str(folder), signal.SIGKILL))
        assert until(lambda: len(left_of(started(folder))) == 2, GONE_WITHIN_S)
        pool.close()
        pool.join()
    assert len(left_of(started(folder))) == 2


def test_what_another_worker_runs_survives_a_crash(folder):
    beside = folder / "beside"
    beside.mkdir()
    with distpool.get_context("fork").Pool(2) as pool:
        pool.apply_async(start_and_wait, (KINDS, str(beside)))
        assert until((beside / "started").exists)
        with pytest.raises(WorkerDied):
            pool.apply(start_and_die, (["child", "double fork"], str(folder), signal.SIGKILL))
        assert all_gone(folder)
        assert len(left_of(started(beside))) == len(KINDS)
    pool.join()
    assert all_gone(beside)


# ---- finding and ending them


def test_children_of_a_process_are_found_and_of_none_there_are_none():
    child = subprocess.Popen(SLEEP)
    try:
        assert child.pid in children_of(os.getpid())
    finally:
        child.kill()
        child.wait()
    assert children_of(child.pid) == []


def run_kill_orphans(folder):
    """In a process of its own: it would end the tests' other children."""
    mine = [subprocess.Popen(SLEEP) for _ in range(3)]
    kill_orphans({mine[0].pid}, 5.0)
    return [mine[0].pid], [each.pid for each in mine[1:]]


def test_orphans_are_killed_and_reaped_and_those_to_be_spared_are_not(folder):
    with distpool.get_context("fork").Pool(1) as pool:
        ((spared,), killed) = pool.apply(run_kill_orphans, (str(folder),))
        assert not any(psutil.pid_exists(pid) for pid in killed), "no zombie is left either"
        process = psutil.Process(spared)
        assert not is_gone(process)
        process.kill()
    pool.join()
