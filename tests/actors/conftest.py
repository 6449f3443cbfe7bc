"""Each test ends with the end of all actors of the program."""

from pathlib import Path

import pytest

import distpool


@pytest.fixture(autouse=True)
def ended_afterwards():
    yield
    distpool.shutdown()


@pytest.fixture
def lines(tmp_path):
    """What calls of `note_line` have written, by now; its path is `lines.path`."""

    def read():
        return Path(read.path).read_text().splitlines() if Path(read.path).exists() else []

    read.path = str(tmp_path / "lines")
    return read
