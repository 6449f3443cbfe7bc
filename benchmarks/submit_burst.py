"""How many calls per second does an executor take that are submitted one by one and collected as they complete?

Measured: 20,000 calls of a function that returns its argument, from the first `submit` to the last result of
`as_completed`, once, in calls per second.
Against: the standard ProcessPoolExecutor.
Goal: at least 12 times its rate.
"""

from __future__ import annotations

from figure import Figure
from libraries import fewer, main, noop, open_executor, seconds

FIGURES = [
    Figure(
        "calls_per_s",
        "20,000 submit + as_completed",
        "calls/s",
        ratio_goal=12,
        more_is_better=True,
        panel="20,000 submit, then as_completed",
    ),
]
CALLS = 20_000
FEWER = {"loky": 5, "ray": 20, "dask": 50}


def measure(name):
    calls = fewer(CALLS, name, FEWER)
    with open_executor(name) as executor:
        burst_s(executor, calls // 20)
        taken_s = burst_s(executor, calls)
    return {"calls_per_s": calls / taken_s}


def burst_s(executor, calls):
    def run():
        futures = [executor.submit(noop, number) for number in range(calls)]
        assert sum(future.result() for future in executor.as_completed(futures)) == calls * (calls - 1) // 2

    return seconds(run)


if __name__ == "__main__":
    main(measure)
