"""How long does a single call take, from the caller's call to its result, when nothing else is under way?"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from libraries import main, new_executor, new_pool, noop, seconds

CALLS = 500


def measure(kind: str) -> dict[str, float]:
    with new_pool(kind) as pool:
        apply_us = median_us(lambda: pool.apply(noop, (1,)))
        pool.close()
        pool.join()
    with new_executor(kind) as executor:
        submit_us = median_us(lambda: executor.submit(noop, 1).result())
    return {"apply_us": apply_us, "submit_us": submit_us}


def median_us(call: Callable[[], object]) -> float:
    for _ in range(CALLS // 10):
        call()
    return median(seconds(call) for _ in range(CALLS)) * 1e6


if __name__ == "__main__":
    main(measure)
