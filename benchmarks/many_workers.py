"""How much slower is a burst of small calls when 32 workers share the CPUs instead of 2?

Measured: 20,000 calls of a function that returns its argument, from the first `submit` to the last result of
`as_completed`, in calls per second; two executors each of 2 and of 32 workers, in turns, two bursts each after one
that is not counted. The figure is the rate with 32 workers as a percentage of the rate with 2 (medians).
Against: the library itself.
Goal: at least 80 %.
"""

from __future__ import annotations

from statistics import median

from figure import Figure
from libraries import fewer, main, open_executor
from submit_burst import burst_s

FIGURES = [
    Figure(
        "percent",
        "32 workers, part of the rate of 2",
        "%",
        value_goal=80,
        more_is_better=True,
        panel="Rate of 32 workers to that of 2",
    ),
    Figure("rate_2", "the same: rate with 2 workers", "calls/s", more_is_better=True),
    Figure("rate_32", "the same: rate with 32 workers", "calls/s", more_is_better=True),
]
CALLS = 20_000
FEWER = {"standard": 4, "loky": 10, "ray": 40, "dask": 100}
COUNTS = (2, 32)


def measure(name):
    calls = fewer(CALLS, name, FEWER)
    rates = {workers: [] for workers in COUNTS}
    for workers in COUNTS * 2:
        with open_executor(name, workers) as executor:
            burst_s(executor, calls)
            rates[workers] += [calls / burst_s(executor, calls) for _ in range(2)]
    few, many = (median(rates[workers]) for workers in COUNTS)
    return {"percent": 100 * many / few, "rate_2": few, "rate_32": many}


if __name__ == "__main__":
    main(measure)
