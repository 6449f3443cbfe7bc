"""The messages between the processes of a cluster: what precedes each of them, who joins, and who may say what."""

from __future__ import annotations

from typing import Annotated

import msgspec

from distpool.ids import Epoch, GroupId, LeaseId, NodeId
from distpool.protocol.messages import (
    CallsDone,
    EndWorker,
    ExitWorker,
    GrantLease,
    GroupGone,
    LeaseLost,
    LeaseStarted,
    Message,
    RegisterNode,
    RequestLeases,
    ReturnLease,
    RunCalls,
    StopGroup,
    TakeBack,
    TakenBack,
    WorkerLogged,
    WorkerReady,
    WorkerUnusable,
)

_Count = Annotated[int, msgspec.Meta(ge=0)]


class LinkHeader(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What precedes a message on a link. `sender`, `receiver`: their epochs; the receiver's is 0 while it is unknown.
    `number`: of the message, from 1 on; 0 when there is none. `acknowledged`: all messages up to this one have come.
    `missing`: and one that came was not the next. `unknown`: the sender does not know of this link. `more`: the
    message is a part of a larger one, which goes on in the next."""

    sender: Annotated[Epoch, msgspec.Meta(gt=0)]
    receiver: Annotated[Epoch, msgspec.Meta(ge=0)]
    number: _Count
    acknowledged: _Count
    missing: bool = False
    unknown: bool = False
    more: bool = False


class Greeting(Message, tag=60, frozen=True):
    """Node or driver to head: the first message of a link. `life`: the same for as long as this process lives.
    `protocol`, `python`, `version`: of distpool's messages, of the interpreter ("3.11"), and of distpool."""

    name: str
    life: int
    protocol: int
    python: str
    version: str


class Welcome(Message, tag=61, frozen=True):
    """Head to node or driver, node to driver: you are in. `life`: the same for as long as this process lives. `cpus`:
    that the nodes have in all."""

    life: int
    cpus: int = 0


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


# Leases on nodes ------------------------------------------------------------------------------------------------------


class LetIn(Message, tag=66, frozen=True):
    """Head to node: those who may connect to you from now on, as (public key, "node" or "driver", name)."""

    members: list[tuple[str, str, str]]


class LeaseGranted(Message, tag=67, frozen=True):
    """Head to driver: this lease is yours, on the node that listens there with this public key."""

    lease: LeaseId
    group: GroupId
    node: NodeId
    endpoint: str
    public: str


class NodeGone(Message, tag=68, frozen=True):
    """Head to driver, or the driver's own links to its nodes: this node has left or is lost, and your leases there."""

    node: NodeId


class Rejoined(Message, tag=76, frozen=True):
    """To a node or client, in its own process: the link to the head is a new one, and what was said by the one before
    and not answered, the head does not know. `granted`: by group, leases that were granted and that the client has not
    heard of yet."""

    granted: dict[GroupId, int]


class EndGroup(Message, tag=69, frozen=True):
    """Client to head, a node's callers to the node: the group ends; what it has asked for and did not get is not wanted
    any more."""

    group: GroupId


class RequestsDropped(Message, tag=77, frozen=True):
    """Head to client: so many leases that the group has asked for will not be granted, as it ends."""

    group: GroupId
    count: int


class RevokeLease(Message, tag=70, frozen=True):
    """Head to node: its caller is gone, or does not want it: end what it has, and give it back."""

    lease: LeaseId


class OpenGroup(Message, tag=71, frozen=True):
    """Driver to node: start a template for this group. `setup`: of its workers, a pickle that only the template
    opens."""

    group: GroupId
    size: int
    start_method: str
    names: str
    daemon: bool
    setup: bytes


class UseLease(Message, tag=72, frozen=True):
    """Driver to node: I take up this lease. `caller`: the driver's life, which the node itself puts in."""

    lease: LeaseId
    group: GroupId
    caller: int = 0


class ToWorker(Message, tag=73, frozen=True):
    """Driver to node: pass this on to the worker of the lease, or do it in its place."""

    lease: LeaseId
    frame: bytes


class FromWorker(Message, tag=74, frozen=True):
    """Node to driver: what the worker of the lease has said, or what has become of what was to be done."""

    lease: LeaseId
    frame: bytes


class WorkerPrinted(Message, tag=75, frozen=True):
    """A node to its client: the worker has written this to its "stdout" or "stderr"."""

    stream: str
    text: bytes


LINK_MESSAGES = (
    RegisterNode
    | RequestLeases
    | GrantLease
    | LeaseStarted
    | LeaseLost
    | ReturnLease
    | GroupGone
    | StopGroup
    | EndWorker
    | Greeting
    | Welcome
    | Refused
    | LeaveCluster
    | AskStatus
    | StatusTold
    | LetIn
    | LeaseGranted
    | NodeGone
    | EndGroup
    | RequestsDropped
    | RevokeLease
    | OpenGroup
    | UseLease
    | ToWorker
    | FromWorker
)
TO_WORKER = RunCalls | ExitWorker | TakeBack
FROM_WORKER = WorkerReady | WorkerUnusable | CallsDone | TakenBack | WorkerLogged | WorkerPrinted

NODE_MAY_SAY = Greeting | LeaveCluster | RegisterNode | ReturnLease
"""To a head."""
DRIVER_MAY_SAY = Greeting | LeaveCluster | AskStatus | RequestLeases | EndGroup | ReturnLease
"""To a head."""
CALLER_MAY_SAY = Greeting | LeaveCluster | OpenGroup | UseLease | ToWorker | StopGroup | EndWorker
"""To a node."""
