"""How many items does `Pool.map` with its default chunks take per second?

Measured: 100,000 items and a function that returns its argument, median of 7 repetitions, in items per second.
Against: the standard Pool.
Goal: at least 1.1 times its rate.
"""

from __future__ import annotations

from statistics import median

from figure import Figure
from libraries import fewer, main, noop, open_pool, seconds

FIGURES = [
    Figure(
        "items_per_s",
        "map 100,000, default chunks",
        "items/s",
        ratio_goal=1.1,
        more_is_better=True,
        panel="map, default chunks",
    ),
]
ITEMS = 100_000
REPEATS = 7
# Those without chunks of their own.
FEWER = {"loky": 40, "dask": 200}


def measure(name):
    items = fewer(ITEMS, name, FEWER)
    with open_pool(name) as pool:

        def run():
            assert sum(pool.map(noop, range(items))) == items * (items - 1) // 2

        run()
        taken_s = median(seconds(run) for _ in range(REPEATS))
    return {"items_per_s": items / taken_s}


if __name__ == "__main__":
    main(measure)
