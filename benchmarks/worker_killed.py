"""How soon does the caller have the error when the worker that runs its call is killed?

Measured: a call writes its pid into a FIFO and sleeps, the caller waits for its result, and 10 ms later the worker
gets a SIGKILL; the time from the kill to the exception in the caller, in milliseconds, p50 and p99 of 60 kills. A
Pool goes on with a new worker; an executor breaks, as the standard one does, so each kill has a new executor. The
standard Pool does not notice and waits for ever.
Against: limits of their own; shown beside the standard ProcessPoolExecutor.
Goal: p50 at most 10 ms, p99 at most 50 ms.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from statistics import quantiles

from figure import Figure
from libraries import OURS, fewer, main, noop, open_executor, open_pool

FIGURES = [
    Figure(
        "executor_p50_ms",
        "executor's worker killed, p50",
        "ms",
        2,
        value_goal=10,
        panel="Worker killed: time to the error",
    ),
    Figure("executor_p99_ms", "executor's worker killed, p99", "ms", 2, value_goal=50),
    Figure("pool_p50_ms", "Pool's worker killed, p50", "ms", 2, value_goal=10),
    Figure("pool_p99_ms", "Pool's worker killed, p99", "ms", 2, value_goal=50),
]
KILLS = 60
FEWER = {"loky": 3, "ray": 3, "dask": 12}
SURVIVE = ("ray", "dask")
"""Those whose executor, or what has its place, goes on after a kill."""
SETTLE_S = 0.01
TIME_LIMIT_S = 20


def measure(name):
    kills = fewer(KILLS, name, FEWER)
    with tempfile.TemporaryDirectory() as folder:
        fifo = os.path.join(folder, "fifo")
        os.mkfifo(fifo)
        if name in SURVIVE:
            taken_s = kill_in_executor(name, fifo, kills)
        else:
            taken_s = [taken for _ in range(kills) for taken in kill_in_executor(name, fifo, 1)]
        answer = percentiles("executor", taken_s)
        if name == OURS:
            answer |= percentiles("pool", kill_in_pool(name, fifo, kills))
    return answer


def percentiles(face, taken_s):
    cuts = quantiles(taken_s, n=100, method="inclusive")
    return {f"{face}_p50_ms": cuts[49] * 1e3, f"{face}_p99_ms": cuts[98] * 1e3}


def kill_in_executor(name, fifo, kills):
    with open_executor(name) as executor:
        executor.submit(noop, 1).result(TIME_LIMIT_S)
        return [kill_s(executor.submit(report_and_sleep, fifo).result, fifo) for _ in range(kills)]


def kill_in_pool(name, fifo, kills):
    with open_pool(name) as pool:
        return [kill_s(pool.apply_async(report_and_sleep, (fifo,)).get, fifo) for _ in range(kills)]


def report_and_sleep(fifo):
    with open(fifo, "w") as report:
        report.write(str(os.getpid()))
    time.sleep(2 * TIME_LIMIT_S)


def kill_s(wait_for_result, fifo):
    """From the kill to the exception that `wait_for_result(timeout)` raises, in seconds."""
    with open(fifo) as report:
        pid = int(report.read())
    killed_at = []

    def kill():
        time.sleep(SETTLE_S)
        killed_at.append(time.perf_counter())
        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        wait_for_result(timeout=TIME_LIMIT_S)
    except Exception as error:
        raised_at = time.perf_counter()
        if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
            raise AssertionError("the caller did not learn of the kill") from error
    else:
        raise AssertionError("the call has a result")
    finally:
        killer.join()
    return raised_at - killed_at[0]


if __name__ == "__main__":
    main(measure)
