"""Train one model with many workers: a parameter server that waits for all of them, and one that waits for none.

    python examples/parameter_server.py
    python examples/parameter_server.py --workers 8 --steps 300

The server is an actor that has the weights of a logistic regression; each worker is an actor that has its part of the
data, and computes gradients. Synchronous: a step takes one gradient of each worker. Asynchronous: whoever is ready
hands in a gradient and takes the newest weights, so a slow worker (here the last one, which rests before each gradient)
holds up nobody. Both take the same number of gradients. With DISTPOOL_ADDRESS the actors are on the nodes of a cluster.
"""

import argparse
import time
from collections import Counter

import numpy as np

import distpool

FEATURES = 200
ROWS = 2_000  # of each worker


def make_data(seed: int, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    """Points of two classes, the same boundary for every seed, and some noise: features and labels of 0 or 1."""
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((rows, FEATURES), np.float32)
    boundary = np.random.default_rng(0).standard_normal(FEATURES)
    noise = 0.1 * np.sqrt(FEATURES) * generator.standard_normal(rows)
    return features, features @ boundary + noise > 0


def probabilities(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-features @ weights))


def loss_of(weights: np.ndarray, features: np.ndarray, labels: np.ndarray) -> float:
    right = np.where(labels, probabilities(features, weights), 1 - probabilities(features, weights))
    return float(-np.log(np.maximum(right, 1e-12)).mean())


@distpool.remote
class ParameterServer:
    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.weights = np.zeros(FEATURES, np.float32)

    def current(self) -> np.ndarray:
        return self.weights

    def apply(self, *gradients: np.ndarray) -> np.ndarray:
        """Go a step along the mean of the gradients; the weights after it."""
        self.weights -= self.rate * np.mean(gradients, axis=0)
        return self.weights


@distpool.remote
class Worker:
    def __init__(self, seed: int, rest_s: float) -> None:
        self.features, self.labels = make_data(seed)
        self.rest_s = rest_s

    def gradient(self, weights: np.ndarray) -> np.ndarray:
        time.sleep(self.rest_s)
        surplus = probabilities(self.features, weights) - self.labels
        return (self.features.T @ surplus / len(self.labels)).astype(np.float32)


def train_synchronously(server, workers: list, steps: int) -> np.ndarray:
    """The program waits at the end only: refs as arguments say what each call needs."""
    weights = server.current.remote()
    for _ in range(steps):
        weights = server.apply.remote(*[worker.gradient.remote(weights) for worker in workers])
    return distpool.get(weights)


def train_asynchronously(server, workers: list, steps: int) -> tuple[np.ndarray, list[int]]:
    """The weights, and how many gradients each worker has computed."""
    weights = server.current.remote()
    pending = {worker.gradient.remote(weights): worker for worker in workers}
    to_start = len(workers) * (steps - 1)
    computed = Counter()
    while pending:
        (gradient,), _ = distpool.wait(list(pending))
        worker = pending.pop(gradient)
        computed[worker] += 1
        weights = server.apply.remote(gradient)
        if to_start:
            to_start -= 1
            pending[worker.gradient.remote(weights)] = worker
    return distpool.get(weights), [computed[worker] for worker in workers]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a logistic regression with a parameter server.")
    parser.add_argument("--workers", type=int, default=4, help="actors with a part of the data (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=150, help="gradients of each worker (default: %(default)s)")
    parser.add_argument("--rest", type=float, default=5, help="of the slow worker, in ms (default: %(default)s)")
    options = parser.parse_args()

    rests_s = [0.0] * (options.workers - 1) + [options.rest / 1e3]
    workers = [Worker.remote(number + 1, rest_s) for number, rest_s in enumerate(rests_s)]
    synchronous = ParameterServer.remote(rate=2.0)
    asynchronous = ParameterServer.remote(rate=2.0 / options.workers)  # which goes as many times as many steps
    before = distpool.get(synchronous.current.remote())
    distpool.get([actor.gradient.remote(before) for actor in workers])  # all have started

    test = make_data(seed=1_000_000)
    gradients = options.workers * options.steps
    print(f"{options.workers} workers × {ROWS:,} rows of {FEATURES} features, {gradients:,} gradients")
    print(f"before        loss {loss_of(before, *test):.3f}", flush=True)

    start = time.perf_counter()
    weights = train_synchronously(synchronous, workers, options.steps)
    seconds = time.perf_counter() - start
    print(f"synchronous   loss {loss_of(weights, *test):.3f}  {gradients / seconds:7,.0f} gradients/s", flush=True)

    start = time.perf_counter()
    weights, computed = train_asynchronously(asynchronous, workers, options.steps)
    seconds = time.perf_counter() - start
    print(f"asynchronous  loss {loss_of(weights, *test):.3f}  {gradients / seconds:7,.0f} gradients/s", end="  ")
    print(f"of each worker: {computed}")


if __name__ == "__main__":
    main()
