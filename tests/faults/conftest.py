"""A pool of two workers of each class that must outlive what its calls do."""

import pytest

from .cell import Subject
from .innocents import Ledger

SURVIVORS = ("Pool", "Executor")


@pytest.fixture(params=SURVIVORS)
def survivor(request):
    """A Pool and an Executor, forked: a death costs them one call."""
    with Subject(request.param, "fork") as subject:
        yield subject


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"
