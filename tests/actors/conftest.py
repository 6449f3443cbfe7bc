"""Each test ends with the end of all actors of the program."""

import pytest

import distpool


@pytest.fixture(autouse=True)
def ended_afterwards():
    yield
    distpool.shutdown()
