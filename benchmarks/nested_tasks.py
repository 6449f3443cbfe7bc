"""How many tasks per second do tasks start and get?

Measured: 300 tasks that each start 10 tasks and get their values, from the first call to the last value; in inner tasks
per second, with workers that have already done so.
Against: Ray and Dask with their own. The standard ProcessPoolExecutor has nothing of the kind: a call that waits for
another of its pool hangs when all workers wait.
Goal: 8,500 inner tasks/s.
"""

from __future__ import annotations

from contextlib import contextmanager

from figure import Figure
from libraries import OURS, WORKERS, NotOffered, fewer, main, seconds

FIGURES = [
    Figure(
        "nested_per_s",
        "tasks that tasks start",
        "calls/s",
        value_goal=8_500,
        more_is_better=True,
        panel="Tasks that tasks start",
    )
]
OUTER, INNER = 300, 10
FEWER = {"ray": 5, "dask": 10}


@contextmanager
def of_distpool():
    import distpool

    inner = distpool.remote(double)

    @distpool.remote
    def outer(count):
        return sum(distpool.get([inner.remote(number) for number in range(count)]))

    yield lambda calls: distpool.get([outer.remote(INNER) for _ in range(calls)])
    distpool.shutdown()


@contextmanager
def of_ray():
    import ray

    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    inner = ray.remote(double)

    @ray.remote
    def outer(count):
        return sum(ray.get([inner.remote(number) for number in range(count)]))

    yield lambda calls: ray.get([outer.remote(INNER) for _ in range(calls)])
    ray.shutdown()


@contextmanager
def of_dask():
    from dask.distributed import Client, LocalCluster, worker_client

    def outer(count):
        with worker_client() as client:
            return sum(client.gather([client.submit(double, number, pure=False) for number in range(count)]))

    with LocalCluster(WORKERS, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        yield lambda calls: client.gather([client.submit(outer, INNER, pure=False) for _ in range(calls)])


FACES = {OURS: of_distpool, "ray": of_ray, "dask": of_dask}


def double(value):
    return 2 * value


def measure(name):
    if name not in FACES:
        raise NotOffered(f"{name} has no tasks that wait for tasks")
    outer = fewer(OUTER, name, FEWER)
    with FACES[name]() as run:
        run(max(1, outer // 10))
        return {"nested_per_s": outer * INNER / seconds(lambda: check(run, outer))}


def check(run, outer):
    assert run(outer) == [INNER * (INNER - 1)] * outer


if __name__ == "__main__":
    main(measure)
