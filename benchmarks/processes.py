"""What processes cost, read from /proc: CPU time, wake-ups, memory."""

from __future__ import annotations

from pathlib import Path

import psutil


def family(pid):
    """The process and all that descend from it."""
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


def cpu_seconds(processes):
    """CPU time of all threads that are alive, to the nanosecond; by the clock tick (10 ms) where the kernel has no
    schedstat."""
    return sum(map(cpu_seconds_of, processes))


def cpu_seconds_of(process):
    spent_ns = 0
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        try:
            spent_ns += int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            if task.exists():
                return sum(process.cpu_times()[:2])
            # The thread ended between the two looks.
    return spent_ns / 1e9


def count_wake_ups(processes):
    """Of all threads: what `num_ctx_switches` gives is the main thread's alone."""
    count = 0
    for process in processes:
        for thread in process.threads():
            with open(f"/proc/{process.pid}/task/{thread.id}/status") as status:
                count += sum(int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt"))
    return count


def pss_mb(processes):
    """Memory, with each shared page divided among those that share it, in 10^6 bytes."""
    return sum(process.memory_full_info().pss for process in processes) / 1e6
