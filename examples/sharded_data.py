"""Keep data in shards, each in an actor: by hash and by range, with keys and reads that are not evenly spread.

    python examples/sharded_data.py
    python examples/sharded_data.py --shards 8 --keys 5000000

The keys are times, most of them late. Three ways to say which shard has a key are compared: by its hash, by ranges of
equal width, and by ranges with as many keys of a sample each. For each: how many keys each shard has, how many it is
asked for when a few keys are read far more often than others, how many shards a query for a range asks, and how many
keys are looked up in a second. With DISTPOOL_ADDRESS the shards are on the nodes of a cluster.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np

import distpool

LAST = 1_000_000_000  # the greatest key
BATCH = 50_000  # keys of one call, so that the call is cheap beside its work


@distpool.remote
class Shard:
    """Values by their keys, in two arrays that are sorted by the keys."""

    def __init__(self) -> None:
        self.keys = np.empty(0, np.int64)
        self.values = np.empty(0)

    def add(self, keys: np.ndarray, values: np.ndarray) -> int:
        """Take keys that are not there yet; how many there are now."""
        keys, values = np.concatenate([self.keys, keys]), np.concatenate([self.values, values])
        order = np.argsort(keys)
        self.keys, self.values = keys[order], values[order]
        return len(keys)

    def read(self, keys: np.ndarray) -> np.ndarray:
        """The values of keys that are there."""
        return self.values[np.searchsorted(self.keys, keys)]

    def total(self, first: int, last: int) -> float:
        """The sum of the values of keys from `first` to `last`."""
        return float(self.values[np.searchsorted(self.keys, first) : np.searchsorted(self.keys, last, "right")].sum())


class Shards:
    """Shards, and a function that says for many keys the number of the shard that has each."""

    def __init__(self, number: int, place: Callable[[np.ndarray], np.ndarray]) -> None:
        self.shards = [Shard.remote() for _ in range(number)]
        self.place = place

    def add(self, keys: np.ndarray, values: np.ndarray) -> list[int]:
        """How many keys each has now."""
        places = self.place(keys)
        parts = [places == number for number in range(len(self.shards))]
        return distpool.get(
            [shard.add.remote(keys[part], values[part]) for shard, part in zip(self.shards, parts, strict=True)]
        )

    def read(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The values, in the order of the keys, and how many each shard was asked for."""
        places = self.place(keys)
        order = np.argsort(places, kind="stable")
        counts = np.bincount(places, minlength=len(self.shards))
        parts = np.split(keys[order], counts.cumsum()[:-1])
        refs = [shard.read.remote(part) for shard, part in zip(self.shards, parts, strict=True) if len(part)]
        values = np.empty(len(keys))
        values[order] = np.concatenate(distpool.get(refs))
        return values, counts

    def total(self, first: int, last: int, numbers: range) -> float:
        """The sum of the values from key `first` to `last`, which the shards of these numbers may have."""
        return sum(distpool.get([self.shards[number].total.remote(first, last) for number in numbers]))


def by_hash(keys: np.ndarray, shards: int) -> np.ndarray:
    """The same in every process, unlike `hash` of a str."""
    mixed = keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return ((mixed >> np.uint64(32)) * np.uint64(shards) >> np.uint64(32)).astype(np.int64)


def by_range(keys: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Shard n has the keys from bound n - 1 up to bound n."""
    return np.searchsorted(bounds, keys, "right")


def unevenness(counts: np.ndarray) -> str:
    return f"{counts.max() / counts.mean():4.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare ways to shard data.")
    parser.add_argument("--shards", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--keys", type=int, default=500_000, help="default: %(default)s")
    parser.add_argument("--reads", type=int, default=1_000_000, help="keys that are read (default: %(default)s)")
    options = parser.parse_args()

    generator = np.random.default_rng(0)
    keys = np.unique((generator.beta(4, 1, options.keys) * LAST).astype(np.int64))
    generator.shuffle(keys)
    values = generator.random(len(keys))
    read = generator.zipf(1.1, 2 * options.reads) - 1  # a few positions often, most of them never
    read = read[read < len(keys)][: options.reads]
    first, last = LAST // 2, LAST // 2 + LAST // 20
    wanted = values[(first <= keys) & (keys <= last)].sum()

    parts = np.arange(1, options.shards) / options.shards
    sampled = np.quantile(generator.choice(keys, 1000), parts)
    ways = {
        "hash": partial(by_hash, shards=options.shards),
        "equal ranges": partial(by_range, bounds=LAST * parts),
        "sampled ranges": partial(by_range, bounds=sampled),
    }
    print(f"{len(keys):,} keys in {options.shards} shards, {len(read):,} reads; largest / mean of the shards")
    print(f"{'':<16}{'keys':>6}{'reads':>7}{'a range asks':>15}{'read':>16}   keys of each shard")
    for name, place in ways.items():
        shards = Shards(options.shards, place)
        counts = shards.add(keys, values)
        begin, end = (0, options.shards - 1) if name == "hash" else place(np.array([first, last]))
        numbers = range(begin, end + 1)
        assert np.isclose(shards.total(first, last, numbers), wanted)

        start = time.perf_counter()
        asked = np.zeros(options.shards, np.int64)
        for done in range(0, len(read), BATCH):
            batch = read[done : done + BATCH]
            found, asked_now = shards.read(keys[batch])
            asked += asked_now
            assert (found == values[batch]).all()
        rate = len(read) / (time.perf_counter() - start) / 1e6
        each = ", ".join(f"{count:,}" for count in counts)
        print(f"{name:<16}{unevenness(np.array(counts)):>6}{unevenness(asked):>7}", end="")
        print(f"{len(numbers):>9} of {options.shards:<3}{rate:>8.2f} M keys/s   {each}", flush=True)


if __name__ == "__main__":
    main()
