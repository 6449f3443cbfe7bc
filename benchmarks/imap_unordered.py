"""How many items does `Pool.imap_unordered` take per second when each travels as a call of its own?"""

from __future__ import annotations

from statistics import median

from libraries import main, new_pool, noop, seconds

ITEMS = 30_000
REPEATS = 3


def measure(kind: str) -> dict[str, float]:
    def run() -> None:
        assert sum(1 for _ in pool.imap_unordered(noop, range(ITEMS), chunksize=1)) == ITEMS

    with new_pool(kind) as pool:
        taken_s = median(seconds(run) for _ in range(REPEATS))
        pool.close()
        pool.join()
    return {"items_per_s": ITEMS / taken_s}


if __name__ == "__main__":
    main(measure)
