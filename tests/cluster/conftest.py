"""Clusters for the tests of this folder: one that a test may break, and one of two nodes for the tests of a module."""

from collections.abc import Iterator

import pytest

from tests.cluster.processes import Cluster, cluster, cluster_of_two


@pytest.fixture(scope="session", autouse=True)
def before_arrays_are_sent(pyzmq_thread) -> None:
    """What these tests leave behind is counted from here on."""


@pytest.fixture
def processes(tmp_path) -> Iterator[Cluster]:
    """A cluster of no process yet."""
    with cluster(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[Cluster]:
    """A head and two nodes of two CPUs each."""
    with cluster_of_two(tmp_path_factory.mktemp("cluster"), cpus=2) as made:
        yield made


@pytest.fixture
def two_nodes(shared, monkeypatch) -> Cluster:
    """The shared one, which this process uses."""
    use(shared, monkeypatch)
    return shared


def use(made: Cluster, monkeypatch) -> None:
    """From now on the pools of this process are on that cluster."""
    monkeypatch.setenv("DISTPOOL_HOME", str(made.keys))
    monkeypatch.setenv("DISTPOOL_ADDRESS", made.address)
