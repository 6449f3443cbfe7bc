"""How fast do 32 results of 32 MB come back?

Measured: 32 calls that return a fresh array of 32 MB each, all held by the caller at the end and then dropped; median
of 5 repetitions after the first, in GB/s of results.
Against: the standard Pool's `map`.
Goal: at least 15 times its rate. Ray's rate is to be reached three times over.
"""

from __future__ import annotations

from statistics import median

from figure import Figure
from libraries import OURS, STANDARD, fewer, main, open_executor, open_pool, seconds

FIGURES = [
    Figure(
        "gb_per_s",
        "32 results of 32 MB",
        "GB/s",
        2,
        ratio_goal=15,
        more_is_better=True,
        panel="32 results of 32 MB",
    ),
]
CALLS = 32
COUNT = 4_000_000
REPEATS = 5
FEWER = {"standard": 4, "mpire": 4, "loky": 4, "joblib": 4, "dask": 4}


def make(number):
    import numpy as np

    return np.full(COUNT, float(number))


def measure(name):
    calls = fewer(CALLS, name, FEWER)
    face = open_pool if name in (STANDARD, OURS, "joblib", "mpire", "loky") else open_executor
    with face(name) as workers:

        def run():
            if face is open_pool:
                results = workers.map(make, range(calls), chunksize=1)
            else:
                results = [future.result() for future in [workers.submit(make, number) for number in range(calls)]]
            assert [result[-1] for result in results] == [float(number) for number in range(calls)]

        run()
        taken_s = median(seconds(run) for _ in range(REPEATS))
    return {"gb_per_s": calls * COUNT * 8 / taken_s / 1e9}


if __name__ == "__main__":
    main(measure)
