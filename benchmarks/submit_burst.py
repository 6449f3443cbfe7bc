"""How many calls per second does an executor take that are submitted one by one and collected as they complete?"""

from __future__ import annotations

from concurrent.futures import as_completed

from libraries import main, new_executor, noop, seconds

CALLS = 20_000


def measure(kind: str) -> dict[str, float]:
    def run() -> None:
        futures = [executor.submit(noop, number) for number in range(CALLS)]
        assert sum(future.result() for future in as_completed(futures)) == CALLS * (CALLS - 1) // 2

    with new_executor(kind) as executor:
        taken_s = seconds(run)
    return {"calls_per_s": CALLS / taken_s}


if __name__ == "__main__":
    main(measure)
