"""Who ends with whom: driver, template and workers, under each start method."""

import contextlib
import os
import signal
import time

import psutil
import pytest

import distpool
from distpool.errors import PoolBroken, WorkerDied

from . import calls
from .programs import LIMIT_S, left_of, output_of, processes_of, program, shared_memory_files, until

METHODS = ["fork", "forkserver", "spawn"]
GONE_WITHIN_S = 1.0

DRIVER = """
    import os, signal, sys, time
    import distpool
    import distpool.futures

    # As from a shell, also where the tests themselves run under nohup.
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)

    def stay(seconds):
        os.write(1, b"busy\\n")
        time.sleep(seconds)

    def main(method, kind, state):
        context = distpool.get_context(method)
        if kind == "pool":
            pool = context.Pool(2)
            submit = lambda *call: pool.apply_async(call[0], call[1:])
        else:
            submit = distpool.futures.ProcessPoolExecutor(2, mp_context=context).submit
        first = [submit(time.sleep, 0.05) for _ in range(2)]
        for result in first:
            result.get() if kind == "pool" else result.result()
        if state == "busy":
            results = [submit(stay, 60) for _ in range(10)]
        else:
            print("idle\\nidle", flush=True)
        time.sleep(60)

    if __name__ == "__main__":
        main(*sys.argv[1:])
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("kind", "state"), [("pool", "idle"), ("pool", "busy"), ("executor", "busy")])
def test_a_killed_driver_leaves_nothing(tmp_path, method, kind, state):
    before = shared_memory_files()
    with program(tmp_path, DRIVER, method, kind, state) as driver:
        assert [driver.stdout.readline(), driver.stdout.readline()] == [f"{state}\n"] * 2
        processes = processes_of(driver.pid)
        assert len(processes) >= 3, "a template and two workers"
        assert left_of(processes) == processes
        driver.kill()
        killed_at = time.monotonic()
        assert until(lambda: not left_of(processes), LIMIT_S), left_of(processes)
        assert time.monotonic() - killed_at < GONE_WITHIN_S
    assert list((tmp_path / "temporary").rglob("*")) == []
    assert shared_memory_files() <= before


STARTING_DRIVER = """
    import os, sys, time
    import distpool

    if __name__ == "__main__":
        pool = distpool.get_context(sys.argv[1]).Pool(4)
        print("started", flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("method", METHODS)
def test_a_driver_killed_while_its_workers_start_leaves_nothing(tmp_path, method):
    with program(tmp_path, STARTING_DRIVER, method) as driver:
        assert driver.stdout.readline() == "started\n"
        driver.kill()
        driver.wait(LIMIT_S)

        def left() -> list[psutil.Process]:
            # Whoever has just been forked is found by the session, which the test has opened for the program.
            session = (process for process in psutil.process_iter() if session_of(process) == driver.pid)
            return left_of(session)

        assert until(lambda: not left(), 2 * GONE_WITHIN_S), left()


def session_of(process: psutil.Process) -> int:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return 0


@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGHUP"])
def test_a_driver_ended_by_a_signal_leaves_nothing(tmp_path, signal_name):
    with program(tmp_path, DRIVER, "fork", "pool", "busy") as driver:
        driver.stdout.readline(), driver.stdout.readline()
        processes = processes_of(driver.pid)
        driver.send_signal(getattr(signal, signal_name))
        assert until(lambda: not left_of(processes), GONE_WITHIN_S), left_of(processes)


# ---- the template is killed


def kill_template(pool: distpool.Pool) -> list[psutil.Process]:
    """The workers that it leaves."""
    workers = [psutil.Process(worker.pid) for worker in pool._pool]
    os.kill(pool._workers._crew.template.pid, signal.SIGKILL)
    return workers


@pytest.mark.parametrize("method", METHODS)
def test_workers_end_with_their_template_and_pending_calls_fail(tmp_path, method):
    with distpool.get_context(method).Pool(2) as pool:
        pool.map(calls.square, range(4))
        results = [pool.apply_async(calls.tell_pid_and_wait, [str(tmp_path)]) for _ in range(6)]
        assert until(lambda: len(list(tmp_path.iterdir())) == 2)
        workers = kill_template(pool)
        for result in results:
            with pytest.raises((WorkerDied, PoolBroken)):
                result.get(LIMIT_S)
        assert until(lambda: not left_of(workers), GONE_WITHIN_S), left_of(workers)
        pool.terminate()
        pool.join()


def test_an_idle_pool_whose_template_was_killed_says_why_it_takes_no_calls(tmp_path):
    with distpool.get_context("fork").Pool(2) as pool:
        pool.map(calls.square, range(4))
        workers = kill_template(pool)
        assert until(lambda: not left_of(workers), GONE_WITHIN_S)
        with pytest.raises(PoolBroken, match="ended"):
            pool.apply_async(calls.square, [2]).get(LIMIT_S)
        pool.close()
        pool.join()


@pytest.mark.parametrize("method", METHODS)
def test_a_template_killed_while_workers_start_fails_their_calls(method):
    pool = distpool.get_context(method).Pool(2)
    result = pool.apply_async(calls.square, [3])
    os.kill(pool._workers._crew.template.pid, signal.SIGKILL)
    with contextlib.suppress(WorkerDied, PoolBroken):
        assert result.get(LIMIT_S) == 9
    pool.terminate()
    pool.join()


def test_other_pools_go_on_when_one_template_is_killed():
    context = distpool.get_context("fork")
    with context.Pool(1) as lost, context.Pool(1) as other:
        assert [lost.apply(calls.square, [2]), other.apply(calls.square, [3])] == [4, 9]
        kill_template(lost)
        assert other.map(calls.square, range(100), chunksize=1) == [value * value for value in range(100)]
        lost.terminate()
        lost.join()


# ---- several pools, and what a template inherits


def test_two_pools_at_once_keep_apart():
    context = distpool.get_context("fork")
    with context.Pool(2) as one, context.Pool(2) as two:
        first, second = one.map_async(calls.square, range(500), 1), two.map_async(calls.square, range(500, 900), 1)
        assert first.get(LIMIT_S) == [value * value for value in range(500)]
        assert second.get(LIMIT_S) == [value * value for value in range(500, 900)]
        pids = [{worker.pid for worker in pool._pool} for pool in (one, two)]
        assert len(pids[0] | pids[1]) == 4
        one.terminate()
        assert two.apply(calls.square, [4]) == 16


def test_the_later_of_two_pools_does_not_keep_the_earlier_ones_workers_alive():
    """A template that was forked later has inherited the earlier lanes unless it closed them."""
    context = distpool.get_context("fork")
    one = context.Pool(1)
    one.apply(calls.square, [2])
    with context.Pool(1) as two:
        workers = [psutil.Process(worker.pid) for worker in one._pool]
        one.close()
        one.join()
        assert left_of(workers) == []
        assert two.apply(calls.square, [4]) == 16


DESCRIPTORS = """
    import os
    import distpool

    def mine():
        held = {}
        for entry in os.listdir("/proc/self/fd"):
            try:
                held[int(entry)] = os.readlink(f"/proc/self/fd/{entry}")
            except FileNotFoundError:
                continue
        return held

    if __name__ == "__main__":
        context = distpool.get_context("fork")
        first = context.Pool(3)
        first.map(abs, range(10))
        with context.Pool(1) as second:
            held = second.apply(mine)
            print(sum(target.startswith("socket:") for target in held.values()) - 1)  # and the one to the store
            print(sum("eventfd" in target for target in held.values()))
            print(sum("eventpoll" in target for target in held.values()))
            print(sum("memfd" in target for target in held.values()) <= 3)  # the store, a frame, and for stacks
        first.terminate()
"""


def test_a_worker_holds_its_own_lane_and_nobody_elses(tmp_path):
    assert output_of(tmp_path, DESCRIPTORS).split() == ["1", "1", "0", "True"]


def test_a_worker_that_was_started_is_reported_with_its_pid():
    with distpool.get_context("fork").Pool(2) as pool:
        template = pool._workers._crew.template.pid
        assert {psutil.Process(worker.pid).ppid() for worker in pool._pool} == {template}
        assert psutil.Process(template).ppid() == os.getpid()
        assert psutil.Process(template).num_threads() == 1
