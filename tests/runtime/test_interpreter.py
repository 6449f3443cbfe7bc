"""Processes that become templates: fresh interpreters, and those that start while the runtime is imported."""

import os
import signal
import subprocess
import time

import pytest

from tests.runtime.programs import LIMIT_S, left_of, output_of, processes_of, program, reports_in, until

FRESH = pytest.mark.parametrize("method", ["forkserver", "spawn"])

CHILDREN = """
    import os, sys
    import distpool

    def children():
        with open("/proc/self/task/%d/children" % os.getpid()) as stream:
            pids = stream.read().split()
        names = [open(f"/proc/{pid}/cmdline").read() for pid in pids]
        return [name for name in names if "resource_tracker" not in name]
"""

REFUSED = (
    CHILDREN
    + """
    if __name__ == "__main__":
        try:
            distpool.get_context(sys.argv[1]).Pool(0)
        except ValueError as error:
            print(error)
        print(len(children()), sorted(os.listdir("/proc/self/fd"))[3:])
"""
)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_pool_that_is_refused_leaves_no_process(tmp_path, method):
    output = output_of(tmp_path, REFUSED, method).splitlines()
    assert output[0] == "Number of processes must be at least 1"
    count, *descriptors = output[1].split(maxsplit=1)
    assert count == "0"
    # The folder that is being read, the resource tracker, and the memory of this process's store.
    assert len(eval(descriptors[0])) <= 3


INHERITING = (
    CHILDREN
    + """
    def keep(value):
        global lock
        lock = value

    def take():
        return lock.acquire(block=False)

    if __name__ == "__main__":
        context = distpool.get_context(sys.argv[1])
        lock = context.Lock()
        with context.Pool(1, keep, (lock,)) as pool:
            print(len(children()), pool.apply(take), lock.acquire(block=False))
"""
)


@FRESH
def test_a_pool_whose_initializer_inherits_gets_another_interpreter_and_the_first_ends(tmp_path, method):
    assert output_of(tmp_path, INHERITING, method).split() == ["1", "True", "False"]


FORKED = """
    import sys, threading
    import distpool

    number = 1

    def keep(value):
        global number
        number += value

    def told():
        return number, "distpool.runtime.loop" in sys.modules

    if __name__ == "__main__":
        number = 2
        context = distpool.get_context("fork")
        ended = threading.Event()
        thread = threading.Thread(target=ended.wait)
        if sys.argv[1] == "thread":
            thread.start()
        arguments = [keep, (3,)] if sys.argv[1] == "initializer" else []
        with context.Pool(1, *arguments) as pool:
            number = 10
            print(*pool.apply(told))
        with context.Pool(1) as pool:
            print(*pool.apply(told))
        ended.set()
"""


@pytest.mark.parametrize(
    ("case", "first"), [("alone", "2 False"), ("thread", "2 True"), ("initializer", "5 True")], ids=lambda value: value
)
def test_a_first_template_is_forked_before_the_runtime_is_imported_where_nothing_can_be_in_its_way(
    tmp_path, case, first
):
    assert output_of(tmp_path, FORKED, case).splitlines() == [first, "10 True"]


HELD_UP = """
    import sys, time
    import distpool

    class HoldsUp:
        def find_spec(self, name, path=None, target=None):
            if name == "distpool.pool":
                print(flush=True)
                time.sleep(60)

    if __name__ == "__main__":
        sys.meta_path.insert(0, HoldsUp())
        distpool.get_context(sys.argv[1]).Pool(2)
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_driver_that_is_ended_while_it_imports_the_runtime_leaves_no_template(tmp_path, method, number):
    with program(tmp_path, HELD_UP, method) as driver:
        assert driver.stdout.readline()
        started = processes_of(driver.pid)
        assert len(started) == 1
        (os.killpg if number == signal.SIGINT else os.kill)(driver.pid, number)
        if number == signal.SIGINT:  # the first one waits for the end of the import, which is far away
            with pytest.raises(subprocess.TimeoutExpired):
                driver.wait(timeout=1.0)
            os.killpg(driver.pid, number)
        _, errors = driver.communicate(timeout=LIMIT_S)
        assert until(lambda: not left_of(started))
    assert reports_in(errors) == (number == signal.SIGINT), errors


TRACKED = """
    import os, sys
    import distpool
    from multiprocessing import resource_tracker

    def tracker():
        return os.readlink(f"/proc/self/fd/{resource_tracker.getfd()}")

    if __name__ == "__main__":
        with distpool.get_context(sys.argv[1]).Pool(1) as pool:
            print(pool.apply(tracker) == tracker())
"""


@FRESH
def test_workers_have_the_resource_tracker_of_the_program(tmp_path, method):
    assert output_of(tmp_path, TRACKED, method).split() == ["True"]


MAIN_RUNS = """
    import os, sys
    import distpool

    with open("runs", "a") as stream:
        stream.write(f"{__name__} ")

    def own_modules(_):
        return sum(name in sys.modules for name in ("distpool.pool", "concurrent.futures", "logging", "tempfile"))

    if __name__ == "__main__":
        with distpool.get_context(sys.argv[1]).Pool(3) as pool:
            print(*pool.map(own_modules, range(30), chunksize=1))
            pool.close()
            pool.join()
        print(open("runs").read())
"""


@pytest.mark.parametrize(("method", "imports"), [("forkserver", 1), ("spawn", 3)])
def test_main_is_imported_once_by_the_template_or_once_by_each_worker(tmp_path, method, imports):
    modules, runs = output_of(tmp_path, MAIN_RUNS, method).splitlines()
    assert runs.split() == ["__main__"] + ["__mp_main__"] * imports
    # Workers have of the runtime and the standard library what they need.
    assert set(modules.split()) == {"0"}


LONG = """
    import sys, time
    import distpool

    if __name__ == "__main__":
        print(flush=True)
        with distpool.get_context(sys.argv[1]).Pool(2) as pool:
            pool.map(time.sleep, [20] * 4)
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_ctrl_c_while_processes_start_gives_one_traceback(tmp_path, method):
    for delay_ms in (0, 3, 6, 10, 20, 30, 40, 60, 80):
        with program(tmp_path, LONG, method) as driver:
            assert driver.stdout.readline()
            time.sleep(delay_ms / 1000)
            os.killpg(driver.pid, signal.SIGINT)
            _, errors = driver.communicate(timeout=LIMIT_S)
        assert reports_in(errors) == 1, errors
        assert errors.rstrip().endswith("KeyboardInterrupt"), errors
        assert driver.returncode == -signal.SIGINT
