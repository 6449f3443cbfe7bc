"""Threads of BLAS and OpenMP in workers: as many as the worker's share of the processors, and not one for each."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_USERS = frozenset({"numpy", "scipy", "sklearn", "torch", "mkl"})


def share_of_processors(workers: int) -> int:
    """How many processors each of so many workers has."""
    return max(1, len(os.sched_getaffinity(0)) // workers)


def limit_native_threads(threads: int) -> None:
    """Tell libraries that are loaded from now on; what the user has set in the environment stays."""
    for variable in VARIABLES:
        os.environ.setdefault(variable, str(threads))


@contextmanager
def native_threads_limited(threads: int) -> Iterator[None]:
    """Tell libraries that are loaded meanwhile, and do not keep the variables: each worker sets its own."""
    unset = [variable for variable in VARIABLES if variable not in os.environ]
    limit_native_threads(threads)
    try:
        yield
    finally:
        for variable in unset:
            # Another value is the program's own, and for its workers.
            if os.environ.get(variable) == str(threads):
                del os.environ[variable]


def limit_loaded_libraries(threads: int) -> None:
    """Tell libraries that are loaded already: a forked process finds its parent's there.

    A limit that the user has set in the environment stays.
    """
    if _USERS.isdisjoint(sys.modules) or not os.environ.keys().isdisjoint(VARIABLES):
        return
    threadpoolctl: Any = import_module("threadpoolctl")
    threadpoolctl.threadpool_limits(threads)
