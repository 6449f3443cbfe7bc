"""The program's tasks last for a module of tests, or for one test, and leave nothing behind."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import distpool
from distpool.context import cpu_count_for_pools

from . import functions


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Its workers are there before the first test counts what it left behind; no test ends one."""
    path, workers = str(tmp_path_factory.mktemp("program") / "here"), cpu_count_for_pools()
    distpool.get([functions.meet.remote(path, workers) for _ in range(workers)])
    yield
    distpool.shutdown()


@pytest.fixture
def own_program() -> Iterator[None]:
    """For a test that ends workers: what it has started ends with it."""
    yield
    distpool.shutdown()


@pytest.fixture
def lines(tmp_path: Path) -> Callable[[], list[str]]:
    """What calls of `functions.note` have written, by now; its path is `lines.path`."""

    def read() -> list[str]:
        return Path(read.path).read_text().splitlines() if Path(read.path).exists() else []

    read.path = str(tmp_path / "lines")
    return read
