"""The program's tasks last for a module of tests, or for one test, and leave nothing behind."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import distpool

from . import functions


@pytest.fixture(scope="module")
def program() -> Iterator[None]:
    """Its workers are there before the first test counts what it left behind; no test ends one."""
    distpool.get([functions.pid.remote() for _ in range(8)])
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
