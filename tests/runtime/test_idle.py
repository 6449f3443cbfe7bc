"""An idle pool does nothing at all: no process of it uses the CPU, and no thread of it wakes up."""

import time
from pathlib import Path

import pytest

from .programs import processes_of, program

WATCHED_S = 0.5

DRIVER = """
    import sys, time
    import distpool, distpool.futures

    if __name__ == "__main__":
        kind, method = sys.argv[1:]
        context = distpool.get_context(method)
        if kind == "pool":
            pool = context.Pool(2)
            pool.map(abs, range(1000), chunksize=1)
            pool.apply(abs, [-1])
            list(pool.imap_unordered(abs, range(1000)))
        else:
            executor = distpool.futures.ProcessPoolExecutor(2, mp_context=context)
            list(executor.map(abs, range(1000)))
            executor.submit(abs, -1).result()
        time.sleep(0.2)  # what is still being tidied up is tidied up
        print("idle", flush=True)
        sys.stdin.read()
"""


def wake_ups(pid: int) -> dict[str, int]:
    """How often each thread of a process has gone to sleep so far."""
    counts = {}
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        fields = dict(line.split(":\t") for line in status.read_text().splitlines() if ":\t" in line)
        counts[f"{fields['Name']} {fields['Pid']}"] = int(fields["voluntary_ctxt_switches"])
    return counts


@pytest.mark.parametrize(
    ("kind", "method"), [("pool", "fork"), ("pool", "forkserver"), ("pool", "spawn"), ("executor", "fork")]
)
def test_an_idle_pool_sleeps(tmp_path, kind, method):
    with program(tmp_path, DRIVER, kind, method) as driver:
        assert driver.stdout.readline() == "idle\n"
        processes = processes_of(driver.pid)
        assert len(processes) >= 3, "a template and two workers"
        pids = [driver.pid, *(process.pid for process in processes)]
        before = [(process.cpu_times()[:2], wake_ups(process.pid)) for process in processes]
        time.sleep(0.05)  # until the main thread, which has just said so, sleeps too
        driver_before = wake_ups(driver.pid)
        time.sleep(WATCHED_S)
        assert wake_ups(driver.pid) == driver_before
        assert [(process.cpu_times()[:2], wake_ups(process.pid)) for process in processes] == before
        assert [driver.pid, *(process.pid for process in processes_of(driver.pid))] == pids
        driver.communicate(timeout=20)
        assert driver.returncode == 0
