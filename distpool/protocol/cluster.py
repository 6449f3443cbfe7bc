"""The messages between the processes of a cluster: what precedes each of them, who joins, and who may say what."""

from __future__ import annotations

from typing import Annotated

import msgspec

from distpool.ids import Epoch, NodeId
from distpool.protocol.messages import (
    GrantLease,
    LeaseLost,
    LeaseStarted,
    Message,
    RegisterNode,
    RequestLeases,
    ReturnLease,
)

_Count = Annotated[int, msgspec.Meta(ge=0)]


class LinkHeader(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What precedes a message on a link. `sender`, `receiver`: their epochs; the receiver's is 0 while it is unknown.
    `number`: of the message, from 1 on; 0 when there is none. `acknowledged`: all messages up to this one have come.
    `missing`: and one that came was not the next. `unknown`: the sender does not know of this link."""

    sender: Annotated[Epoch, msgspec.Meta(gt=0)]
    receiver: Annotated[Epoch, msgspec.Meta(ge=0)]
    number: _Count
    acknowledged: _Count
    missing: bool = False
    unknown: bool = False


class Greeting(Message, tag=60, frozen=True):
    """Node or driver to head: the first message of a link. `life`: the same for as long as this process lives.
    `protocol`, `python`, `version`: of distpool's messages, of the interpreter ("3.11"), and of distpool."""

    name: str
    life: int
    protocol: int
    python: str
    version: str


class Welcome(Message, tag=61, frozen=True):
    """Head to node or driver: you are in. `life`: the same for as long as this head lives."""

    life: int


class Refused(Message, tag=62, frozen=True):
    """Head to node or driver: you are not, and why."""

    text: str


class LeaveCluster(Message, tag=63, frozen=True):
    """Node or driver to head: I end now."""


class AskStatus(Message, tag=64, frozen=True):
    """Driver to head: who is there?"""


class NodeFacts(msgspec.Struct, frozen=True):
    """What a head knows of a node. `joined_s`: how long ago it joined, in seconds."""

    node: NodeId
    cpus: int
    leases: int
    memory_bytes: int
    joined_s: float


class StatusTold(Message, tag=65, frozen=True):
    """Head to driver: the nodes, oldest first, how many drivers there are, and for how many seconds this head lives."""

    nodes: list[NodeFacts]
    drivers: int
    up_s: float


class PeerLost(Message, tag=38, frozen=True):
    """The links of this process to a role: this peer has left, or was not heard of for too long."""


LINK_MESSAGES = (
    RegisterNode
    | RequestLeases
    | GrantLease
    | LeaseStarted
    | LeaseLost
    | ReturnLease
    | Greeting
    | Welcome
    | Refused
    | LeaveCluster
    | AskStatus
    | StatusTold
)
NODE_MAY_SAY = Greeting | LeaveCluster | RegisterNode | ReturnLease
"""To a head."""
DRIVER_MAY_SAY = Greeting | LeaveCluster | AskStatus
"""To a head."""
