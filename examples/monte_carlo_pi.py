"""Estimate pi by throwing points at a square: ProcessPoolExecutor and as_completed, with a running estimate.

    python examples/monte_carlo_pi.py
    python examples/monte_carlo_pi.py --points 50000000 --tasks 200

Each task has its own seed, so the final estimate is the same whatever the number of processes and the order in which
the tasks end.
"""

import argparse
import math
import os
import random
import time

from distpool.futures import ProcessPoolExecutor, as_completed


def count_inside(seed: int, points: int) -> int:
    """How many of `points` random points of the unit square lie within the quarter circle."""
    draw = random.Random(seed).random
    return sum(draw() ** 2 + draw() ** 2 <= 1.0 for _ in range(points))


def standard_error(estimate: float, points: int) -> float:
    return math.sqrt(max(estimate * (4 - estimate), 0) / points)


def main() -> None:
    parser = argparse.ArgumentParser(description="Estimate pi with a process pool.")
    parser.add_argument("--points", type=int, default=20_000_000, help="points in all (default: %(default)s)")
    parser.add_argument("--tasks", type=int, default=40, help="tasks they are divided into (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: the CPUs (%(default)s)")
    options = parser.parse_args()

    points_per_task = max(1, options.points // options.tasks)
    inside = thrown = 0
    start = time.perf_counter()
    with ProcessPoolExecutor(options.processes) as executor:
        futures = [executor.submit(count_inside, seed, points_per_task) for seed in range(options.tasks)]
        for done, future in enumerate(as_completed(futures), start=1):
            inside += future.result()
            thrown += points_per_task
            if done % max(1, options.tasks // 10) == 0:
                estimate = 4 * inside / thrown
                error = standard_error(estimate, thrown)
                print(f"{thrown:>13,} points   pi ~ {estimate:.6f} +- {error:.6f}", flush=True)
    seconds = time.perf_counter() - start

    estimate = 4 * inside / thrown
    rate = thrown / seconds / 1e6
    print(f"pi ~ {estimate:.6f}, off by {abs(estimate - math.pi):.6f}; {rate:.1f} million points a second")


if __name__ == "__main__":
    main()
