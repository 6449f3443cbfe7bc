"""A head and two nodes of this machine for as long as a run lasts, on which distpool's workers are."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from compat_tests.environment import Environment
from tests.cluster.processes import Cluster, cluster_of_two

CPUS = 16
PATIENCE_S = 5.0


@contextmanager
def on_nodes(environment: Environment) -> Iterator[tuple[Environment, Cluster]]:
    """The same environment with a cluster's address in it. The nodes have it too: workers there import the tests."""
    with tempfile.TemporaryDirectory(prefix="compat-") as folder:
        redirection = {name: environment.variables[name] for name in ("COMPAT_TARGET", "PYTHONPATH")}
        with cluster_of_two(Path(folder), CPUS, PYTHONWARNINGS="ignore", **redirection) as made:
            # What workers print is compared, so it comes without the name of their node.
            address = {"DISTPOOL_ADDRESS": made.address, "DISTPOOL_HOME": str(made.keys), "DISTPOOL_LABELS": "0"}
            yield replace(environment, variables={**environment.variables, **address}), made


def leases_left(made: Cluster) -> str:
    """What programs have left on the nodes; empty when that is nothing. A program that was killed is given up first."""
    give_up_at = time.monotonic() + PATIENCE_S
    while left := {node["node"]: node["leases"] for node in made.status()["nodes"] if node["leases"]}:
        if time.monotonic() > give_up_at:
            return f"workers left on nodes: {left}"
        time.sleep(0.1)
    return ""
