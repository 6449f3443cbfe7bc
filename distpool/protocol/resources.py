"""What one lease needs, and where it may be. Amounts are whole numbers of ten-thousandths, so that sums are exact."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from distpool.ids import LeaseId
from distpool.protocol.devices import Device

UNIT = 10_000
"""One CPU, one GPU, one of a custom resource."""


class Strategy(IntEnum):
    """Which of the nodes that have room gets a lease."""

    PACK = 0
    """One that is used already, so that others stay free for what needs a whole one."""
    SPREAD = 1
    """The one with the least of its CPUs in use."""


class Shape(msgspec.Struct, array_like=True, frozen=True):
    """What one lease needs. `cpus`, `gpus`: in ten-thousandths; `gpus` is below one device, or whole devices.
    `gpu_memory_bytes`: free memory that each of its devices has to have for it. `custom`: (name, ten-thousandths), by
    name. `labels`: (key, value) that the node has to have. `node`: the name of the only node, or with `is_soft` of the
    one that is preferred. `place`: (id, number of the bundle) of a placement group, -1 is any of its bundles."""

    cpus: int = UNIT
    gpus: int = 0
    memory_bytes: int = 0
    gpu_memory_bytes: int = 0
    custom: tuple[tuple[str, int], ...] = ()
    strategy: int = Strategy.PACK
    labels: tuple[tuple[str, str], ...] = ()
    node: str = ""
    is_soft: bool = False
    place: tuple[int, int] | None = None


ONE_CPU = Shape()
NOTHING = Shape(cpus=0)
NODE_WORKER = Shape(strategy=Strategy.SPREAD)
"""Of a pool's worker on a node."""
OWN_WORKER = Shape(cpus=0, strategy=Strategy.SPREAD)
"""Of a pool's worker on the program's own machine, where there may be more of them than CPUs, as with the standard
library."""


class Offer(msgspec.Struct, array_like=True, frozen=True):
    """What a node has. `cpus`: whole ones. `custom`: as in a `Shape`."""

    cpus: int
    memory_bytes: int = 0
    devices: tuple[Device, ...] = ()
    custom: tuple[tuple[str, int], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


class Claim(msgspec.Struct, array_like=True, frozen=True):
    """A lease that a node has already. `caller`: the life of its process. `devices`: their positions among the node's.
    `waits`: its worker waits for others, and its CPUs may be used meanwhile."""

    lease: LeaseId
    caller: int
    shape: Shape = NODE_WORKER
    devices: tuple[int, ...] = ()
    waits: bool = False
