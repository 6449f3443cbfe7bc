"""How well do calls of uneven length fill two workers?

Measured: 60 calls in a fixed random order that sleep 5 to 200 ms each, through `imap_unordered` with `chunksize=1`
(an executor's `submit` where the library has no `imap_unordered`), from the first call to the last result. The figure
is the optimum as a percentage of that time; the optimum for 2 workers is half of the sum, or the longest call if that
is more.
Against: the optimum.
Goal: at least 95 %.
"""

from __future__ import annotations

import random
import time

from figure import Figure
from libraries import WORKERS, NotOffered, main, open_executor, open_pool, seconds

FIGURES = [
    Figure(
        "percent",
        "uneven calls, part of the optimum",
        "%",
        1,
        value_goal=95,
        more_is_better=True,
        panel="Uneven calls: part of the optimum",
    ),
]
CALLS = 60
SEED = 1


def measure(name):
    lengths_s = [random.Random(SEED + number).uniform(0.005, 0.2) for number in range(CALLS)]
    optimum_s = max(sum(lengths_s) / WORKERS, *lengths_s)
    try:
        taken_s = with_pool(name, lengths_s)
    except NotOffered:
        taken_s = with_executor(name, lengths_s)
    return {"percent": 100 * optimum_s / taken_s}


def with_pool(name, lengths_s):
    with open_pool(name) as pool:

        def run(lengths_s):
            assert sum(1 for _ in pool.imap_unordered(time.sleep, lengths_s, chunksize=1)) == len(lengths_s)

        run([0.001] * 20)
        return seconds(lambda: run(lengths_s))


def with_executor(name, lengths_s):
    with open_executor(name) as executor:

        def run(lengths_s):
            futures = [executor.submit(time.sleep, length_s) for length_s in lengths_s]
            assert sum(1 for _ in executor.as_completed(futures)) == len(lengths_s)

        run([0.001] * 20)
        return seconds(lambda: run(lengths_s))


if __name__ == "__main__":
    main(measure)
