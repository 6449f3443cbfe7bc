"""How fast does one array of 100 MB reach 64 calls?

Measured: 64 calls that each read one number in each page of the same array, median of 5 repetitions after the first;
64 × 100 MB by the time, in GB/s. Each library gets the array as it recommends: an argument of each call, or (Ray, Dask)
put or scattered once in each repetition.
Against: the standard Pool's `starmap`.
Goal: at least 15 times its rate. Ray's and joblib's rates are to be exceeded by a fifth.
"""

from __future__ import annotations

from statistics import median

from figure import Figure
from libraries import OURS, STANDARD, NotOffered, fewer, main, open_executor, open_pool, seconds

FIGURES = [
    Figure(
        "gb_per_s",
        "100 MB array to 64 calls",
        "GB/s",
        1,
        ratio_goal=15,
        more_is_better=True,
        panel="One 100 MB array to 64 calls",
    ),
]
COUNT = 24_400 * 512
CALLS = 64
REPEATS = 5
# Those that copy all of it for each call.
FEWER = {"mpire": 8, "loky": 8}


def read_each_page(array, number):
    return float(array[number::512].sum())


def measure(name):
    import numpy as np

    array = np.ones(COUNT)
    calls = fewer(CALLS, name, FEWER)
    with opened(name) as send:

        def run():
            assert send(array, calls) == [24_400.0] * calls

        run()
        taken_s = median(seconds(run) for _ in range(REPEATS))
    return {"gb_per_s": calls * array.nbytes / taken_s / 1e9}


class opened:
    """Gives a function (array, calls) → results, in the library's own way."""

    def __init__(self, name):
        self._name = name

    def __enter__(self):
        name = self._name
        if name in (STANDARD, OURS):
            self._face = open_pool(name)
            pool = self._face.__enter__()
            return lambda array, calls: pool.starmap(read_each_page, [(array, number) for number in range(calls)])
        if name == "joblib":
            self._face = open_pool(name)
            self._face.__enter__()
            from joblib import Parallel, delayed
            from libraries import WORKERS

            parallel = Parallel(n_jobs=WORKERS)
            return lambda array, calls: parallel(delayed(read_each_page)(array, number) for number in range(calls))
        if name not in ("ray", "dask", "loky"):
            raise NotOffered(f"{name} is asked for calls without arrays only")
        self._face = open_executor(name)
        executor = self._face.__enter__()
        shared = {"ray": put_in_ray, "dask": lambda array: scatter(executor, array)}.get(name, lambda array: array)

        def send(array, calls):
            given = shared(array)
            return [future.result() for future in [executor.submit(read_each_page, given, n) for n in range(calls)]]

        return send

    def __exit__(self, *exception):
        self._face.__exit__(*exception)


def put_in_ray(array):
    import ray

    return ray.put(array)


def scatter(executor, array):
    return executor._client.scatter(array, broadcast=True, hash=False)


if __name__ == "__main__":
    main(measure)
