"""How many items does `Pool.map` with its default chunks take per second?"""

from __future__ import annotations

from statistics import median

from libraries import main, new_pool, noop, seconds

ITEMS = 200_000
REPEATS = 3


def measure(kind: str) -> dict[str, float]:
    with new_pool(kind) as pool:
        taken_s = median(seconds(lambda: pool.map(noop, range(ITEMS))) for _ in range(REPEATS))
        pool.close()
        pool.join()
    return {"items_per_s": ITEMS / taken_s}


if __name__ == "__main__":
    main(measure)
