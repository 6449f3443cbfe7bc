"""How long does a single call take when nothing else is under way?

Measured: the time from the call to its result, median of 500, in microseconds, for `Pool.apply` and for
`Executor.submit().result()`, with 2 workers that have already run something.
Against: the standard Pool, the standard ProcessPoolExecutor.
Goal: at most 0.25 times the time of each.
"""

from __future__ import annotations

from statistics import median

from figure import Figure
from libraries import fewer, main, noop, offered, open_executor, open_pool, seconds

FIGURES = [
    Figure("apply_us", "lone Pool.apply", "µs", 1, ratio_goal=0.25, panel="A lone Pool.apply"),
    Figure("submit_us", "lone submit().result()", "µs", 1, ratio_goal=0.25, panel="A lone submit().result()"),
]
CALLS = 500
FEWER = {"joblib": 5, "dask": 5}


def measure(name):
    return offered({"apply_us": lambda: measure_apply(name), "submit_us": lambda: measure_submit(name)})


def measure_apply(name):
    with open_pool(name) as pool:
        return median_us(lambda: pool.apply(noop, (1,)), fewer(CALLS, name, FEWER))


def measure_submit(name):
    with open_executor(name) as executor:
        return median_us(lambda: executor.submit(noop, 1).result(), fewer(CALLS, name, FEWER))


def median_us(call, count):
    for _ in range(count // 5):
        call()
    return median(seconds(call) for _ in range(count)) * 1e6


if __name__ == "__main__":
    main(measure)
