"""Search hyperparameters and give up on bad ones early: asynchronous successive halving (ASHA).

    python examples/early_stopping.py
    python examples/early_stopping.py --trials 100 --seconds 20

Each trial trains a small network for one epoch. When it is among the best third of those that have come as far, it goes
on to the third epoch, then the ninth, and so on: a worker that is free takes the trial that has come furthest, or else
begins a new one, so that none waits for others. A trial's network goes from task to task by its ref. The search ends as
soon as a loss is low enough, and what runs then is cancelled. Compared with training all trials to the end. With
DISTPOOL_ADDRESS the tasks are on the nodes of a cluster.
"""

import argparse
import time
from dataclasses import dataclass
from functools import cache

import numpy as np

import distpool

RUNGS = (1, 3, 9, 27)  # epochs
BATCH = 50
Network = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Trial:
    hidden: int
    rate: float
    decay: float


def draw_trial(generator: np.random.Generator) -> Trial:
    hidden = int(2 ** generator.integers(2, 7))
    return Trial(hidden, rate=10 ** generator.uniform(-3, 0.7), decay=10 ** generator.uniform(-5, -1))


@cache
def make_data(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in the plane, and a rough landscape's height there. Each worker makes it once."""
    generator = np.random.default_rng(seed)
    points = generator.uniform(-2, 2, (rows, 2))
    return points, (np.sin(3 * points[:, 0]) * np.cos(2 * points[:, 1]) + generator.normal(0, 0.05, rows))[:, None]


def initial(trial: Trial) -> Network:
    draw = np.random.default_rng(1).standard_normal
    return draw((2, trial.hidden)), draw(trial.hidden), draw((trial.hidden, 1)) / trial.hidden, np.zeros(1)


def output(network: Network, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inner = np.tanh(points @ network[0] + network[1])
    return inner, inner @ network[2] + network[3]


@distpool.remote(num_returns=2)
def train(trial: Trial, network: Network | None, epochs: int) -> tuple[Network, float]:
    """The network after so many more epochs, and its mean squared error on other points."""
    network = network or initial(trial)
    points, heights = make_data(seed=1, rows=1000)
    with np.errstate(all="ignore"):  # a rate that is too high ends in nan
        for _ in range(epochs):
            for begin in range(0, len(points), BATCH):
                batch = points[begin : begin + BATCH]
                inner, found = output(network, batch)
                surplus = (found - heights[begin : begin + BATCH]) / BATCH
                back = surplus @ network[2].T * (1 - inner**2)
                gradients = batch.T @ back, back.sum(0), inner.T @ surplus, surplus.sum(0)
                shrink = 1 - trial.rate * trial.decay
                network = tuple(shrink * w - trial.rate * g for w, g in zip(network, gradients, strict=True))
        points, heights = make_data(seed=2, rows=500)
        loss = float(((output(network, points)[1] - heights) ** 2).mean())
    return network, loss if np.isfinite(loss) else float("inf")


class Search:
    """Which trial trains next: of those that may go on the one that has come furthest, else a new one."""

    def __init__(self, trials: list[Trial]) -> None:
        self.trials = trials
        self.begun: list[set[int]] = [set() for _ in RUNGS]
        self.losses: list[dict[int, float]] = [{} for _ in RUNGS]  # by the trial's number
        self.networks: dict[int, distpool.TaskRef] = {}

    def start(self) -> tuple[distpool.TaskRef, int, int] | None:
        """Have the next one trained: the ref of its loss, its number and rung; None when there is none for now."""
        found = self.next()
        if found is None:
            return None
        number, rung = found
        self.begun[rung].add(number)
        epochs = RUNGS[rung] - (RUNGS[rung - 1] if rung else 0)
        self.networks[number], loss = train.remote(self.trials[number], self.networks.get(number), epochs)
        return loss, number, rung

    def next(self) -> tuple[int, int] | None:
        for rung in reversed(range(1, len(RUNGS))):
            below = self.losses[rung - 1]
            best = sorted(below, key=below.__getitem__)[: len(below) // 3]
            for number in best:
                if number not in self.begun[rung]:
                    return number, rung
        new = len(self.begun[0])
        return (new, 0) if new < len(self.trials) else None

    def epochs(self) -> int:
        """That were trained."""
        ends = (0, *RUNGS)
        return sum(len(losses) * (end - begin) for losses, begin, end in zip(self.losses, ends, RUNGS, strict=False))

    def best(self) -> tuple[float, Trial]:
        """The loss and trial that is the best of those that have come furthest."""
        furthest = next(losses for losses in reversed(self.losses) if losses)
        number = min(furthest, key=furthest.__getitem__)
        return furthest[number], self.trials[number]


def search_until(target: float, search: Search, workers: int) -> int:
    """Search until a loss is low enough, or nothing is left to train; how many trainings were cancelled then."""
    running: dict[distpool.TaskRef, tuple[int, int]] = {}
    while True:
        while len(running) < workers and (started := search.start()) is not None:
            ref, *about = started
            running[ref] = tuple(about)
        if not running:
            return 0
        (ref,), _ = distpool.wait(list(running))
        number, rung = running.pop(ref)
        search.losses[rung][number] = loss = distpool.get(ref)
        if loss <= target:
            for ref in running:
                distpool.cancel(ref)
            return len(running)


def train_all(trials: list[Trial]) -> list[float]:
    """To the end: their losses."""
    return distpool.get([train.remote(trial, None, RUNGS[-1])[1] for trial in trials])


def main() -> None:
    parser = argparse.ArgumentParser(description="Search hyperparameters with early stopping.")
    parser.add_argument("--trials", type=int, default=40, help="drawn at random (default: %(default)s)")
    parser.add_argument("--target", type=float, default=0.1, help="loss that is low enough (default: %(default)s)")
    options = parser.parse_args()

    generator = np.random.default_rng(5)
    trials = [draw_trial(generator) for _ in range(options.trials)]
    workers = int(distpool.cluster_resources()["CPU"])
    distpool.get([train.remote(trials[0], None, 0)[1] for _ in range(workers)])  # they have started

    start = time.perf_counter()
    losses = train_all(trials)
    all_s = time.perf_counter() - start
    best = min(losses)
    epochs = RUNGS[-1] * len(trials)
    print(f"{len(trials)} trials, {workers} workers")
    print(f"all to the end    {epochs:5} epochs {all_s:6.2f} s   best loss {best:.4f}", flush=True)

    search = Search(trials)
    start = time.perf_counter()
    cancelled = search_until(options.target, search, workers)
    search_s = time.perf_counter() - start
    loss, trial = search.best()
    came = ", ".join(f"{len(losses)} to epoch {rung}" for losses, rung in zip(search.losses, RUNGS, strict=True))
    rank = 1 + sum(other < loss for other in losses)
    print(f"early stopping    {search.epochs():5} epochs {search_s:6.2f} s   loss      {loss:.4f}", end="  ")
    print(f"of rank {rank}; {all_s / search_s:.1f} times as fast")
    print(f"{came}; {cancelled} cancelled")
    print(f"found {trial}")


if __name__ == "__main__":
    main()
