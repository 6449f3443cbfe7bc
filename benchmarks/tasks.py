"""How many tasks per second does a program start and get, all at once and one after the other?

Measured: 20,000 calls of a function that returns its argument, from the first call to the last value, once; the same
for 500 calls, each of which is waited for before the next; and a chain of 500 calls, each of which gets the value of
the one before. All in calls per second, with 2 workers that have already run something: `f.remote(x)` and `get`.
Against: the standard ProcessPoolExecutor, with `submit(f, x).result()`; it has no chains, so each call there is waited
for. Ray and Dask with their own.
Goal: 31,500 calls/s at once and 8,900 calls/s one after the other, twice what a 2-core machine does with Ray's design.
"""

from __future__ import annotations

from contextlib import contextmanager

from figure import Figure
from libraries import OURS, STANDARD, WORKERS, NotOffered, fewer, main, new_executor, noop, seconds

FIGURES = [
    Figure(
        "burst_per_s",
        "20,000 tasks, then get",
        "calls/s",
        value_goal=31_500,
        more_is_better=True,
        panel="20,000 tasks, then get",
    ),
    Figure(
        "lone_per_s", "lone task and get", "calls/s", value_goal=8_900, more_is_better=True, panel="A lone task and get"
    ),
    Figure("chain_per_s", "chain of tasks", "calls/s", more_is_better=True),
]
BURST, LONE, CHAIN = 20_000, 500, 500
FEWER = {"ray": 20, "dask": 50}


class Face:
    """`call(value)` gives a handle, which `call` takes as a value where the library can; `get(handles)` the values."""

    def __init__(self, call, get, *, has_chains=True):
        self.call = call
        self.get = get
        self.has_chains = has_chains


@contextmanager
def of_standard():
    with new_executor(STANDARD) as executor:
        yield Face(
            lambda value: executor.submit(noop, value),
            lambda futures: [future.result() for future in futures],
            has_chains=False,
        )


@contextmanager
def of_distpool():
    import distpool

    yield Face(distpool.remote(noop).remote, distpool.get)
    distpool.shutdown()


@contextmanager
def of_ray():
    import ray

    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    yield Face(ray.remote(noop).remote, ray.get)
    ray.shutdown()


@contextmanager
def of_dask():
    from dask.distributed import Client, LocalCluster

    with LocalCluster(WORKERS, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        yield Face(lambda value: client.submit(noop, value, pure=False), client.gather)


FACES = {STANDARD: of_standard, OURS: of_distpool, "ray": of_ray, "dask": of_dask}


def measure(name):
    if name not in FACES:
        raise NotOffered(f"{name} has no tasks")
    burst, lone, chain = (fewer(count, name, FEWER) for count in (BURST, LONE, CHAIN))
    with FACES[name]() as face:
        run_burst(face, burst // 20)
        run_lone(face, lone // 5)
        return {
            "burst_per_s": burst / seconds(lambda: run_burst(face, burst)),
            "lone_per_s": lone / seconds(lambda: run_lone(face, lone)),
            "chain_per_s": chain / seconds(lambda: run_chain(face, chain)),
        }


def run_burst(face, calls):
    assert face.get([face.call(number) for number in range(calls)]) == list(range(calls))


def run_lone(face, calls):
    for number in range(calls):
        assert face.get([face.call(number)]) == [number]


def run_chain(face, calls):
    handle = face.call(1)
    for _ in range(calls - 1):
        handle = face.call(handle if face.has_chains else face.get([handle])[0])
    assert face.get([handle]) == [1]


if __name__ == "__main__":
    main(measure)
