"""What does a pool cost that has worked and now does nothing: CPU, wake-ups and memory of all its processes?"""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
from libraries import main

MODULES = {"standard": "multiprocessing", "distpool": "distpool"}
SETTLE_S = 0.3
WATCHED_S = 2.0
PROGRAM = """
import sys
import {} as library
pool = library.get_context("fork").Pool(2)
pool.map(abs, range(1000), chunksize=1)
pool.map(abs, range(100_000))
print("idle", flush=True)
sys.stdin.read()
pool.terminate()
pool.join()
"""


def measure(kind: str) -> dict[str, float]:
    command = [sys.executable, "-c", PROGRAM.format(MODULES[kind])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "idle\n"
        time.sleep(SETTLE_S)
        processes = [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
        cpu_s, wake_ups = cpu_seconds(processes), count_wake_ups(processes)
        time.sleep(WATCHED_S)
        cpu_s, wake_ups = cpu_seconds(processes) - cpu_s, count_wake_ups(processes) - wake_ups
        pss = [process.memory_full_info().pss / 1e6 for process in processes]
        driver.communicate()
    return {
        "cpu_percent": 100 * cpu_s / WATCHED_S,
        "wake_ups_per_s": wake_ups / WATCHED_S,
        "pss_mb": sum(pss),
        "pss_beside_driver_mb": sum(pss[1:]),
        "processes": float(len(processes)),
    }


def cpu_seconds(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def count_wake_ups(processes: list[psutil.Process]) -> int:
    """Of all threads: what `num_ctx_switches` gives is the main thread's alone."""
    count = 0
    for process in processes:
        for thread in process.threads():
            with open(f"/proc/{process.pid}/task/{thread.id}/status") as status:
                count += sum(int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt"))
    return count


if __name__ == "__main__":
    main(measure)
