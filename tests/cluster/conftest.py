from collections.abc import Iterator

import pytest

from tests.cluster.processes import Cluster, cluster


@pytest.fixture
def processes(tmp_path) -> Iterator[Cluster]:
    """A cluster of no process yet."""
    with cluster(tmp_path) as made:
        yield made
