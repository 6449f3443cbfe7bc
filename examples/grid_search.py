"""Search a grid of hyperparameters whose fits take very different times: imap_unordered with a progress bar.

    python examples/grid_search.py
    python examples/grid_search.py --processes 8 --samples 300

A curve is fitted by a sum of bell-shaped functions. A fit's cost grows with their number and with the passes over the
data, here by a factor of about 20 from the cheapest to the dearest. Results arrive as they are ready, so the bar
(tqdm's if it is installed) moves steadily, and idle processes take what is left: the efficiency printed in the end is
the share of the processes' time that was spent in fits.
"""

import argparse
import itertools
import math
import os
import random
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from distpool import Pool

try:
    from tqdm import tqdm
except ImportError:
    tqdm = None

NUMBERS_OF_BELLS = (5, 10, 30)
PASSES = (8, 16, 40)
LEARNING_RATES = (0.03, 0.1, 0.3)
WIDTHS = (0.05, 0.15)


@dataclass(frozen=True)
class Parameters:
    bells: int
    passes: int
    learning_rate: float
    width: float


@dataclass(frozen=True)
class Fit:
    parameters: Parameters
    error: float  # mean squared error on points not used for the fit
    seconds: float


def make_data(seed: int, samples: int) -> list[tuple[float, float]]:
    """Noisy points (x, y) of a curve, with x from 0 to 1."""
    generator = random.Random(seed)
    points = (generator.random() for _ in range(samples))
    return [(x, math.sin(9 * x) * math.exp(-x) + generator.gauss(0, 0.05)) for x in points]


def bell_values(x: float, parameters: Parameters) -> list[float]:
    step = 1 / (parameters.bells - 1)
    return [math.exp(-(((x - i * step) / parameters.width) ** 2)) for i in range(parameters.bells)]


def fit_curve(parameters: Parameters, samples: int) -> Fit:
    """Fit by stochastic gradient descent and measure the error on fresh points."""
    start = time.perf_counter()
    weights = [0.0] * parameters.bells
    training = make_data(seed=1, samples=samples)
    for _ in range(parameters.passes):
        for x, y in training:
            values = bell_values(x, parameters)
            surplus = sum(map(float.__mul__, weights, values)) - y
            step = parameters.learning_rate * surplus / (1 + sum(values))
            weights = [weight - step * value for weight, value in zip(weights, values, strict=True)]
    test = make_data(seed=2, samples=200)
    squares = [(sum(map(float.__mul__, weights, bell_values(x, parameters))) - y) ** 2 for x, y in test]
    return Fit(parameters, sum(squares) / len(squares), time.perf_counter() - start)


def with_progress(fits: Iterable[Fit], total: int) -> Iterator[Fit]:
    """Pass `fits` on, showing on standard error how many have come."""
    if tqdm is not None:
        yield from tqdm(fits, total=total, unit="fit")
        return
    for done, fit in enumerate(fits, start=1):
        bar = "#" * (40 * done // total)
        print(f"\r[{bar:<40}] {done}/{total} fits", end="", file=sys.stderr, flush=True)
        yield fit
    print(file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description="Search a grid of hyperparameters with a process pool.")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: the CPUs (%(default)s)")
    parser.add_argument("--samples", type=int, default=800, help="points to fit (default: %(default)s)")
    options = parser.parse_args()

    grid = [Parameters(*values) for values in itertools.product(NUMBERS_OF_BELLS, PASSES, LEARNING_RATES, WIDTHS)]
    start = time.perf_counter()
    with Pool(options.processes) as pool:
        results = pool.imap_unordered(partial(fit_curve, samples=options.samples), grid)
        fits = list(with_progress(results, len(grid)))
    wall_s = time.perf_counter() - start

    best = min(fits, key=lambda fit: fit.error)
    times_s = [fit.seconds for fit in fits]
    print(f"best of {len(fits)}: {best.parameters}, mean squared error {best.error:.5f}")
    print(f"shortest fit {min(times_s):.3f} s, longest {max(times_s):.3f} s")
    print(f"wall time {wall_s:.2f} s, sum of the fits {sum(times_s):.2f} s, {options.processes} processes:", end=" ")
    print(f"efficiency {sum(times_s) / wall_s / options.processes:.0%}")


if __name__ == "__main__":
    main()
