"""One matrix for many calls: sent as an argument, put once, and read only; with what each way costs.

    python examples/shared_matrix.py
    python examples/shared_matrix.py --megabytes 400 --columns 200

With `multiprocessing` the matrix is pickled and copied for every chunk of calls. With distpool it is copied into shared
memory once, and each call maps it as a writable copy of its own, of which only the pages are copied that it writes to.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable

import numpy as np

import distpool


def column_stats(matrix: np.ndarray, column: int) -> tuple[float, float]:
    """Mean and standard deviation. What it writes is this call's own, and copies one page."""
    values = matrix[:, column]
    stats = float(values.mean()), float(values.std())
    values[0] = 0.0
    return stats


def timed(label: str, run: Callable[[], list[tuple[float, float]]]) -> list[tuple[float, float]]:
    start = time.perf_counter()
    stats = run()
    print(f"{label:<42} {time.perf_counter() - start:7.2f} s", flush=True)
    return stats


def main() -> None:
    parser = argparse.ArgumentParser(description="Statistics of the columns of a matrix, in worker processes.")
    parser.add_argument("--megabytes", type=int, default=100, help="size of the matrix (default: %(default)s)")
    parser.add_argument("--columns", type=int, default=64, help="columns, and calls (default: %(default)s)")
    options = parser.parse_args()

    rows = options.megabytes * 1_000_000 // 8 // options.columns
    matrix = np.random.default_rng(0).random((rows, options.columns))
    columns = range(options.columns)
    print(f"{rows:,} × {options.columns} numbers, {matrix.nbytes / 1e6:.0f} MB, {options.columns} calls")

    calls = [(matrix, column) for column in columns]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        expected = timed("multiprocessing: an argument", lambda: pool.starmap(column_stats, calls))
    with distpool.get_context("fork").Pool(2) as pool:
        by_argument = timed("distpool: an argument", lambda: pool.starmap(column_stats, calls))
        ref = distpool.put(matrix)
        by_ref = timed("distpool: put once", lambda: pool.starmap(column_stats, [(ref, column) for column in columns]))
        stats = distpool.store_stats()
    assert by_argument == by_ref == expected

    view = distpool.get(ref, readonly=True)
    print(f"nobody's change is seen by another: {bool((view == matrix).all())}")
    largest, warm = stats.largest_bytes / 1e6, stats.warm_bytes / 1e6
    print(f"the store holds {stats.objects} object of {largest:.0f} MB, and {warm:.0f} MB warm")


if __name__ == "__main__":
    main()
