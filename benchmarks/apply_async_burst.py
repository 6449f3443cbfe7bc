"""How many calls per second does distpool's `submit` take, and its `apply_async`, beside the standard `apply_async`?

Measured: 20,000 calls of a function that returns its argument, from the first call to the last result, once, in calls
per second: `Pool.apply_async` and then `get` on each; and distpool's `submit` and then `as_completed`.
Against: the standard Pool's `apply_async`, for both.
Goal: distpool's `submit` at least 4 times the rate of the standard `apply_async`.
"""

from __future__ import annotations

from figure import Figure
from libraries import PEERS, STANDARD, fewer, main, noop, open_executor, open_pool, seconds
from submit_burst import burst_s

FIGURES = [
    Figure("calls_per_s", "20,000 submit against apply_async", "calls/s", ratio_goal=4, more_is_better=True),
    Figure(
        "apply_async_per_s",
        "20,000 apply_async, then get",
        "calls/s",
        more_is_better=True,
        panel="20,000 apply_async, then get",
    ),
]
CALLS = 20_000
FEWER = {"mpire": 10, "ray": 40}


def measure(name):
    calls = fewer(CALLS, name, FEWER)
    with open_pool(name) as pool:

        def run(count):
            results = [pool.apply_async(noop, (number,)) for number in range(count)]
            assert sum(result.get() for result in results) == count * (count - 1) // 2

        run(calls // 20)
        apply_async_per_s = calls / seconds(lambda: run(calls))
    if name in PEERS:
        return {"apply_async_per_s": apply_async_per_s}
    if name == STANDARD:
        return {"calls_per_s": apply_async_per_s, "apply_async_per_s": apply_async_per_s}
    with open_executor(name) as executor:
        burst_s(executor, calls // 20)
        return {"calls_per_s": calls / burst_s(executor, calls), "apply_async_per_s": apply_async_per_s}


if __name__ == "__main__":
    main(measure)
