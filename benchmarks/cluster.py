"""A pool whose workers are on two nodes of this machine against a pool of this machine, in rounds that take turns.

    python benchmarks/cluster.py [--rounds 5]

Both have four workers. Also measured: how much CPU time the head takes while 100,000 calls run, how long it takes until
a node that is started is used, how long after a new head listens a pool gets workers that was opened without one, and
how long until the calls of a node that is killed are told of.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from distpool import NodeLost, Pool
from tests.cluster.processes import Cluster, cluster

WORKERS = 4


def same(x: int) -> int:
    return x


def lone(pool) -> float:
    began_at = time.perf_counter()
    for number in range(300):
        pool.apply(same, (number,))
    return 300 / (time.perf_counter() - began_at)


def in_chunks(pool) -> float:
    began_at = time.perf_counter()
    pool.map(same, range(100_000))
    return 100_000 / (time.perf_counter() - began_at)


def one_by_one(pool) -> float:
    began_at = time.perf_counter()
    pool.map(same, range(20_000), chunksize=1)
    return 20_000 / (time.perf_counter() - began_at)


def burst(pool) -> float:
    began_at = time.perf_counter()
    for result in [pool.apply_async(same, (number,)) for number in range(20_000)]:
        result.get()
    return 20_000 / (time.perf_counter() - began_at)


QUESTIONS: dict[str, Callable] = {
    "lone apply": lone,
    "map of a range, default chunks": in_chunks,
    "map, chunksize=1": one_by_one,
    "20,000 apply_async, then get": burst,
}


def rates(address: str | None) -> dict[str, float]:
    """With a pool of its own, after a warm-up: calls a second."""
    os.environ["DISTPOOL_ADDRESS"] = address or "local"
    with Pool(WORKERS) as pool:
        pool.map(time.sleep, [0.01] * 4 * WORKERS, chunksize=1)
        one_by_one(pool)
        return {question: measure(pool) for question, measure in QUESTIONS.items()}


def head_cpu_s(made: Cluster, calls: int) -> float:
    """What the head takes while so many calls run."""
    head = psutil.Process(made.processes[0].pid)
    with Pool(WORKERS) as pool:
        pool.map(time.sleep, [0.01] * 4 * WORKERS, chunksize=1)
        before = sum(head.cpu_times()[:2])
        began_at = time.monotonic()
        pool.map(same, range(calls), chunksize=1)
        time.sleep(max(0.0, 3.0 - (time.monotonic() - began_at)))
        return sum(head.cpu_times()[:2]) - before


def join_s(made: Cluster, number: int) -> tuple[float, float]:
    """To the first call on a new node, of a pool that waits for workers: from the start of its process, and from when
    it says that it has joined."""
    name = f"late {number}"
    with Pool(WORKERS + 1) as pool:
        pool.map(time.sleep, [0.01] * 4 * WORKERS, chunksize=1)
        held = [pool.apply_async(time.sleep, (4.0,)) for _ in range(WORKERS)]
        time.sleep(0.2)
        began_at = time.monotonic()
        node = made.start_node(name, "--cpus", "1")
        first = pool.apply_async(same, (1,))
        made.until(lambda: "has joined" in made.said(name))
        joined_at = time.monotonic()
        first.get(20)
        used_at = time.monotonic()
        for result in held:
            result.wait()
    node.terminate()
    node.wait()
    made.until(lambda: name not in made.nodes())
    return used_at - began_at, used_at - joined_at


def head_s(made: Cluster) -> float:
    """From when a new head listens to the first call of a pool that was opened while there was none."""
    with Pool(1) as pool:
        pool.apply(same, (1,))
        made.processes[0].kill()
        made.processes[0].wait()
        with Pool(1) as late:
            result = late.apply_async(same, (1,))
            made.processes[0] = made.start_head()
            listens_at = time.monotonic()
            result.get(20)
            took_s = time.monotonic() - listens_at
    made.until(lambda: made.nodes() == {"first", "second"})
    return took_s


def loss_s(made: Cluster) -> float:
    """From the SIGKILL of a node's agent to the error of the first of its calls."""
    with Pool(WORKERS) as pool:
        pool.map(time.sleep, [0.01] * 4 * WORKERS, chunksize=1)
        told: list[float] = []
        results = [
            pool.apply_async(time.sleep, (3.0,), error_callback=lambda error: told.append(time.monotonic()))
            for _ in range(WORKERS)
        ]
        time.sleep(0.5)
        killed_at = time.monotonic()
        made.processes[2].kill()
        for result in results:
            try:
                result.get(20)
            except NodeLost:
                continue
    return told[0] - killed_at


def spread(times_s: Sequence[float]) -> str:
    """The median, and in brackets the shortest and the longest."""
    return f"{statistics.median(times_s):.2f} ({min(times_s):.2f}-{max(times_s):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description="Two nodes of this machine against its own pool.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder)) as made:
        made.start_head()
        for name in ("first", "second"):
            made.start_node(name, "--cpus", "2")
        made.until(lambda: made.nodes() == {"first", "second"})
        os.environ["DISTPOOL_HOME"] = str(made.keys)
        pairs = [(rates(None), rates(made.address)) for _ in range(rounds)]
        for question in QUESTIONS:
            here, there = ([pair[side][question] for pair in pairs] for side in (0, 1))
            ratios = sorted(there_rate / here_rate for here_rate, there_rate in zip(here, there, strict=True))
            print(
                f"{question:32} here {statistics.median(here):10,.0f}/s   two nodes {statistics.median(there):10,.0f}/s"
                f"   ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
            )
        print(
            f"the head's CPU in 3 s: idle {head_cpu_s(made, 1):.2f} s, 100,000 calls {head_cpu_s(made, 100_000):.2f} s"
        )
        started, joined = zip(*(join_s(made, number) for number in range(rounds)), strict=True)
        print(f"a node is started, and used after {spread(started)} s; from when it has joined {spread(joined)} s")
        after_head = [head_s(made) for _ in range(rounds)]
        print(f"a new head listens, and a pool that was opened without one is served after {spread(after_head)} s")
        print(f"a node's agent is killed, and its calls fail after {loss_s(made) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
