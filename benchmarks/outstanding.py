"""What do 100,000 outstanding calls cost in memory, and how long does it take to cancel them?

Measured: with 2 workers that are blocked, the growth of the driver's resident memory by 100,000 calls with an int as
argument, per call and with its future or result object, in bytes. Then the time until all are cancelled, in seconds:
by `future.cancel()` for each, and by `shutdown(cancel_futures=True)` until the last future says so. A Pool has no way
to cancel; shown is its `terminate()`.
Against: limits of their own.
Goal: at most 1,000 bytes a call; all cancelled in at most 2 s.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from contextlib import contextmanager

import psutil
from figure import Figure
from libraries import PEERS, NotOffered, context_of, main, new_executor, noop, offered, seconds

FIGURES = [
    Figure(
        "submit_bytes", "100,000 outstanding submit, each", "B", value_goal=1000, panel="Memory per outstanding call"
    ),
    Figure("apply_async_bytes", "100,000 outstanding apply_async, each", "B", value_goal=1000),
    Figure("cancel_s", "future.cancel() for each of them", "s", 2, value_goal=2),
    Figure("shutdown_s", "shutdown(cancel_futures=True)", "s", 2, value_goal=2),
    Figure("terminate_s", "Pool.terminate()", "s", 2),
]
CALLS = 100_000
TIME_LIMIT_S = 60


def measure(name):
    if name in PEERS and name != "loky":
        raise NotOffered(f"{name} has no cancel_futures")
    answers = offered(
        {
            "cancel": lambda: measure_executor(name, cancel_each, "cancel_s"),
            "shutdown": lambda: measure_executor(name, shut_down, "shutdown_s"),
            "pool": lambda: measure_pool(name),
        }
    )
    return {key: figure for figures in answers.values() for key, figure in figures.items()}


def measure_executor(name, cancel, key):
    with blocked_workers() as block:
        executor = open_executor_of(name)
        running = [executor.submit(block) for _ in range(2)]
        before = resident_bytes()
        futures = [executor.submit(noop, number) for number in range(CALLS)]
        grown = resident_bytes() - before
        # What the standard executor has put into its workers' queue counts as running and cannot be cancelled.
        futures = [future for future in futures if not future.running()]
        taken_s = seconds(lambda: cancel(executor, futures))
    for future in running:
        future.result()
    executor.shutdown()
    return {"submit_bytes": grown / CALLS, key: taken_s}


def open_executor_of(name):
    if name == "loky":
        from peers import new_loky_executor

        executor = new_loky_executor(2)
    else:
        executor = new_executor(name)
    list(executor.map(noop, range(100)))
    return executor


def cancel_each(executor, futures):
    cancelled = sum(future.cancel() for future in futures)
    if cancelled < len(futures) - 10:
        raise AssertionError(f"only {cancelled} of {len(futures)} calls could be cancelled")


def shut_down(executor, futures):
    try:
        executor.shutdown(wait=False, cancel_futures=True)
    except TypeError as error:
        raise NotOffered("no cancel_futures") from error
    ends_at = time.monotonic() + TIME_LIMIT_S
    for future in futures:
        while not (future.done() or future.running()):
            if time.monotonic() > ends_at:
                raise AssertionError("some calls were not cancelled")
            time.sleep(0.0005)


def measure_pool(name):
    if name in PEERS:
        raise NotOffered(f"{name} has no apply_async")
    with blocked_workers() as block:
        pool = context_of(name).Pool(2)
        pool.map(noop, range(100), chunksize=1)
        running = [pool.apply_async(block) for _ in range(2)]
        before = resident_bytes()
        results = [pool.apply_async(noop, (number,)) for number in range(CALLS)]
        grown = resident_bytes() - before
        taken_s = seconds(pool.terminate)
    pool.join()
    del running, results
    return {"apply_async_bytes": grown / CALLS, "terminate_s": taken_s}


class Block:
    """A function that returns when a file is gone."""

    def __init__(self, path):
        self._path = path

    def __call__(self):
        while os.path.exists(self._path):
            time.sleep(0.02)


@contextmanager
def blocked_workers():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "blocked")
        open(path, "w").close()
        yield Block(path)


def resident_bytes():
    gc.collect()
    return psutil.Process().memory_info().rss


if __name__ == "__main__":
    main(measure)
