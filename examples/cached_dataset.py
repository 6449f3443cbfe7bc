"""Train for some epochs on data that is dear to decode: decoded anew each time, kept by refs, and kept in actors.

    python examples/cached_dataset.py
    python examples/cached_dataset.py --parts 40 --epochs 10

The data is parts of compressed pictures, and each epoch computes a gradient from each part. Kept by refs, a decoded
part lies in shared memory, where any worker maps it, and goes to disk when there are too many; kept in an actor, it
stays in the memory of that worker, and the calls come to it. With DISTPOOL_ADDRESS the workers are on the nodes of a
cluster: a part that is kept by a ref then moves to each node that has a call with it, and one in an actor never does.
"""

import argparse
import time
import zlib
from collections.abc import Callable

import numpy as np

import distpool

SIDE = 64  # of a picture, in pixels
PICTURES = 400  # of a part
RATE = 0.3


def encode(seed: int) -> bytes:
    """A part: pictures that change little from pixel to pixel, as compressed differences, which is what PNG does."""
    steps = np.random.default_rng(seed).integers(-3, 4, (PICTURES, SIDE, SIDE), np.int8)
    return zlib.compress(steps.tobytes(), 1)


def decode(encoded: bytes) -> np.ndarray:
    """Pictures of mean 0 and deviation 1, of shape (PICTURES, SIDE * SIDE)."""
    steps = np.frombuffer(zlib.decompress(encoded), np.int8).reshape(PICTURES, SIDE, SIDE)
    pixels = steps.cumsum(axis=1, dtype=np.int16).cumsum(axis=2, dtype=np.int16).reshape(PICTURES, -1)
    return ((pixels - pixels.mean(axis=1, keepdims=True)) / pixels.std(axis=1, keepdims=True)).astype(np.float32)


def gradient(weights: np.ndarray, pictures: np.ndarray) -> tuple[np.ndarray, float]:
    """Of a linear model that shall tell pictures that are brighter above from the others; and how often it is right."""
    wanted = np.sign(pictures[:, : SIDE * SIDE // 2].sum(axis=1))
    found = pictures @ weights
    return pictures.T @ (found - wanted) / pictures.size, float((found * wanted > 0).mean())


@distpool.remote
def decoded(encoded: bytes) -> np.ndarray:
    return decode(encoded)


@distpool.remote
def gradient_anew(weights: np.ndarray, encoded: bytes) -> tuple[np.ndarray, float]:
    return gradient(weights, decode(encoded))


@distpool.remote
def gradient_of(weights: np.ndarray, pictures: np.ndarray) -> tuple[np.ndarray, float]:
    return gradient(weights, pictures)


@distpool.remote
class Keeper:
    """Has some parts of the data, and keeps each from its first use on."""

    def __init__(self, files: list[distpool.ObjectRef]) -> None:
        self.files = files
        self.parts: dict[int, np.ndarray] = {}

    def gradient(self, weights: np.ndarray, number: int) -> tuple[np.ndarray, float]:
        if number not in self.parts:
            self.parts[number] = decode(distpool.get(self.files[number]))
        return gradient(weights, self.parts[number])


Step = Callable[[np.ndarray, int], distpool.TaskRef]
"""Has the gradient for some weights computed from the part of some number."""


def train(name: str, step: Step, parts: int, epochs: int) -> np.ndarray:
    weights = np.zeros(SIDE * SIDE, np.float32)
    epoch_s = []
    for _ in range(epochs):
        start = time.perf_counter()
        gradients, right = zip(*distpool.get([step(weights, number) for number in range(parts)]), strict=True)
        weights = weights - RATE * np.mean(gradients, axis=0)
        epoch_s.append(time.perf_counter() - start)
    later_s = sum(epoch_s[1:]) / (epochs - 1)
    print(f"{name:<16}{epoch_s[0]:>10.2f} s{later_s:>11.3f} s{parts * PICTURES / later_s:>14,.0f}", end="")
    print(f"{np.mean(right):>10.1%}", flush=True)
    return weights


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on data that is decoded once, or in every epoch.")
    parser.add_argument("--parts", type=int, default=12, help="of the data (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=5, help="two or more (default: %(default)s)")
    parser.add_argument("--keepers", type=int, default=2, help="actors (default: %(default)s)")
    options = parser.parse_args()
    if options.epochs < 2:
        parser.error(f"--epochs is {options.epochs}; it must be 2 or more, as later epochs are compared with the first")

    files = [distpool.put(encode(seed)) for seed in range(options.parts)]  # as on a disk that all machines share
    keepers = [Keeper.remote(files[first :: options.keepers]) for first in range(options.keepers)]
    kept: list[distpool.TaskRef] = []

    def by_ref(weights: np.ndarray, number: int) -> distpool.TaskRef:
        if number == len(kept):
            kept.append(decoded.remote(files[number]))
        return gradient_of.remote(weights, kept[number])

    def in_actor(weights: np.ndarray, number: int) -> distpool.TaskRef:
        place, keeper = divmod(number, len(keepers))
        return keepers[keeper].gradient.remote(weights, place)

    size = PICTURES * SIDE * SIDE * 4
    print(f"{options.parts} parts of {PICTURES} pictures, {size / 1e6:.0f} MB each when decoded")
    print(f"{'':<16}{'first epoch':>12}{'later ones':>13}{'pictures/s':>14}{'right':>10}")
    steps = {
        "decoded anew": lambda weights, number: gradient_anew.remote(weights, files[number]),
        "kept by refs": by_ref,
        "kept in actors": in_actor,
    }
    trained = [train(name, step, options.parts, options.epochs) for name, step in steps.items()]
    print(f"the same model each time: {all(np.allclose(trained[0], weights) for weights in trained)}")


if __name__ == "__main__":
    main()
