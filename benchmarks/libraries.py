"""The two sides of every comparison: pools and executors of two forked workers, and the function they call."""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from typing import Any

KINDS = ("standard", "distpool")
WORKERS = 2


def noop(value: Any) -> Any:
    return value


def new_pool(kind: str) -> Any:
    """A pool that has already run something."""
    pool = context_of(kind).Pool(WORKERS)
    pool.map(noop, range(1000), chunksize=1)
    return pool


def new_executor(kind: str) -> Any:
    """An executor that has already run something."""
    module: Any = concurrent.futures
    if kind == "distpool":
        import distpool.futures as module
    executor = module.ProcessPoolExecutor(WORKERS, mp_context=context_of(kind))
    list(executor.map(noop, range(1000)))
    return executor


def context_of(kind: str) -> Any:
    module: Any = multiprocessing
    if kind == "distpool":
        import distpool as module
    return module.get_context("fork")


def seconds(function: Callable[[], object]) -> float:
    began_at = time.perf_counter()
    function()
    return time.perf_counter() - began_at


def main(measure: Callable[[str], dict[str, float]]) -> None:
    """Each question's file run by itself: `python benchmarks/NAME.py standard|distpool` prints its figures as JSON."""
    if len(sys.argv) != 2 or sys.argv[1] not in KINDS:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(KINDS)}")
    print(json.dumps(measure(sys.argv[1])))
