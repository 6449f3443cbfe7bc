"""The peers' own ways to do what a pool or an executor does, under the standard library's names.

Each wrapper makes the one call that the peer's documentation recommends and adds nothing else, so that what is
measured is the peer. What a peer does not have raises NotOffered.
"""

from __future__ import annotations

import contextlib
import logging
import os
from functools import cache

from libraries import NotOffered


class Face:
    """A pool or an executor in which everything is missing until a peer's class has it."""

    name = "?"

    def apply(self, function, args):
        raise NotOffered(f"{self.name} has no apply")

    def apply_async(self, function, args):
        raise NotOffered(f"{self.name} has no apply_async")

    def map(self, function, items, chunksize=None):
        raise NotOffered(f"{self.name} has no map")

    def imap_unordered(self, function, items, chunksize=1):
        raise NotOffered(f"{self.name} has no imap_unordered")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        pass


def new_loky_executor(workers):
    import concurrent.futures

    import loky

    class Executor(loky.ProcessPoolExecutor):
        as_completed = staticmethod(concurrent.futures.as_completed)

    return Executor(workers)


class LokyPool(Face):
    """`map` only; its default chunk is one item."""

    name = "loky"

    def __init__(self, workers):
        self._executor = new_loky_executor(workers)

    def map(self, function, items, chunksize=None):
        return list(self._executor.map(function, items, chunksize=chunksize or 1))

    def close(self):
        self._executor.shutdown()


class JoblibPool(Face):
    """`Parallel` with its default backend and its own batches, or batches of one."""

    name = "joblib"

    def __init__(self, workers):
        self._workers = workers

    def apply(self, function, args):
        from joblib import delayed

        return self._parallel("auto", "list")([delayed(function)(*args)])[0]

    def map(self, function, items, chunksize=None):
        from joblib import delayed

        return self._parallel(chunksize or "auto", "list")(delayed(function)(item) for item in items)

    def imap_unordered(self, function, items, chunksize=1):
        from joblib import delayed

        return self._parallel(chunksize, "generator_unordered")(delayed(function)(item) for item in items)

    @cache  # noqa: B019 one object for each kind of call, as long as the process lives
    def _parallel(self, batch_size, return_as):
        from joblib import Parallel

        return Parallel(n_jobs=self._workers, batch_size=batch_size, return_as=return_as)

    def close(self):
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)


class MpirePool(Face):
    """`WorkerPool` with workers that stay between calls."""

    name = "mpire"

    def __init__(self, workers):
        from mpire import WorkerPool

        self._pool = WorkerPool(n_jobs=workers, keep_alive=True)

    def apply(self, function, args):
        return self._pool.apply(function, args)

    def apply_async(self, function, args):
        return self._pool.apply_async(function, args)

    def map(self, function, items, chunksize=None):
        return self._pool.map(function, items, chunk_size=chunksize)

    def imap_unordered(self, function, items, chunksize=1):
        return self._pool.imap_unordered(function, items, chunk_size=chunksize)

    def close(self):
        self._pool.terminate()


def start_ray(workers):
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    return ray


@contextlib.contextmanager
def new_ray_pool(workers):
    """Ray's own `Pool`, which has the standard one's methods."""
    ray = start_ray(workers)
    from ray.util.multiprocessing import Pool

    with Pool(workers) as pool:
        yield pool
    ray.shutdown()


class RayExecutor(Face):
    """Remote functions without retries; `ray.wait` in pieces of a hundred."""

    name = "ray"

    def __init__(self, workers):
        self._ray = start_ray(workers)

    def submit(self, function, *args):
        return RayFuture(self._ray, self._remote(function).remote(*args))

    @cache  # noqa: B019 one remote function each, as long as the process lives
    def _remote(self, function):
        return self._ray.remote(max_retries=0)(function)

    def as_completed(self, futures):
        references = [future.reference for future in futures]
        while references:
            ready, references = self._ray.wait(references, num_returns=min(len(references), 100))
            yield from (RayFuture(self._ray, reference) for reference in ready)

    def close(self):
        self._ray.shutdown()


class RayFuture:
    def __init__(self, ray, reference):
        self._ray, self.reference = ray, reference

    def result(self, timeout=None):
        return self._ray.get(self.reference, timeout=timeout)


class DaskPool(Face):
    """A `Client` with a local cluster: `map` and `gather`; it has no chunks."""

    name = "dask"

    def __init__(self, workers):
        import dask
        from distributed import Client

        # A call whose worker died fails at once, as everywhere else.
        dask.config.set({"distributed.scheduler.allowed-failures": 0})
        self._client = Client(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
        )

    def map(self, function, items, chunksize=None):
        return self._client.gather(self._client.map(function, items, pure=False))

    def close(self):
        cluster = self._client.cluster
        self._client.close()
        cluster.close()


class DaskExecutor(DaskPool):
    """The same client's `submit`."""

    def submit(self, function, *args):
        return self._client.submit(function, *args, pure=False)

    def as_completed(self, futures):
        from distributed import as_completed

        return as_completed(futures)


POOLS = {
    "loky": LokyPool,
    "joblib": JoblibPool,
    "mpire": MpirePool,
    "ray": new_ray_pool,
    "dask": DaskPool,
}
EXECUTORS = {
    "loky": new_loky_executor,
    "ray": RayExecutor,
    "dask": DaskExecutor,
}
