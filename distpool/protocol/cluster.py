"""The messages between the processes of a cluster, what precedes each of them on a link, and who joins."""

from __future__ import annotations

from typing import Annotated

import msgspec

from distpool.ids import NO_STORE, Epoch, GroupId, LeaseId, NodeId, StoreId
from distpool.protocol.code import Surroundings
from distpool.protocol.messages import (
    CallsDone,
    Message,
    StreamItems,
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
    that the nodes have in all. `lease_epoch`: of the leases that this head grants. `transfers`, `store`: of a node,
    where it can be asked for objects, and its store."""

    life: int
    cpus: int = 0
    lease_epoch: int = 0
    transfers: str = ""
    store: StoreId = NO_STORE


class Refused(Message, tag=62, frozen=True):
    """Head to node or driver: you are not, and why."""

    text: str


NOT_GREETED = "whoever takes part has to greet first"
"""Why a head refuses what somebody says with whom it has no link yet."""


class LeaveCluster(Message, tag=63, frozen=True):
    """Node or driver to head: I end now."""


class Enrol(Message, tag=90, frozen=True):
    """Holder of a token to head: let in the owner of this key from now on, in my place."""

    public: str


class Enrolled(Message, tag=91, frozen=True):
    """Head to the holder of a token: that key is let in, by this name. `next_head`: see HeadKeyChanges; or empty."""

    name: str
    next_head: str = ""


class HeadKeyChanges(Message, tag=92, frozen=True):
    """Head to node or driver: my public key will soon be this one."""

    public: str


class PeerLost(Message, tag=38, frozen=True):
    """The links of this process to a role: this peer has left, or was not heard of for too long."""


class StoreUse(Message, tag=115, frozen=True):
    """Node to head: so many objects lie in its store, and take so much memory; said when that has changed, now and
    then."""

    objects: int
    used_bytes: int


class AskStatus(Message, tag=64, frozen=True):
    """Driver to head: who is there?"""


class AskLog(Message, tag=180, frozen=True):
    """Driver to head, head to node: what does your own log say? `node`: or "head". `number`: of the question, by which
    its answer is known. `file`, `offset`: of a place in the log that was told, after which to go on; without it the
    last of the log is asked for."""

    node: NodeId
    number: int
    file: int = 0
    offset: int = 0


class AskStacks(Message, tag=181, frozen=True):
    """Driver to head, head to node: what do your threads do now, and your workers'?"""

    node: NodeId
    number: int


# Leases on nodes ------------------------------------------------------------------------------------------------------


class Listens(Message, tag=93, frozen=True):
    """Driver to head: other drivers may call actors of mine; the answer is `LetIn`, now and whenever it changes."""


class LetIn(Message, tag=66, frozen=True):
    """Head to node, and to a driver that listens: those who may connect to you from now on, as (public key, "node" or
    "driver", name)."""

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
    """Head to client: so many leases that the group has asked for will not be granted, as it ends. A client's own links
    to its nodes: so many were granted and cannot be used."""

    group: GroupId
    count: int


class RevokeLease(Message, tag=70, frozen=True):
    """Head to node: its caller is gone, or does not want it: end what it has, and give it back."""

    lease: LeaseId


class LeaseUnused(Message, tag=104, frozen=True):
    """Node to driver: the lease that you have taken up is none, and there will be no worker: its head has forgotten it,
    or has taken it back."""

    lease: LeaseId
    group: GroupId


class RequestsWait(Message, tag=105, frozen=True):
    """Head to driver: what the group has asked for has to wait, and why, for people."""

    group: GroupId
    why: str


class HeadSilent(Message, tag=106, frozen=True):
    """To a client, in its own process: the head is given up after a silence, in words for people; or is back: ""."""

    text: str


class OpenGroup(Message, tag=71, frozen=True):
    """Driver to node: start a template for this group. `setup`: of its workers, a pickle that only the template
    opens. `shares`: groups of one driver with the same have one template. `threads`: of BLAS and OpenMP in a worker; 0:
    its share of the node's processors. `node`, `folder`, `python`: the node's name,
    where the package lies there, and which interpreter has the requirements; the node itself puts them in."""

    group: GroupId
    size: int
    start_method: str
    names: str
    daemon: bool
    setup: bytes
    surroundings: Surroundings = Surroundings()
    node: str = ""
    folder: str = ""
    python: str = ""
    shares: str = ""
    threads: int = 0


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
    """Node to driver: what the worker of the lease has said, or what has become of what was to be done. `node`: its
    name, which the driver itself puts in."""

    lease: LeaseId
    frame: bytes
    node: str = ""


class WorkerPrinted(Message, tag=75, frozen=True):
    """A node to its client: the worker has written this to its "stdout" or "stderr"."""

    stream: str
    text: bytes


class UpSaid(Message, tag=138, frozen=True):
    """Node to driver: what the worker of a lease says to its program, a frame of the messages of `upcalls`."""

    frame: bytes


class DownSaid(Message, tag=139, frozen=True):
    """Driver to node: the same to the worker."""

    frame: bytes


class WorkerSaid(Message, tag=114, frozen=True):
    """A driver's links to its client: what came in a `FromWorker`."""

    lease: LeaseId
    message: WorkerReady | WorkerUnusable | CallsDone | TakenBack | WorkerLogged | WorkerPrinted | UpSaid | StreamItems


# Nodes that are about to leave ----------------------------------------------------------------------------------------


class WantToLeave(Message, tag=107, frozen=True):
    """Node to head: I am to be drained. The answer is DrainNode, with the same limit."""

    limit_s: float


class DrainNode(Message, tag=100, frozen=True):
    """Driver to head, head to node: this node gets no more leases, and leaves when those that it has are over. No lease
    is granted after the head has said so. `limit_s`: the node leaves after so long in any case, if above 0."""

    node: NodeId
    limit_s: float


class DrainTold(Message, tag=101, frozen=True):
    """Head to driver: the node is being drained, and has so many leases; or why it is not."""

    node: NodeId
    leases: int
    refusal: str = ""


class NodeDrains(Message, tag=102, frozen=True):
    """Head to driver: this node is about to leave. End your workers there when their calls are done."""

    node: NodeId


class LeaseDrains(Message, tag=103, frozen=True):
    """To a client, from its own links to nodes: the worker of this lease gets no more calls, and ends."""

    lease: LeaseId
