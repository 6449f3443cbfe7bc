"""Fit a model to a table that is too tall for one machine: partial results combined in the program, and in a tree.

    python examples/tree_reduce.py
    python examples/tree_reduce.py --parts 64 --rows 10000 --columns 500

Each task reduces its rows to a small square matrix (the R of a QR decomposition), and what several such matrices say
together is one of the same size again. In a tree the tasks that combine them have refs as their arguments: each runs as
soon as its own are there, and the program reads one matrix and not all of them. With DISTPOOL_ADDRESS the tasks are on
the nodes of a cluster. There what a task returns is brought to the program's machine too, unless it may run again: with
retries its value stays on its node, goes from node to node, and is made again when its node is lost: the third way.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

import distpool


def make_rows(seed: int, rows: int, columns: int) -> np.ndarray:
    """Numbers, and in the last column 1 times the first, 2 times the second and so on, with some noise."""
    generator = np.random.default_rng(seed)
    known = generator.standard_normal((rows, columns))
    return np.column_stack([known, known @ np.arange(1, columns + 1) + generator.standard_normal(rows)])


def combined(matrices: list[np.ndarray]) -> np.ndarray:
    """The R of the rows of all of them."""
    return np.linalg.qr(np.vstack(matrices), mode="r")


def coefficients(r: np.ndarray) -> np.ndarray:
    """The least-squares solution for the last column."""
    return np.linalg.solve(r[:-1, :-1], r[:-1, -1])


@distpool.remote
def reduce_part(seed: int, rows: int, columns: int) -> np.ndarray:
    return combined([make_rows(seed, rows, columns)])


@distpool.remote
def combine(*matrices: np.ndarray) -> np.ndarray:
    return combined(list(matrices))


Fit = tuple[np.ndarray, int]
"""The R of the whole table, and the bytes of the matrices that the program has read."""


def in_program(parts: list[tuple[int, int, int]], width: int) -> Fit:
    matrices = distpool.get([reduce_part.remote(*part) for part in parts])
    return combined(matrices), sum(matrix.nbytes for matrix in matrices)


def in_tree(parts: list[tuple[int, int, int]], width: int) -> Fit:
    r = distpool.get(tree([reduce_part.remote(*part) for part in parts], combine, width))
    return r, r.nbytes


def in_tree_on_nodes(parts: list[tuple[int, int, int]], width: int) -> Fit:
    reduce = reduce_part.options(retries=1)
    r = distpool.get(tree([reduce.remote(*part) for part in parts], combine.options(retries=1), width))
    return r, r.nbytes


def tree(refs: list[distpool.TaskRef], combine: distpool.RemoteFunction, width: int) -> distpool.TaskRef:
    """The ref of all values combined, so many at a time. Nothing is waited for here."""
    while len(refs) > 1:
        refs = [combine.remote(*refs[begin : begin + width]) for begin in range(0, len(refs), width)]
    return refs[0]


def main() -> None:
    parser = argparse.ArgumentParser(description="Combine partial results in the program, and in a tree.")
    parser.add_argument("--parts", type=int, default=64, help="of the table, one task each (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=1000, help="of a part (default: %(default)s)")
    parser.add_argument("--columns", type=int, default=150, help="of the table (default: %(default)s)")
    parser.add_argument("--width", type=int, default=4, help="matrices combined at a time (default: %(default)s)")
    options = parser.parse_args()
    if options.width < 2:
        parser.error(f"--width is {options.width}; it must be 2 or more, or a tree would have no root")

    parts = [(seed, options.rows, options.columns) for seed in range(options.parts)]
    ways: dict[str, Callable[..., Fit]] = {
        "in the program": in_program,
        "in a tree": in_tree,
        "with retries": in_tree_on_nodes,
    }
    print(f"{options.parts * options.rows:,} rows of {options.columns} columns in {options.parts} parts")
    for run in ways.values():
        run([(0, 200, 2)] * 4, 2)  # the workers have started, and have the functions
    found = []
    for name, run in ways.items():
        start = time.perf_counter()
        r, read = run(parts, options.width)
        seconds = time.perf_counter() - start
        found.append(coefficients(r))
        error = np.abs(found[-1] - np.arange(1, options.columns + 1)).max()
        print(f"{name:<16}{seconds:7.2f} s   the program read {read / 1e6:6.2f} MB", end="")
        print(f"   largest error {error:.4f}", flush=True)
    print(f"the same fit each time: {all(np.allclose(found[0], other) for other in found)}")


if __name__ == "__main__":
    main()
