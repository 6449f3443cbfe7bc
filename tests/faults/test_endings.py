"""How programs end, with forks and threads about: no hang, no noise, nothing left."""

import signal
import subprocess
import time

import psutil
import pytest

from ..runtime.programs import environment, left_of, program, until
from .cell import METHODS
from .innocents import LIMIT_S

ENDS_WITHIN_S = 5.0

ENDING_PROGRAM = """
    import ctypes, os, signal, sys, time
    import distpool

    def busy(seconds):
        os.write(1, b"busy\\n")
        time.sleep(seconds)

    class DiesWhilePickled:
        def __reduce__(self):
            os._exit(5)

    if __name__ == "__main__":
        method, kind, ending = sys.argv[1:]
        context = distpool.get_context(method)
        if kind == "Pool":
            pool = context.Pool(2)
            submit = lambda *call: pool.apply_async(call[0], call[1:])
        else:
            pool = distpool.Executor(2, mp_context=context)
            submit = pool.submit
        seconds = 1 if kind == "Executor" else 60
        results = [submit(busy, seconds) for _ in range(2)]
        sys.stdin.readline()
        match ending:
            case "os._exit":
                os._exit(5)
            case "killed by itself":
                os.kill(os.getpid(), signal.SIGKILL)
            case "dies while it pickles":
                submit(abs, DiesWhilePickled())
            case "sys.exit":
                sys.exit(5)
            case "unhandled exception":
                raise ValueError("unhandled")
            case "falls off the end":
                pass
"""
STATUS = {
    "os._exit": 5,
    "killed by itself": -signal.SIGKILL,
    "dies while it pickles": 5,
    "sys.exit": 5,
    "unhandled exception": 1,
    "falls off the end": 0,
}


# What happens in the driver is the same under each start method; who must notice its end is not.
CASES = [("fork", ending) for ending in STATUS] + [
    (method, ending) for method in ("forkserver", "spawn") for ending in ("os._exit", "unhandled exception")
]


@pytest.mark.parametrize(("method", "ending"), CASES)
@pytest.mark.parametrize("kind", ["Pool", "Executor"])
def test_a_program_that_ends_with_calls_running_leaves_nothing(method, kind, ending, tmp_path):
    with program(tmp_path, ENDING_PROGRAM, method, kind, ending) as process:
        assert [process.stdout.readline(), process.stdout.readline()] == ["busy\n"] * 2
        processes = psutil.Process(process.pid).children(recursive=True)
        assert len(processes) >= 3
        ends_at = time.monotonic()
        _, errors = process.communicate("end\n", timeout=LIMIT_S)
        assert process.returncode == STATUS[ending]
        assert time.monotonic() - ends_at < ENDS_WITHIN_S
        assert until(lambda: not left_of(processes), 1.0), left_of(processes)
    if ending == "unhandled exception":
        assert errors.count("Traceback") == 1
        assert errors.endswith("ValueError: unhandled\n")
    else:
        assert errors == ""


COLLECTED_PROGRAM = """
    import gc, os, sys, time, warnings
    import distpool

    if __name__ == "__main__":
        pool = distpool.get_context(sys.argv[1]).Pool(2)
        pool.map(abs, range(4))
        if sys.argv[2] == "busy":
            pool.apply_async(time.sleep, [0.3])  # its result, too, keeps the pool until it is there
        pids = [worker.pid for worker in pool._pool]
        del pool
        gc.collect()
        until = time.monotonic() + 5
        while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < until:
            time.sleep(0.01)
        print(any(os.path.exists(f"/proc/{pid}") for pid in pids))
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
@pytest.mark.parametrize("method", METHODS)
def test_a_pool_that_is_collected_ends_with_the_standard_warning_and_no_more(method, state, tmp_path):
    with program(tmp_path, COLLECTED_PROGRAM, method, state) as process:
        output, errors = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, output) == (0, "False\n")
    assert errors == "", "the program ignores warnings"
    run = subprocess.run(
        [process.args[0], "-W", "default::ResourceWarning", *process.args[1:]],
        env=environment(tmp_path) | {"PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=tmp_path,
    )
    assert run.stderr.count("Warning: unclosed") == 1
    assert "ResourceWarning: unclosed running multiprocessing pool" in run.stderr
    assert "Traceback" not in run.stderr


FORKS_IN_CALLS = """
    import os, sys, time
    import distpool

    def fork_and(ending):
        pid = os.fork()
        if pid == 0:
            if ending == "returns":
                return "child"
            if ending == "raises":
                raise ValueError("child")
            if ending == "exits":
                sys.exit(3)
            os._exit(3)
        os.waitpid(pid, 0)
        return "parent"

    def fork_and_leave_it(seconds):
        if os.fork() == 0:
            time.sleep(seconds)
            os._exit(0)
        return "parent"

    if __name__ == "__main__":
        method, kind = sys.argv[1:]
        context = distpool.get_context(method)
        pool = context.Pool(2) if kind == "Pool" else distpool.Executor(2, mp_context=context)
        with pool:
            print(list(pool.map(fork_and, ["returns", "raises", "exits", "os._exit"])))
            print(list(pool.map(fork_and_leave_it, [0.5])))
            print(list(pool.map(abs, range(-3, 0))))
"""


@pytest.mark.parametrize("kind", ["Pool", "Executor"])
@pytest.mark.parametrize("method", METHODS)
def test_a_call_that_forks_is_answered_once(method, kind, tmp_path):
    with program(tmp_path, FORKS_IN_CALLS, method, kind) as process:
        output, errors = process.communicate(timeout=LIMIT_S)
    assert output.splitlines() == ["['parent', 'parent', 'parent', 'parent']", "['parent']", "[3, 2, 1]"], errors
    assert (process.returncode, errors) == (0, "")


FORKS_IN_THE_DRIVER = """
    import os, sys, time
    import distpool

    if __name__ == "__main__":
        with distpool.get_context(sys.argv[1]).Pool(2) as pool:
            pending = pool.map_async(time.sleep, [0.2] * 4, chunksize=1)
            children = []
            for _ in range(5):
                pid = os.fork()
                if pid == 0:
                    del pending
                    if len(children) % 2:
                        os._exit(0)
                    del pool
                    sys.exit(0)
                children.append(pid)
            print([os.waitpid(pid, 0)[1] for pid in children])
            print(pending.get(20))
            print(pool.map(abs, range(-3, 0)))
"""


@pytest.mark.parametrize("method", METHODS)
def test_a_fork_of_the_driver_harms_neither_side(method, tmp_path):
    with program(tmp_path, FORKS_IN_THE_DRIVER, method) as process:
        output, errors = process.communicate(timeout=LIMIT_S)
    assert output.splitlines() == ["[0, 0, 0, 0, 0]", "[None, None, None, None]", "[3, 2, 1]"], errors
    assert (process.returncode, errors) == (0, "")


THREADED_PROGRAM = """
    import collections, colorsys, importlib, logging, random, sys, threading, time
    import distpool

    class Memory(logging.Handler):
        # No file: under fork, its own lock may be inherited locked, and no library can help that.

        records = collections.deque(maxlen=100)

        def emit(self, record):
            self.records.append(self.format(record))

    logging.getLogger().addHandler(Memory())

    def work(value):
        logging.getLogger("work").warning("at work %s", value)
        return value * value

    def chatter(stop):
        while not stop.is_set():
            logging.getLogger("chatter").warning("chatter")
            random.random()
            importlib.reload(colorsys)

    def use_pools(method, failures):
        for _ in range(4 if method == "fork" else 1):
            with distpool.get_context(method).Pool(2) as pool:
                if pool.map(work, range(6)) != [value * value for value in range(6)]:
                    failures.append("wrong")

    if __name__ == "__main__":
        stop, failures = threading.Event(), []
        talker = threading.Thread(target=chatter, args=[stop])
        talker.start()
        users = [threading.Thread(target=use_pools, args=[sys.argv[1], failures]) for _ in range(2)]
        for user in users:
            user.start()
        for user in users:
            user.join()
        stop.set()
        talker.join()
        print("failures", failures)
"""


@pytest.mark.parametrize("method", METHODS)
def test_pools_work_in_a_program_with_busy_threads(method, tmp_path):
    with program(tmp_path, THREADED_PROGRAM, method) as process:
        output, errors = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, output, errors) == (0, "failures []\n", "")


NESTED_PROGRAM = """
    import os, signal, sys, time
    import distpool
    import distpool.futures

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def stay(path):
        open(path, "w").write(str(os.getpid()))
        time.sleep(60)

    def use_inner(method):
        with distpool.Executor(1, mp_context=distpool.get_context(method)) as inner:
            try:
                inner.submit(die).result(20)
            except distpool.WorkerDied:
                return inner.submit(abs, -7).result(20)

    def die_with_inner(method, path):
        inner = distpool.Executor(1, mp_context=distpool.get_context(method))
        inner.submit(stay, path)
        while not os.path.exists(path) or not open(path).read():
            time.sleep(0.005)
        die()

    if __name__ == "__main__":
        method = sys.argv[1]
        with distpool.Executor(2, mp_context=distpool.get_context(method)) as outer:
            print(outer.submit(use_inner, method).result(20))
            try:
                outer.submit(die_with_inner, method, "inner-pid").result(20)
            except distpool.WorkerDied:
                print("died")
            pid = int(open("inner-pid").read())
            until = time.monotonic() + 1
            while os.path.exists(f"/proc/{pid}") and time.monotonic() < until:
                time.sleep(0.005)
            print(os.path.exists(f"/proc/{pid}"), outer.submit(abs, -2).result(20))
"""


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_inside_a_call_loses_its_workers_alone_and_ends_with_its_owner(method, tmp_path):
    with program(tmp_path, NESTED_PROGRAM, method) as process:
        output, errors = process.communicate(timeout=2 * LIMIT_S)
    assert output.splitlines() == ["7", "died", "False 2"], errors
