"""Both libraries, under each start method; distpool's workers on this machine, or on the two nodes of a cluster.

`pytest -m cluster` runs the tests of `on_nodes` with the workers on nodes. There is one start method there: `fork` is
`forkserver`. With `-m "cluster and not between"` a test of many parameters runs with its first and its last ones only.
"""

import concurrent.futures
import gc
import itertools
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import distpool
import distpool.futures

pytest.register_assert_rewrite(f"{__package__}.comparison", f"{__package__}.scripts")

from tests.cluster.conftest import use  # noqa: E402  the line above must come first
from tests.cluster.processes import cluster_of_two  # noqa: E402

from . import tasks  # noqa: E402
from .comparison import LIMIT_S, Library, Pair, start_both_workers  # noqa: E402
from .on_nodes import runs_on_nodes  # noqa: E402

METHODS = ["fork", "forkserver", "spawn"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    places = [pytest.param("here", id=pytest.HIDDEN_PARAM)]
    if runs_on_nodes(metafunc.module.__name__.rpartition(".")[2], metafunc.function.__name__):
        places.append(pytest.param("nodes", marks=pytest.mark.cluster))
    metafunc.parametrize("place", places, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On nodes a test that is about several start methods runs under `forkserver`. Its runs between the first and the
    last are marked."""
    on_nodes = [item for item in items if item.get_closest_marker("cluster") and isinstance(item, pytest.Function)]
    runs: dict[Callable[..., object], list[pytest.Function]] = {}
    for item in on_nodes:
        runs.setdefault(item.function, []).append(item)
    left_out: set[pytest.Item] = set()
    for those in runs.values():
        under_forkserver = [item for item in those if _methods_of(item) == {"forkserver"}] or those
        left_out.update(set(those) - set(under_forkserver))
        for item in under_forkserver[1:-1]:
            item.add_marker("between")
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def _methods_of(item: pytest.Function) -> set[str]:
    return {item.callspec.params.get(name) for name in ("method", "start_method")}.intersection(METHODS)


@pytest.fixture(scope="session", autouse=True)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where distpool's workers are: "here", or on the "nodes" of a cluster that lasts for all tests."""
    if request.param == "here":
        yield request.param
        return
    request.getfixturevalue("pyzmq_thread")
    with cluster_of_two(tmp_path_factory.mktemp("cluster"), cpus=8) as made, pytest.MonkeyPatch.context() as patch:
        use(made, patch)
        patch.setenv("DISTPOOL_LABELS", "0")  # what workers print is compared
        yield request.param


@pytest.fixture(scope="session", autouse=True)
def quick_garbage_collection() -> Iterator[None]:
    """`compare` collects after each scenario, which takes a millisecond when it need not look at every import."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module", params=METHODS)
def start_method(request: pytest.FixtureRequest, place: str) -> str:
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
            start_both_workers(pool.map)
        yield Pair(standard, ours)
    standard.join()
    ours.join()


@pytest.fixture(scope="module")
def executors(libraries: Pair[Library]) -> Iterator[Pair[Any]]:
    """A running executor of two workers of each library, for scenarios that leave it as they found it."""
    with libraries.standard.executor(2) as standard, libraries.distpool.executor(2) as ours:
        for executor in (standard, ours):
            start_both_workers(executor.map)
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
