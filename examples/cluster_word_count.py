"""Count words on a cluster: a head and two nodes are started on this machine, and the pool's workers run on them.

    python examples/cluster_word_count.py [--megabytes 100]

On several machines you would start `distpool head` and `distpool node` by hand (see docs/cluster.md), and set
DISTPOOL_ADDRESS; the part that counts is the same as with a pool of this machine. Here all three processes belong to a
cluster of their own, with keys in a temporary folder, and are ended at the end.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from word_count import make_text

import distpool

COMMAND = [sys.executable, "-m", "distpool.cli"]


def count(path: Path) -> Counter[bytes]:
    return Counter(path.read_bytes().lower().replace(b".", b"").split())


def count_all(paths: list[Path]) -> tuple[Counter[bytes], float]:
    """With a pool, wherever its workers are: the counts, and the seconds that it took."""
    began_at = time.perf_counter()
    total: Counter[bytes] = Counter()
    with distpool.Pool() as pool:
        for counts in pool.imap_unordered(count, paths):
            total.update(counts)
    return total, time.perf_counter() - began_at


def start_cluster(processes: ExitStack, folder: Path) -> None:
    """Start a head and two nodes; from now on this program's pools are on them."""
    os.environ["DISTPOOL_HOME"] = str(folder / "keys")
    head = processes.enter_context(started("head", "--json"))
    os.environ["DISTPOOL_ADDRESS"] = json.loads(head.stdout.readline())["address"]
    for name in ("first", "second"):
        node = processes.enter_context(started("node", "--name", name, "--cpus", "1"))
        print(node.stdout.readline().strip())
    print(subprocess.run([*COMMAND, "status"], capture_output=True, text=True, check=True).stdout)


class started:
    """A command of distpool's, which is told to end at the end."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> subprocess.Popen:
        return self.process

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.communicate(timeout=10)


def main() -> None:
    parser = argparse.ArgumentParser(description="Count words on two nodes.")
    parser.add_argument("--megabytes", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as processes:
        paths = make_text(Path(name), options.megabytes)
        here, here_s = count_all(paths)
        start_cluster(processes, Path(name))
        there, there_s = count_all(paths)
    print(f"{there.total():,} words, {len(there):,} different; both ways agree: {here == there}")
    print(f"this machine's own pool: {here_s:.2f} s; two nodes: {there_s:.2f} s")
    print("the most frequent:", ", ".join(f"{word.decode()} {times:,}" for word, times in there.most_common(5)))


if __name__ == "__main__":
    main()
