"""What there is and what of it is free: of the cluster that this program uses, or else of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import NamedTuple

from distpool.objects.refs import FROM_ABOVE
from distpool.protocol.resources import UNIT
from distpool.protocol.standing import NodeFacts, StatusTold
from distpool.protocol.upcalls import AskCluster
from distpool.runtime.addresses import head_address
from distpool.runtime.session import cluster_standing

_UP = "up"
_DECIMALS = 4


class NodeInfo(NamedTuple):
    """A node: its name; "up", "draining" or "away"; what it has and what of it is free, as `cluster_resources` says it;
    and its labels."""

    name: str
    state: str
    resources: dict[str, float]
    available: dict[str, float]
    labels: dict[str, str]


def nodes() -> list[NodeInfo]:
    """The nodes that there are, oldest first; without a cluster the only one is this machine, "local". One that is
    "away" was there before the head was started anew, and has not come back yet. A worker gets what its program has.

    Raises DistpoolError (HeadUnreachable) when the head of the cluster cannot be asked.
    """
    if FROM_ABOVE and head_address() is None:
        standing: StatusTold = import_module("distpool.runtime.own_way_up").way_up().ask_value(AskCluster)
    else:
        standing, _ = cluster_standing()
    return [
        NodeInfo(node.node, node.state, _all_of(node), _free_of(node), dict(node.labels)) for node in standing.nodes
    ]


def cluster_resources() -> dict[str, float]:
    """What all nodes that are up have: "CPU", "GPU", "memory" in bytes, and others by their names."""
    return _sum(node.resources for node in nodes() if node.state == _UP)


def available_resources() -> dict[str, float]:
    """The same, of what is free now. Names of which nothing is free are in it too, with 0."""
    return _sum(node.available for node in nodes() if node.state == _UP)


def _all_of(node: NodeFacts) -> dict[str, float]:
    return _named(max(1, node.cpus) * UNIT, node.gpus, node.memory_bytes, node.custom)


def _free_of(node: NodeFacts) -> dict[str, float]:
    return _named(node.free_cpus, node.free_gpus, node.free_memory_bytes, node.free_custom)


def _named(cpus: int, gpus: int, memory_bytes: int, custom: Mapping[str, int]) -> dict[str, float]:
    """Amounts in ones."""
    named = {"CPU": cpus / UNIT, "GPU": gpus / UNIT, "memory": float(memory_bytes)}
    return {**named, **{name: amount / UNIT for name, amount in custom.items()}}


def _sum(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = round(total.get(name, 0.0) + amount, _DECIMALS)
    return total
