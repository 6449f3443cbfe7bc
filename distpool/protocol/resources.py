"""What one lease needs, and where it may be. Amounts are whole numbers of ten-thousandths, so that sums are exact."""

from __future__ import annotations

from enum import IntEnum

import msgspec

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
