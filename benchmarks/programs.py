"""The smallest program for each library that opens two workers, uses them once and closes them, in pieces of source.

Kept free of this folder's modules, so that what is measured is the library's own cost.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Program:
    """`begin` is at the top, the others run under `if __name__ == "__main__"`; `work` is more than one call."""

    begin: str
    open: str
    use: str
    close: str
    work: str = ""


def pool_of(module, method):
    return Program(
        begin=f"import {module} as library",
        open=f'pool = library.get_context("{method}").Pool(2)',
        use="pool.apply(abs, (-1,))",
        close="pool.close(); pool.join()",
        work="pool.map(abs, range(1000), chunksize=1); pool.map(abs, range(100_000))",
    )


def mpire(method):
    return Program(
        begin="from mpire import WorkerPool",
        open=f'pool = WorkerPool(2, start_method="{method}", keep_alive=True)',
        use="pool.apply(abs, (-1,))",
        close="pool.terminate()",
    )


LOKY = Program(
    begin="import loky",
    open="executor = loky.ProcessPoolExecutor(2)",
    use="executor.submit(abs, -1).result()",
    close="executor.shutdown()",
)
JOBLIB = Program(
    begin="from joblib import Parallel, delayed\nfrom joblib.externals.loky import get_reusable_executor",
    open="parallel = Parallel(n_jobs=2)",
    use="parallel([delayed(abs)(-1)])",
    close="get_reusable_executor().shutdown()",
)
RAY = Program(
    begin="import ray\n\ndef negate(value):\n    return -value\n",
    open="ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=40)",
    use="ray.get(ray.remote(negate).remote(-1))",
    close="ray.shutdown()",
)
DASK = Program(
    begin="from distributed import Client",
    open="client = Client(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50)",
    use="client.submit(abs, -1).result()",
    close="cluster = client.cluster; client.close(); cluster.close()",
)

FORK = {
    "standard": pool_of("multiprocessing", "fork"),
    "distpool": pool_of("distpool", "fork"),
    "mpire": mpire("fork"),
}
# The peers that have a way of their own start fresh interpreters, as spawn does.
SPAWN = {
    "standard": pool_of("multiprocessing", "spawn"),
    "distpool": pool_of("distpool", "spawn"),
    "mpire": mpire("spawn"),
    "loky": LOKY,
    "joblib": JOBLIB,
    "ray": RAY,
    "dask": DASK,
}
IMPORTS = {
    "standard": "import multiprocessing.pool",
    "distpool": "import distpool",
    "mpire": "import mpire",
    "loky": "import loky",
    "joblib": "import joblib",
    "ray": "import ray",
    "dask": "import distributed",
}
