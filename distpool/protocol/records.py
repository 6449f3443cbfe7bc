"""What a cluster's head keeps on disk, one record for each change: its role makes them, and its process writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from distpool.ids import LeaseId, NodeId
from distpool.protocol.devices import Device
from distpool.protocol.resources import Shape

if TYPE_CHECKING:
    from distpool.protocol.names import NamedActor  # whoever has a record with one has it


class NodeKept(msgspec.Struct, array_like=True, frozen=True):
    """There is this node. `life`: of its process. `drain_s`: it is being drained, within this limit; below 0: it is
    not. `devices`, `custom`, `labels`: see `Offer`."""

    node: NodeId
    life: int
    cpus: int
    memory_bytes: int
    drain_s: float = -1.0
    devices: tuple[Device, ...] = ()
    custom: tuple[tuple[str, int], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


class NodeForgotten(msgspec.Struct, array_like=True, frozen=True):
    """The node has left, or is lost."""

    node: NodeId


class LeaseKept(msgspec.Struct, array_like=True, frozen=True):
    """The lease is on that node, for the process with this life. `is_lost`: it was, and its node was given up since."""

    lease: LeaseId
    node: NodeId
    caller: int
    is_lost: bool = False


class LeaseForgotten(msgspec.Struct, array_like=True, frozen=True):
    """The lease is over."""

    lease: LeaseId


class BundleKept(msgspec.Struct, array_like=True, frozen=True):
    """A bundle takes room under this lease. `node`: empty while it is nowhere."""

    shape: Shape
    lease: LeaseId
    node: NodeId
    devices: tuple[int, ...]


class PlacesKept(msgspec.Struct, array_like=True, frozen=True):
    """There is this placement group, of the process with this life."""

    group: int
    life: int
    strategy: int
    bundles: list[BundleKept]


class PlacesForgotten(msgspec.Struct, array_like=True, frozen=True):
    """The placement group has ended."""

    group: int


class NameKept(msgspec.Struct, array_like=True, frozen=True):
    """This actor has its name."""

    actor: NamedActor


class NameForgotten(msgspec.Struct, array_like=True, frozen=True):
    """The name is free."""

    namespace: str
    name: str


Record = NodeKept | NodeForgotten | LeaseKept | LeaseForgotten | PlacesKept | PlacesForgotten | NameKept | NameForgotten


class Kept(msgspec.Struct, frozen=True):
    """All that a head finds when it is started. `lease_epoch`: of this life of it, which no other has had."""

    lease_epoch: int
    nodes: list[NodeKept] = []
    leases: list[LeaseKept] = []
    places: list[PlacesKept] = []
    names: list[NamedActor] = []
