"""Both libraries, under each start method."""

import concurrent.futures
import gc
import itertools
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import distpool
import distpool.futures

pytest.register_assert_rewrite(f"{__package__}.comparison", f"{__package__}.scripts")

from . import tasks  # noqa: E402  the line above must come first
from .comparison import LIMIT_S, Library, Pair  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def quick_garbage_collection() -> Iterator[None]:
    """`compare` collects after each scenario, which takes a millisecond when it need not look at every import."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module", params=["fork", "forkserver", "spawn"])
def start_method(request: pytest.FixtureRequest) -> str:
    # What a library keeps until the process ends (a fork server, a runtime thread) is there before the first test
    # counts what it left behind.
    for library in (multiprocessing, distpool):
        with library.get_context(request.param).Pool(1) as pool:
            pool.apply_async(abs, (-1,)).get(LIMIT_S)
            pool.close()
            pool.join()
    return request.param


@pytest.fixture(scope="module")
def libraries(start_method: str) -> Pair[Library]:
    """Both libraries, for scenarios that make their own pools."""
    return Pair(
        standard=Library(
            "multiprocessing", multiprocessing, concurrent.futures, multiprocessing.get_context(start_method)
        ),
        distpool=Library("distpool", distpool, distpool.futures, distpool.get_context(start_method)),
    )


@pytest.fixture(scope="module")
def pools(libraries: Pair[Library]) -> Iterator[Pair[Any]]:
    """A running pool of two workers of each library, for scenarios that leave it as they found it."""
    with libraries.standard.pool(2) as standard, libraries.distpool.pool(2) as ours:
        for pool in (standard, ours):
            # Workers may start late: now, so that no test seems to leave them behind.
            pool.map_async(time.sleep, [0.1, 0.1], chunksize=1).get(LIMIT_S)
        yield Pair(standard, ours)
    standard.join()
    ours.join()


@pytest.fixture(scope="module")
def executors(libraries: Pair[Library]) -> Iterator[Pair[Any]]:
    """A running executor of two workers of each library, for scenarios that leave it as they found it."""
    with libraries.standard.executor(2) as standard, libraries.distpool.executor(2) as ours:
        for executor in (standard, ours):
            # Executors start workers on demand: now, so that no test seems to leave them behind.
            list(executor.map(time.sleep, [0.1, 0.1], timeout=LIMIT_S))
        yield Pair(standard, ours)


@pytest.fixture(params=["standard", "distpool"])
def executor(request: pytest.FixtureRequest, executors: Pair[Any]) -> Any:
    """One of the two, for what takes the futures of any."""
    return getattr(executors, request.param)


@pytest.fixture
def futures_of_several_kinds(executors: Pair[Any]) -> Iterator[list[concurrent.futures.Future[Any]]]:
    """Of no executor, of threads, and of both libraries; the first ends last, unless a call takes long."""
    own: concurrent.futures.Future[int] = concurrent.futures.Future()
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        timer = threading.Timer(0.05, own.set_result, (1,))
        timer.start()
        yield [
            own,
            threads.submit(tasks.square, 1),
            *[executors.standard.submit(tasks.square, i) for i in range(20)],
            *[executors.distpool.submit(tasks.square, i) for i in range(20)],
        ]
        timer.join()


class Gate:
    """Holds tasks in the workers back until the test opens it: `tasks.wait_for(gate.path)` returns only then."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def open(self) -> None:
        Path(self.path).touch()


@pytest.fixture
def new_gate(tmp_path: Path) -> Callable[[], Gate]:
    """A fresh gate for each run of a scenario."""
    numbers = itertools.count()
    return lambda: Gate(tmp_path / f"gate-{next(numbers)}")
