"""What a head tells those who ask of its cluster: nodes, drivers, and what is had and waited for."""

from __future__ import annotations

import msgspec

from distpool.ids import NodeId
from distpool.protocol.messages import Message
from distpool.protocol.placing import PendingFacts


class NodeFacts(msgspec.Struct, frozen=True):
    """What a head knows of a node. `joined_s`: how long ago it joined, in seconds. `state`: "up", "draining", or
    "away": there before this head was started, and not come back yet. `log`: where its log lies. `objects`,
    `store_bytes`: in its store, and the memory that they take. `custom`: other resources. All that is free, and
    `gpus` and `custom`, is in ten-thousandths of one."""

    node: NodeId
    cpus: int
    leases: int
    memory_bytes: int
    joined_s: float
    state: str = "up"
    log: str = ""
    objects: int = 0
    store_bytes: int = 0
    gpus: int = 0
    custom: dict[str, int] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    free_cpus: int = 0
    free_gpus: int = 0
    free_memory_bytes: int = 0
    free_custom: dict[str, int] = msgspec.field(default_factory=dict)


class CallerFacts(msgspec.Struct, frozen=True):
    """What a head knows of a driver. `waiting`: how many leases it has asked for and not got. `joined_s`: how long ago
    it joined, in seconds."""

    name: str
    leases: int
    waiting: int
    joined_s: float


class HeldFacts(msgspec.Struct, frozen=True):
    """How many leases a driver has on a node. `caller`: its name; empty while it has not come back to a new head."""

    node: NodeId
    caller: str
    leases: int


class ActorFacts(msgspec.Struct, frozen=True):
    """An actor with a name. `program`: whose it is; `state`: of that program, "up", or "away" as long as it has not
    come back to a new head. `is_detached`: it does not end with the program that has started it."""

    name: str
    namespace: str
    class_name: str
    program: str
    is_detached: bool
    state: str


class StatusTold(Message, tag=65, frozen=True):
    """Head to driver: the nodes, oldest first, how many drivers there are, and for how many seconds this head lives.
    `callers`: the drivers but the one that asks. `held`: who has how many leases where. `pending`: what is waited for,
    oldest first. `actors`: those with names."""

    nodes: list[NodeFacts]
    drivers: int
    up_s: float
    callers: list[CallerFacts] = msgspec.field(default_factory=list)
    held: list[HeldFacts] = msgspec.field(default_factory=list)
    pending: list[PendingFacts] = msgspec.field(default_factory=list)
    actors: list[ActorFacts] = msgspec.field(default_factory=list)
