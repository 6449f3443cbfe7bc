"""Count the words of a few hundred megabytes of text: serially, with multiprocessing.Pool and with distpool.Pool.

    python examples/word_count.py                    300 MB, one process per CPU
    python examples/word_count.py --megabytes 20 --processes 4

The text is made first (always the same one, with word frequencies like those of a natural language) in a temporary
folder, which is removed in the end. Both pools run the very same function, `count_with_pool`; only the class differs.
They take turns, and the time of each, starting and closing its processes included, is the best of its rounds.
"""

import argparse
import multiprocessing
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import distpool

FILE_MEGABYTES = 8
VOCABULARY_SIZE = 30_000
BLOCK_WORDS = 156_000  # about 1 MB


def make_vocabulary(generator: random.Random) -> list[str]:
    """Different words, the frequent ones first and shorter."""
    syllables = [a + b + c for a in "bdfgklmnprstvz" for b in "aeiou" for c in ("", "n", "r", "s")]
    words: dict[str, None] = {}
    while len(words) < VOCABULARY_SIZE:
        longest = 1 + min(3, len(words) // 100)
        words["".join(generator.choices(syllables, k=generator.randint(1, longest)))] = None
    return list(words)


def make_blocks(generator: random.Random, number: int) -> list[bytes]:
    """Blocks of about a megabyte of text in lines, the word of rank r with a frequency proportional to 1 / r."""
    vocabulary = make_vocabulary(generator)
    weights = list(accumulate(1 / rank for rank in range(1, len(vocabulary) + 1)))
    blocks = []
    for _ in range(number):
        words = generator.choices(vocabulary, cum_weights=weights, k=BLOCK_WORDS)
        lines = [" ".join(words[start : start + 12]).capitalize() + ".\n" for start in range(0, len(words), 12)]
        blocks.append("".join(lines).encode())
    return blocks


def make_text(folder: Path, megabytes: int, seed: int = 1) -> list[Path]:
    """Write `megabytes` of text into files of a few megabytes each, by drawing again and again from a few blocks."""
    generator = random.Random(seed)
    blocks = make_blocks(generator, number=8)
    paths = []
    for start in range(0, megabytes, FILE_MEGABYTES):
        path = folder / f"{start:06}.txt"
        path.write_bytes(b"".join(generator.choices(blocks, k=min(FILE_MEGABYTES, megabytes - start))))
        paths.append(path)
    return paths


def count_words(path: Path) -> Counter[str]:
    return Counter(path.read_text().lower().replace(".", " ").split())


def count_serially(paths: list[Path]) -> Counter[str]:
    total: Counter[str] = Counter()
    for path in paths:
        total.update(count_words(path))
    return total


def count_with_pool(pool_class: Callable[..., Any], processes: int, paths: list[Path]) -> Counter[str]:
    total: Counter[str] = Counter()
    with pool_class(processes) as pool:
        for counted in pool.imap_unordered(count_words, paths):
            total.update(counted)
    return total


def timed(count: Callable[[], Counter[str]]) -> tuple[float, Counter[str]]:
    start = time.perf_counter()
    counted = count()
    return time.perf_counter() - start, counted


def compare(paths: list[Path], processes: int, rounds: int) -> tuple[Counter[str], dict[str, float]]:
    """The words, and the best time of each way in seconds; fails when two ways do not agree."""
    pools = {"multiprocessing.Pool": multiprocessing.Pool, "distpool.Pool": distpool.Pool}
    for path in paths:
        path.read_bytes()  # all ways shall find the files in the page cache
    serial_s, words = timed(partial(count_serially, paths))
    best_s = {"serial": serial_s} | dict.fromkeys(pools, float("inf"))
    for turn in range(rounds):
        for name in sorted(pools, reverse=turn % 2 == 0):
            seconds, counted = timed(partial(count_with_pool, pools[name], processes, paths))
            if counted != words:
                raise SystemExit(f"{name} counted other words than the serial loop")
            best_s[name] = min(best_s[name], seconds)
    return words, best_s


def main() -> None:
    parser = argparse.ArgumentParser(description="Count words serially, with multiprocessing.Pool and distpool.Pool.")
    parser.add_argument("--megabytes", type=int, default=300, help="size of the text (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: the CPUs (%(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each pool (default: %(default)s)")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="word_count-") as folder:
        paths = make_text(Path(folder), options.megabytes)
        size = sum(path.stat().st_size for path in paths)
        print(f"{size / 1e6:,.0f} MB of text in {len(paths)} files, {options.processes} processes", flush=True)
        words, best_s = compare(paths, options.processes, options.rounds)

    print(f"{words.total():,} words, {len(words):,} different; all three ways agree. The most frequent:")
    for word, number in words.most_common(10):
        print(f"  {word:<12} {number:>12,}")
    print(f"{'':<22} {'time':>8} {'against serial':>16} {'against multiprocessing.Pool':>30}")
    for name, seconds in best_s.items():
        against_serial, against_pool = best_s["serial"] / seconds, best_s["multiprocessing.Pool"] / seconds
        print(f"{name:<22} {seconds:>6.2f} s {against_serial:>14.2f} x {against_pool:>28.2f} x")


if __name__ == "__main__":
    main()
