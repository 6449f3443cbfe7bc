"""What do `put` and `get` cost, how much memory do readers take, and how soon is all gone when the driver is killed?

Measured: `put` of 400 MB again and again after the one before was dropped, in GB/s, beside a copy into warm memory
(NumPy's `copyto`, shown as the standard library's figure, which has no `put`); `get` of 8 kB, 8 MB and 400 MB, the
slowest of the three medians of 50, in µs; the memory of the whole tree of processes (PSS) while 64 calls read one array
of 100 MB, less what it takes idle, by the array's size; the time from the SIGKILL of a driver, whose workers read an
array of 100 MB, to the end of the last process and mapping, median of 10, in ms.
Against: the copy, and limits of their own.
Goal: put at least 0.7 of the copy; get at most 150 µs; memory at most 1.2 times the array; all gone after 250 ms.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from statistics import median

from figure import Figure
from libraries import OURS, STANDARD, WORKERS, NotOffered, main, open_pool, seconds

FIGURES = [
    Figure("put_gb_per_s", "put of 400 MB, again", "GB/s", 1, ratio_goal=0.7, more_is_better=True, panel="put, again"),
    Figure("get_us", "get, of any size", "µs", value_goal=150, panel="get: time for any size"),
    Figure("memory_ratio", "memory of 64 readers / array", "", 2, value_goal=1.2),
    Figure("gone_ms", "driver killed, all gone", "ms", value_goal=250),
]
SIZES = (1_000, 1_000_000, 50_000_000)
GETS = 50
PUTS = 7
KILLS = 10


def measure(name):
    import numpy as np

    largest = np.ones(SIZES[-1])
    if name == STANDARD:
        target = np.empty_like(largest)
        np.copyto(target, largest)
        taken_s = median(seconds(lambda: np.copyto(target, largest)) for _ in range(PUTS))
        return {"put_gb_per_s": largest.nbytes / taken_s / 1e9}
    if name == "ray":
        from peers import start_ray

        ray = start_ray(WORKERS)
        answer = put_and_get(ray.put, ray.get, np)
        ray.shutdown()
        return answer
    if name != OURS:
        raise NotOffered(f"{name} has no put")
    import distpool

    return put_and_get(distpool.put, distpool.get, np) | {"memory_ratio": memory_ratio(np), "gone_ms": gone_ms()}


def put_and_get(put, get, np):
    values = [np.ones(size) for size in SIZES]
    put_s = []
    for number in range(PUTS + 2):  # the first two find no warm memory, or no mapping of it
        began_at = time.perf_counter()
        ref = put(values[-1])
        put_s.append(time.perf_counter() - began_at)
        del ref
        time.sleep(0.3 if number < 2 else 0.05)  # for those that free later
    get_s = []
    for value in values:
        ref = put(value)
        assert get(ref)[-1] == 1.0
        taken_s = []
        for _ in range(GETS):
            began_at = time.perf_counter()
            got = get(ref)
            taken_s.append(time.perf_counter() - began_at)
            del got
        get_s.append(median(taken_s))
        del ref
    return {"put_gb_per_s": values[-1].nbytes / median(put_s[2:]) / 1e9, "get_us": max(get_s) * 1e6}


def read_slowly(array):
    time.sleep(0.02)
    return float(array.sum())


def memory_ratio(np):
    import psutil

    def taken():
        me = psutil.Process()
        return sum(process.memory_full_info().pss for process in [me, *me.children(recursive=True)])

    array = np.ones(12_500_000)
    with open_pool(OURS) as pool:
        pool.map(read_slowly, [np.ones(10)] * 8, chunksize=1)
        idle = taken()
        result = pool.map_async(read_slowly, [array] * 64, chunksize=1)
        most = 0
        while not result.ready():
            most = max(most, taken())
            time.sleep(0.01)
    return (most - idle) / array.nbytes


DRIVER = """
import time
import numpy as np
import distpool

def hold(array):
    print("ready", flush=True)
    time.sleep(60)
    return array.sum()

with distpool.get_context("fork").Pool(2) as pool:
    pool.map(hold, [np.ones(12_500_000)] * 2, chunksize=1)
"""


def gone_ms():
    import psutil

    taken_s = []
    for _ in range(KILLS):
        with subprocess.Popen([sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, text=True) as driver:
            assert driver.stdout.readline() == "ready\n"
            assert driver.stdout.readline() == "ready\n"
            children = psutil.Process(driver.pid).children(recursive=True)
            began_at = time.perf_counter()
            os.kill(driver.pid, signal.SIGKILL)
            driver.wait()
            while any(lives(child) for child in children):
                time.sleep(0.001)
            taken_s.append(time.perf_counter() - began_at)
    return median(taken_s) * 1000


def lives(process):
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    main(measure)
