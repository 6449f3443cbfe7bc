"""What a worker is to have and where it is to be: the options of tasks, actors and pools that say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from distpool.context import cpu_count_for_pools
from distpool.options import check_names
from distpool.protocol.resources import UNIT, Shape, Strategy
from distpool.quantities import amounts, parts_of_one, size_bytes, texts

if TYPE_CHECKING:
    from distpool.protocol.standing import NodeFacts

_STRATEGIES = {"PACK": Strategy.PACK, "DEFAULT": Strategy.PACK, "SPREAD": Strategy.SPREAD}
_STRATEGY_FORMS = '"PACK", "SPREAD", or a NodeAffinity'
_GPU_FORMS = "a share below 1, such as 0.25, or a whole number of GPUs"


class WorkerNeeds(NamedTuple):
    """What each worker of a pool needs; see `GroupPlan`."""

    shape: Shape
    cpu_when_far: bool


class NodeAffinity:
    """A scheduling strategy: on this node, or with `soft` on others too while it has no room."""

    def __init__(self, node: str, soft: bool = False) -> None:
        if not isinstance(node, str) or not node:
            raise TypeError(f"node is {node!r}; it must be the name of a node, as distpool.nodes() lists them")
        if not isinstance(soft, bool):
            raise TypeError(f"soft is {soft!r}, a {type(soft).__name__}; it must be True or False")
        self.node = node
        self.soft = soft

    def __repr__(self) -> str:
        return f"NodeAffinity({self.node!r}, soft={self.soft})"


def shape_of(*, default_cpus: int = UNIT, whose: str = "shape_of", **options: Any) -> Shape:
    """What a worker with these options needs; None stands for a default. The options, of which none is needed:

    `num_cpus`: how many, of at most four decimals. `num_gpus`: a share below 1 of one GPU, or whole ones. `memory`,
    `memory_per_gpu`: bytes, or a text such as "2GiB"; how much a node, and each of the GPUs, must have free for it.
    `resources`: others by name, as {"tpu": 2}. `labels`: that the node must have, as {"zone": "eu"}.
    `scheduling_strategy`: "PACK" (where others are already), "SPREAD", or a `NodeAffinity`. `placement_group`,
    `bundle`: in this group, and in the bundle of this number, or any.

    `default_cpus`: in ten-thousandths. `whose`: who is named in errors. Raises TypeError and ValueError that list what
    is valid.
    """
    check_names(options, SHAPE_OPTIONS, whose)
    shape = Shape(cpus=default_cpus)
    for name, change in SHAPE_OPTIONS.items():  # in this order: a bundle is one of a group
        if options.get(name) is not None:
            shape = change(shape, options[name])
    if shape.gpu_memory_bytes and not shape.gpus:
        raise ValueError("memory_per_gpu is given without num_gpus: say how many GPUs, or which share of one")
    return shape


def worker_needs(whose: str, options: dict[str, Any]) -> WorkerNeeds:
    """Of a pool's worker, which without options takes one CPU of a node, and none of the program's own machine or of
    a placement group. Workers are spread, unless they are to be packed. Raises TypeError and ValueError as `shape_of`
    does."""
    shape = shape_of(default_cpus=0, whose=whose, **{"scheduling_strategy": "SPREAD", **options})
    return WorkerNeeds(shape, options.get("num_cpus") is None and shape.place is None)


def native_threads(shape: Shape, *, default_cpus: int) -> int:
    """How many BLAS and OpenMP have in a worker that was given this: as many as CPUs; 0: its share of the processors,
    where it has those that are given when nothing is said of them."""
    return 0 if shape.cpus == default_cpus else max(1, shape.cpus // UNIT)


def workers_that_fit(needs: WorkerNeeds) -> int:
    """So many as there is room for when nobody else has anything, and at least one: how many a pool has by default."""
    shape, cpu_when_far = needs
    if shape == Shape(cpus=0, strategy=shape.strategy):
        return cpu_count_for_pools()
    from distpool.runtime.session import cluster_standing  # the runtime comes with the first pool

    if shape.place is not None:
        raise ValueError("with placement_group, say how many workers there are to be: how many fit is not known here")
    status, is_far = cluster_standing(with_devices=shape.gpus > 0)
    takes_nothing = not (shape.cpus or shape.gpus or shape.memory_bytes or shape.custom)
    if (is_far and cpu_when_far) or takes_nothing:
        shape = msgspec.structs.replace(shape, cpus=UNIT)
    return max(1, sum(fitting(node, shape) for node in status.nodes if node.state == "up"))


def fitting(node: NodeFacts, shape: Shape) -> int:
    """How many leases of a shape a node has room for in all."""
    if not set(shape.labels) <= set(node.labels.items()) or (shape.node not in ("", node.node) and not shape.is_soft):
        return 0
    limits = [amount // needed for needed, amount in _quantities(node, shape) if needed]
    if 0 < shape.gpus < UNIT:
        limits.append(node.gpus // UNIT * (UNIT // shape.gpus))
    return min(limits, default=0)


def _quantities(node: NodeFacts, shape: Shape) -> list[tuple[int, int]]:
    """(needed, there is)"""
    custom = [(amount, node.custom.get(name, 0)) for name, amount in shape.custom]
    return [
        (shape.cpus, max(1, node.cpus) * UNIT),
        (shape.gpus if shape.gpus >= UNIT else 0, node.gpus),
        (shape.memory_bytes, node.memory_bytes),
        *custom,
    ]


def _num_cpus(shape: Shape, value: object) -> Shape:
    return msgspec.structs.replace(shape, cpus=parts_of_one(value, "num_cpus"))


def _num_gpus(shape: Shape, value: object) -> Shape:
    gpus = parts_of_one(value, "num_gpus", _GPU_FORMS)
    if gpus > UNIT and gpus % UNIT:
        raise ValueError(f"num_gpus is {value!r}; it must be {_GPU_FORMS}")
    return msgspec.structs.replace(shape, gpus=gpus)


def _memory(shape: Shape, value: object) -> Shape:
    return msgspec.structs.replace(shape, memory_bytes=size_bytes(value, "memory", smallest=0))


def _memory_per_gpu(shape: Shape, value: object) -> Shape:
    return msgspec.structs.replace(shape, gpu_memory_bytes=size_bytes(value, "memory_per_gpu", smallest=0))


def _resources(shape: Shape, value: object) -> Shape:
    named = amounts(value, "resources")
    for name, instead in _HAVE_OPTIONS.items():
        if name in named:
            raise ValueError(f"resources has {name!r}, for which there is the option {instead}")
    custom = tuple(sorted((name, amount) for name, amount in named.items() if amount))
    return msgspec.structs.replace(shape, custom=custom)


_HAVE_OPTIONS = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}


def _labels(shape: Shape, value: object) -> Shape:
    return msgspec.structs.replace(shape, labels=tuple(sorted(texts(value, "labels").items())))


def _scheduling_strategy(shape: Shape, value: object) -> Shape:
    if isinstance(value, NodeAffinity):
        return msgspec.structs.replace(shape, node=value.node, is_soft=value.soft)
    if not isinstance(value, str):
        raise TypeError(f"scheduling_strategy is {value!r}, a {type(value).__name__}; it must be {_STRATEGY_FORMS}")
    if value not in _STRATEGIES:
        raise ValueError(f"scheduling_strategy is {value!r}; it must be {_STRATEGY_FORMS}")
    return msgspec.structs.replace(shape, strategy=_STRATEGIES[value])


def _placement_group(shape: Shape, value: Any) -> Shape:
    from distpool.placement_groups import PlacementGroup  # whoever has one has imported it

    if not isinstance(value, PlacementGroup):
        raise TypeError(f"placement_group is {value!r}; it must be what distpool.placement_group returned")
    return msgspec.structs.replace(shape, place=(value.id, -1))


def _bundle(shape: Shape, value: object) -> Shape:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"bundle is {value!r}, a {type(value).__name__}; it must be the number of a bundle, from 0 on")
    if shape.place is None:
        raise ValueError("bundle is given without placement_group: say of which group")
    if value < 0:
        raise ValueError(f"bundle is {value}; it must be the number of a bundle, from 0 on")
    return msgspec.structs.replace(shape, place=(shape.place[0], value))


SHAPE_OPTIONS: dict[str, Callable[[Shape, Any], Shape]] = {
    "num_cpus": _num_cpus,
    "num_gpus": _num_gpus,
    "memory": _memory,
    "memory_per_gpu": _memory_per_gpu,
    "resources": _resources,
    "labels": _labels,
    "scheduling_strategy": _scheduling_strategy,
    "placement_group": _placement_group,
    "bundle": _bundle,
}
"""By their names: how each changes a shape."""
