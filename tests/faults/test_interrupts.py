"""Ctrl-C ends a program at once, with one traceback and without a process left; a program that catches it goes on."""

import os
import random
import signal
import subprocess
import time

import psutil
import pytest

from ..runtime.programs import left_of, program, reports_in, until
from .cell import METHODS

ENDS_WITHIN_S = 1.0
HANG_S = 5.0

PROGRAM = """
    import os, signal, sys, time
    import distpool
    import distpool.futures

    def busy(seconds):
        os.write(1, b"busy\\n")
        time.sleep(seconds)

    def run_map(context):
        with context.Pool(2) as pool:
            pool.map(busy, [9] * 8, chunksize=1)

    def run_imap(context):
        with context.Pool(2) as pool:
            for _ in pool.imap(busy, [9] * 8):
                pass

    def run_apply(context):
        pool = context.Pool(2)
        pool.apply_async(busy, [9])
        pool.apply(busy, [9])

    def run_result(context):
        with distpool.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
            futures = [executor.submit(busy, 9) for _ in range(8)]
            futures[0].result()

    def run_executor_map(context):
        with distpool.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
            list(executor.map(busy, [9] * 8))

    def run_surviving_map(context):
        with distpool.Executor(2, mp_context=context) as executor:
            list(executor.map(busy, [9] * 8))

    def run_without_with(context):
        executor = distpool.Executor(2, mp_context=context)
        futures = [executor.submit(busy, 9) for _ in range(8)]
        futures[0].result()

    if __name__ == "__main__":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as from a shell, wherever the tests run
        globals()[sys.argv[2]](distpool.get_context(sys.argv[1]))
"""

WAYS = [
    "run_map",
    "run_imap",
    "run_apply",
    "run_result",
    "run_executor_map",
    "run_surviving_map",
    "run_without_with",
]


def interrupt_as_a_terminal_does(process: subprocess.Popen) -> None:
    """To the whole foreground group."""
    os.killpg(process.pid, signal.SIGINT)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_ends_the_program_at_once_with_one_traceback(method, way, tmp_path):
    with program(tmp_path, PROGRAM, method, way) as process:
        assert [process.stdout.readline(), process.stdout.readline()] == ["busy\n"] * 2
        processes = psutil.Process(process.pid).children(recursive=True)
        interrupt_as_a_terminal_does(process)
        interrupted_at = time.monotonic()
        _, errors = process.communicate(timeout=HANG_S)
        assert time.monotonic() - interrupted_at < ENDS_WITHIN_S
        assert until(lambda: not left_of(processes), ENDS_WITHIN_S)
    assert process.returncode == -signal.SIGINT, errors
    assert reports_in(errors) == 1, errors
    assert errors.rstrip().endswith("KeyboardInterrupt"), errors


CATCHING_PROGRAM = """
    import os, signal, sys, time
    import distpool

    if sys.argv[2] == "at import":
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def busy(seconds):
        os.write(1, b"busy\\n")
        time.sleep(seconds)

    if __name__ == "__main__":
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with distpool.get_context(sys.argv[1]).Pool(2) as pool:
            pids = {worker.pid for worker in pool._pool}
            started = time.monotonic()
            try:
                pool.map(busy, [1.0] * 2, chunksize=1)
            except KeyboardInterrupt:
                print("caught", flush=True)
            print(pool.map(abs, range(-3, 0)), flush=True)
            print({worker.pid for worker in pool._pool} == pids)
"""


@pytest.mark.parametrize("handler", ["as usual", "at import"])
@pytest.mark.parametrize("method", METHODS)
def test_a_program_that_catches_ctrl_c_uses_its_pool_again(method, handler, tmp_path):
    """Also where `__main__` sets a handler whenever it is imported, as it is by a worker's ancestors."""
    with program(tmp_path, CATCHING_PROGRAM, method, handler) as process:
        assert [process.stdout.readline(), process.stdout.readline()] == ["busy\n"] * 2
        interrupted_at = time.monotonic()
        interrupt_as_a_terminal_does(process)
        assert process.stdout.readline() == "caught\n"
        assert time.monotonic() - interrupted_at < 0.5
        # Line by line: `communicate` knows nothing of what `readline` has read ahead.
        assert [process.stdout.readline(), process.stdout.readline()] == ["[3, 2, 1]\n", "True\n"]
        output, errors = process.communicate(timeout=HANG_S)
    assert (process.returncode, output, errors) == (0, "", "")


IMPATIENT_PROGRAM = """
    import os, signal, sys, time
    import distpool

    def stubborn(seconds):
        os.write(1, b"busy\\n")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                time.sleep(0.1)
            except KeyboardInterrupt:
                pass

    if __name__ == "__main__":
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with distpool.get_context(sys.argv[1]).Pool(2) as pool:
            pool.map(stubborn, [9] * 8, chunksize=1)
"""


@pytest.mark.parametrize("times", [1, 2, 3])
def test_calls_that_ignore_ctrl_c_do_not_keep_the_program(times, tmp_path):
    with program(tmp_path, IMPATIENT_PROGRAM, "fork") as process:
        assert [process.stdout.readline(), process.stdout.readline()] == ["busy\n"] * 2
        processes = psutil.Process(process.pid).children(recursive=True)
        interrupted_at = time.monotonic()
        for _ in range(times):
            interrupt_as_a_terminal_does(process)
            time.sleep(0.03)
        process.communicate(timeout=HANG_S)
        assert time.monotonic() - interrupted_at < ENDS_WITHIN_S + 0.5
        assert until(lambda: not left_of(processes), ENDS_WITHIN_S)
    assert process.returncode != 0


BOMBARDED_PROGRAM = """
    import signal, sys, time
    import distpool
    from distpool.futures import as_completed

    def same(value):
        return value

    def use(pool, executor, turn):
        if turn == 0:
            assert pool.apply(same, (1,)) == 1
        elif turn == 1:
            assert pool.map(same, range(500), chunksize=3) == list(range(500))
        elif turn == 2:
            assert sorted(pool.imap_unordered(same, range(300))) == list(range(300))
        elif turn == 3:
            futures = [executor.submit(same, number) for number in range(200)]
            assert sum(future.result() for future in as_completed(futures)) == 19900
        else:
            assert [future.result(5) for future in [executor.submit(same, n) for n in range(20)]] == list(range(20))

    def interrupt(signum, frame):
        global is_armed
        if is_armed:
            is_armed = False
            raise KeyboardInterrupt

    if __name__ == "__main__":
        is_armed = False
        signal.signal(signal.SIGINT, interrupt)
        context = distpool.get_context(sys.argv[1])
        with context.Pool(2) as pool, distpool.Executor(2, mp_context=context) as executor:
            executor.submit(same, 1).result()
            ends_at = time.monotonic() + float(sys.argv[2])
            print("ready", flush=True)
            turn = done = 0
            while time.monotonic() < ends_at:
                try:
                    is_armed = True
                    turn = (turn + 1) % 5
                    use(pool, executor, turn)
                    done += 1
                    is_armed = False
                except KeyboardInterrupt:
                    pass
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interpreter that ends gives its handlers up
        print(done)
"""
BOMBARDED_S = 1.5


@pytest.mark.parametrize("method", METHODS)
def test_interrupts_at_any_moment_lose_no_lock_and_no_result(method, tmp_path):
    """Python runs the handler between any two statements of the main thread, also of ours."""
    chance = random.Random(method)
    with program(tmp_path, BOMBARDED_PROGRAM, method, str(BOMBARDED_S)) as process:
        assert process.stdout.readline() == "ready\n"
        ends_at = time.monotonic() + BOMBARDED_S
        while time.monotonic() < ends_at:
            time.sleep(chance.uniform(0.0, 0.03))
            process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=HANG_S)
    assert (process.returncode, errors) == (0, "")
    assert int(output) > 0
