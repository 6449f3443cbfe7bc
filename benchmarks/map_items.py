"""How many items does `Pool.map` take per second when each travels as a call of its own?

Measured: 30,000 items, `chunksize=1` and a function that returns its argument, median of 3 repetitions, in items per
second.
Against: the standard Pool.
Goal: at least 10 times its rate.
"""

from __future__ import annotations

from statistics import median

from figure import Figure
from libraries import fewer, main, noop, open_pool, seconds

FIGURES = [
    Figure("items_per_s", "map, chunksize 1", "items/s", ratio_goal=10, more_is_better=True, panel="map, chunksize=1"),
]
ITEMS = 30_000
REPEATS = 3
FEWER = {"loky": 10, "joblib": 10, "mpire": 10, "ray": 30, "dask": 100}


def measure(name):
    items = fewer(ITEMS, name, FEWER)
    with open_pool(name) as pool:

        def run():
            assert sum(pool.map(noop, range(items), chunksize=1)) == items * (items - 1) // 2

        run()
        taken_s = median(seconds(run) for _ in range(REPEATS))
    return {"items_per_s": items / taken_s}


if __name__ == "__main__":
    main(measure)
