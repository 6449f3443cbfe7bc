"""What does a pool of 2 workers cost that has worked and now does nothing?

Measured: over 3 s, the CPU time of the driver and all its processes, in percent of one CPU, and their voluntary
context switches per second; then their memory, where shared pages are divided among those that share them (PSS), in
10^6 bytes.
Against: limits of their own; shown beside the standard Pool.
Goal: 0.0 % of CPU, at most 45 MB.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figure import Figure
from libraries import main
from processes import count_wake_ups, cpu_seconds, family, pss_mb
from programs import FORK, SPAWN

FIGURES = [
    Figure("cpu_percent", "idle pool, CPU", "%", 1, value_goal=0.0, panel="Idle: CPU"),
    Figure("wake_ups_per_s", "idle pool, wake-ups", "1/s", 1),
    Figure("pss_mb", "idle pool, PSS of all processes", "MB", 1, value_goal=45, panel="Idle: memory of all processes"),
    Figure("pss_beside_driver_mb", "idle pool, PSS without the driver", "MB", 1),
    Figure("processes", "idle pool, processes", ""),
]
SETTLE_S = 1.0
WATCHED_S = 3.0
SCRIPT = """
import sys
{0.begin}
if __name__ == "__main__":
    {0.open}
    for _ in range(100):
        {0.use}
    {0.work}
    print("idle", flush=True)
    sys.stdin.read()
    {0.close}
"""


def measure(name):
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(SCRIPT.format(FORK.get(name) or SPAWN[name]))
        command = [sys.executable, str(script)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
            while (line := driver.stdout.readline()) != "idle\n":
                assert line, "the driver ended"
            time.sleep(SETTLE_S)
            answer = watch(family(driver.pid))
            driver.communicate()
    return answer


def watch(processes):
    cpu_s, wake_ups = cpu_seconds(processes), count_wake_ups(processes)
    time.sleep(WATCHED_S)
    cpu_s, wake_ups = cpu_seconds(processes) - cpu_s, count_wake_ups(processes) - wake_ups
    return {
        "cpu_percent": 100 * cpu_s / WATCHED_S,
        "wake_ups_per_s": wake_ups / WATCHED_S,
        "pss_mb": pss_mb(processes),
        "pss_beside_driver_mb": pss_mb(processes[1:]),
        "processes": float(len(processes)),
    }


if __name__ == "__main__":
    main(measure)
