"""How long does a single call take beside as many busy processes as there are CPUs, and what CPU time does it cost?

Measured: the time from the call to its result, median of 1,000 calls (or of those that fit into 10 s), in
microseconds; and the CPU time (user and system) that the driver and its workers spend per call, in microseconds.
Beside it, one process per CPU runs an endless loop.
Against: the standard Pool, and for submit the standard ProcessPoolExecutor.
Goal: `Pool.apply` at most 0.8 times the standard Pool's time; at most 50 µs of CPU per call more than the standard
Pool's, so no CPU burnt by spinning beyond that.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from statistics import median

from figure import Figure
from libraries import main, noop, offered, open_executor, open_pool, seconds
from processes import cpu_seconds, family

FIGURES = [
    Figure("apply_us", "busy CPUs: Pool.apply", "µs", 1, ratio_goal=0.8, panel="Pool.apply, all CPUs busy"),
    Figure("apply_cpu_us", "busy CPUs: CPU per Pool.apply", "µs", 1, extra_goal=50),
    Figure("submit_us", "busy CPUs: submit().result()", "µs", 1),
    Figure("submit_cpu_us", "busy CPUs: CPU per submit().result()", "µs", 1),
]
CALLS = 1000
TIME_LIMIT_S = 10
BUSY_LIMIT_S = 120
BUSY = "import time\nends_at = time.monotonic() + {}\nwhile time.monotonic() < ends_at:\n    sum(range(100_000))"


def measure(name):
    answers = offered({"apply": lambda: measure_apply(name), "submit": lambda: measure_submit(name)})
    return {f"{call}{key}": figure for call, figures in answers.items() for key, figure in figures.items()}


def measure_apply(name):
    with open_pool(name) as pool:
        return beside_busy_processes(lambda: pool.apply(noop, (1,)))


def measure_submit(name):
    with open_executor(name) as executor:
        return beside_busy_processes(lambda: executor.submit(noop, 1).result())


def beside_busy_processes(call):
    for _ in range(50):
        call()
    mine = family(os.getpid())
    with busy_processes():
        ends_at = time.monotonic() + TIME_LIMIT_S
        for _ in range(20):
            call()
        spent_s, taken_s = cpu_seconds(mine), []
        while len(taken_s) < CALLS and time.monotonic() < ends_at:
            taken_s.append(seconds(call))
        spent_s = cpu_seconds(mine) - spent_s
    return {"_us": median(taken_s) * 1e6, "_cpu_us": spent_s / len(taken_s) * 1e6}


@contextmanager
def busy_processes():
    command = [sys.executable, "-c", BUSY.format(BUSY_LIMIT_S)]
    busy = [subprocess.Popen(command) for _ in os.sched_getaffinity(0)]
    try:
        time.sleep(0.3)
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main(measure)
