"""Run a model on requests of one item each: one actor per GPU, which gathers requests into batches.

    python examples/batch_inference.py
    python examples/batch_inference.py --requests 5000 --batch 64

The model is an async actor: requests that come while others are there join their batch, which is run as soon as it is
full, or when its first request has waited for a few milliseconds. Compared with the same actor that runs each request
by itself. The model is a few layers in NumPy, so it computes on CPUs in any case: where the machine or cluster has GPUs
(or pretends to, see docs/gpus.md), each actor is given one, which a real model would use; else there are two actors.
With DISTPOOL_ADDRESS the actors are on the nodes of a cluster.
"""

import argparse
import asyncio
import time
from collections import Counter

import numpy as np

import distpool

FEATURES = 1024
LAYERS = 4


class Network:
    """A stand-in for a model that is loaded once and is faster for many items than for one at a time."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        shape = (LAYERS, FEATURES, FEATURES)
        self.layers = generator.standard_normal(shape, np.float32) / np.float32(FEATURES**0.5)

    def __call__(self, items: np.ndarray) -> np.ndarray:
        """For items of shape (items, FEATURES) the class of each."""
        for layer in self.layers:
            items = np.maximum(items @ layer, 0)
        return items.argmax(axis=1)


@distpool.remote
class Model:
    """Gathers at most `batch` requests, for at most `patience_s` seconds."""

    def __init__(self, batch: int, patience_s: float) -> None:
        self.network = Network()
        self.batch = batch
        self.patience_s = patience_s
        self.gathered: list[tuple[np.ndarray, asyncio.Future]] = []
        self.timer: asyncio.TimerHandle | None = None
        self.sizes: Counter[int] = Counter()

    async def predict(self, item: np.ndarray) -> int:
        """The class of one item."""
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self.gathered.append((item, answer))
        if len(self.gathered) == self.batch:
            self.run()
        elif self.timer is None:
            self.timer = loop.call_later(self.patience_s, self.run)
        return await answer

    def run(self) -> None:
        """Answer what is gathered. Requests that come meanwhile are the next batch's."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        gathered, self.gathered = self.gathered, []
        self.sizes[len(gathered)] += 1
        for (_, answer), found in zip(gathered, self.network(np.stack([item for item, _ in gathered])), strict=True):
            answer.set_result(int(found))

    async def batches(self) -> tuple[Counter[int], list[str]]:
        """How many batches of each size there were since it was asked last, and the GPUs that this actor has."""
        sizes, self.sizes = self.sizes, Counter()
        return sizes, distpool.get_gpu_ids()


def answers_of(models: list, items: np.ndarray) -> tuple[list[int], float]:
    """The classes of the items, whose requests come all at once, and how many are answered in a second."""
    start = time.perf_counter()
    answers = distpool.get([models[number % len(models)].predict.remote(item) for number, item in enumerate(items)])
    return answers, len(items) / (time.perf_counter() - start)


def seen_batches(models: list) -> str:
    sizes = sum((sizes for sizes, _ in distpool.get([model.batches.remote() for model in models])), Counter())
    return ", ".join(f"{times} of {size}" for size, times in sorted(sizes.items(), reverse=True))


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a model on many small requests, in batches.")
    parser.add_argument("--requests", type=int, default=1000, help="of one item each (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="requests in a batch at most (default: %(default)s)")
    parser.add_argument("--patience", type=float, default=5, help="for a batch, in ms (default: %(default)s)")
    options = parser.parse_args()

    gpus = int(distpool.cluster_resources().get("GPU", 0))
    number, needs = (gpus, {"num_gpus": 1}) if gpus else (2, {})
    one_by_one = [Model.options(**needs).remote(1, 0) for _ in range(number)]
    items = np.random.default_rng(1).standard_normal((options.requests, FEATURES), np.float32)
    answers_of(one_by_one, items[:number])  # all have started
    given = [ids for _, ids in distpool.get([model.batches.remote() for model in one_by_one])]
    print(f"{number} models with the GPUs {given}" if gpus else f"no GPU here: {number} models on CPUs", flush=True)

    expected, rate_one_by_one = answers_of(one_by_one, items)
    print(f"one by one  {rate_one_by_one:8,.0f} items/s; batches: {seen_batches(one_by_one)}", flush=True)
    for model in one_by_one:
        distpool.kill(model)  # their GPUs are for the next

    models = [Model.options(**needs).remote(options.batch, options.patience / 1e3) for _ in range(number)]
    answers_of(models, items[:number])
    seen_batches(models)
    answers, rate = answers_of(models, items)
    print(f"in batches  {rate:8,.0f} items/s; batches: {seen_batches(models)}")
    same = np.mean(np.array(answers) == expected)  # sums of floats in another order may decide a close one otherwise
    print(f"{rate / rate_one_by_one:.1f} times as fast; {same:.1%} of the answers are the same")

    _, rate = answers_of(models, items[:1])
    print(f"a lone request waits for no batch longer than {options.patience:g} ms: {1e3 / rate:.1f} ms")


if __name__ == "__main__":
    main()
