"""Every message in one place, grouped by direction. Messages carry lists, so that a batch is the normal form."""

# Without `from __future__ import annotations`: msgspec compiles each that is a text, in the driver and in the template,
# before it can decode a message.
from enum import IntEnum

import msgspec

from distpool.ids import FunctionId, GroupId, LeaseId, NodeId
from distpool.protocol.devices import NO_DEVICES, Device, WorkerDevices
from distpool.protocol.resources import NODE_WORKER, Claim, Shape

PROTOCOL_VERSION = 1


class CallMode(IntEnum):
    """How a worker applies the function to the arguments."""

    CALL = 0
    """`f(*args, **kwargs)`; the argument entry is a pickled (args, kwargs)."""
    ITEM = 1
    """`f(item)`"""
    STAR = 2
    """`f(*item)`"""
    CHUNK = 3
    """`[f(item) for item in items]` as one call; the argument entry is a pickled list of items."""
    STAR_CHUNK = 4
    """`[f(*item) for item in items]` as one call."""
    BESIDE = 5
    """As CALL, a method of an actor that runs beside others: it is answered by its number, in any order."""


class OutcomeKind(IntEnum):
    """What became of one call."""

    VALUE = 0
    """The payload is the pickled result."""
    ERROR = 1
    """The payload is an encoded `RemoteFailure`."""
    FRAME = 2
    """In a ring only: the payload was too large and came as a `LargeOutcome`."""
    LOST = 3
    """Made by the caller: the worker died when the call had begun; the payload is an encoded `Loss`."""
    BROKEN = 4
    """Made by the caller: the pool is broken; the payload is a text that says why."""
    TERMINATED = 5
    """Made by the caller: the pool was terminated."""
    CANCELLED = 6
    """Made by the caller: the call was cancelled before it was sent."""
    TIMED_OUT = 7
    """Made by the caller: the call ran for longer than it may; the payload is a text."""
    STORED = 8
    """A value that lies in the store or names objects there; the payload is an encoded `StoredResult`."""
    UNPLACED = 9
    """Made by the caller: no node can ever have what a worker of the pool needs; the payload is a text."""
    EXITED = 30
    """The call has ended its actor: it has no result, and no call comes after it."""
    ACTOR_DIED = 31
    """Made by the caller: the actor is dead; the payload is an encoded `ActorEnd`."""
    ACTOR_UNAVAILABLE = 32
    """Made by the caller: the actor lost the call, and is started again; the payload is an encoded `ActorEnd`."""


class Message(msgspec.Struct, array_like=True, frozen=True):
    """The base of all messages; the tag is the message's number in the protocol."""


class Slice(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A run of calls of one function. `args`: one pickle (`packed`: of the list of all `count` arguments, else of the
    only call's), or a list of one pickle for each call, or the size of one pickle that follows in the frame. `skip`: of
    a chunk, leave out so many items. `depth`: how many calls they are in, each started by the one before."""

    function: FunctionId
    mode: int
    count: int
    packed: bool
    args: bytes | list[bytes] | int
    skip: int = 0
    depth: int = 0


class FunctionBlob(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A function that the worker does not have yet. `fresh`: unpickle it anew for each call, as it may carry state."""

    function: FunctionId
    blob: bytes
    fresh: bool
    name: str = ""


class Death(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How a worker process ended and what it left. `exitcode` is negative for a signal. `unbegun`: calls that it held
    and had not begun. `items_begun`: of the chunk that it ran, or 1 when it had begun its initializer. `stderr`: the
    last lines that it wrote there. `node`: the one that it ran on, if that is another, and is lost itself. `note`: why
    it was ended or not started, in words; `memory_ran_out`: and that is why."""

    pid: int
    exitcode: int
    peak_memory_bytes: int = 0
    unbegun: int = 0
    items_begun: int = 0
    stderr: str = ""
    node: str = ""
    note: str = ""
    memory_ran_out: bool = False


class Loss(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a caller is told of a call that its worker's death ended. `text` says it all in words."""

    text: str
    call: str
    death: Death


# Caller to worker ---------------------------------------------------------------------------------------------------


class RunCalls(Message, tag=1, frozen=True):
    """Caller to worker: run these calls, in this order; take a token before you begin each. `may_repeat`: to a node,
    which may have to end one of its workers: their callers allow that all of them run again."""

    slices: list[Slice]
    functions: list[FunctionBlob]
    may_repeat: bool = False


CHUNK_MODES = frozenset({CallMode.CHUNK, CallMode.STAR_CHUNK})
"""One call applies the function to many items."""


class ExitWorker(Message, tag=2, frozen=True):
    """Caller to worker: there will be no more calls; end."""


class RoomInRing(Message, tag=3, frozen=True):
    """Caller to worker: the results that filled the ring have been read."""


# Worker to caller ---------------------------------------------------------------------------------------------------


class WorkerReady(Message, tag=10, frozen=True):
    """Worker to caller: the initializer has run."""


class WorkerUnusable(Message, tag=11, frozen=True):
    """Worker to caller: the initializer or the import of `__main__` failed, with this traceback; the worker ends."""

    failure: bytes


class CallsFinished(Message, tag=12, frozen=True):
    """Worker to caller: look into the ring. `stopped`: a token was missing, and all calls in hand were dropped."""

    stopped: bool


class LargeOutcome(Message, tag=13, frozen=True):
    """Worker to caller: the payload of the ring's next FRAME record."""

    payload: bytes | int


class WorkerLogged(Message, tag=15, frozen=True):
    """Worker to caller: a record of its `logging`, pickled as its attributes. `node`: where the worker is, if not here;
    the caller itself puts it in."""

    record: bytes
    node: str = ""


class OpenUpLane(Message, tag=131, frozen=True):
    """Worker to caller: the descriptor of this frame is the end of a socket pair; I have something to ask you there."""


class StreamItems(Message, tag=190, frozen=True):
    """Worker to caller: what the generator of a running call has given, from item `first` on; it is read before what
    becomes of the call."""

    stream: int
    first: int
    outcomes: list[tuple[int, bytes]]


class CallsDone(Message, tag=14, frozen=True):
    """The caller's lane to its client role: these calls ended, in the order in which they were sent; or those with
    these numbers, where calls run beside each other. `read_to`: up to where its worker's ring is read now, if the
    worker has a way up."""

    outcomes: list[tuple[int, bytes]]
    busy_s: float
    stopped: bool
    numbers: list[int] = []
    read_to: int = 0


# Client, head and node ----------------------------------------------------------------------------------------------


class RegisterNode(Message, tag=20, frozen=True):
    """Node to head: this machine offers workers. `endpoint`, `public`: where callers reach it, and its public key
    there; empty where they are in the same process. `leases`: that it has. `log`: of the node's process, machine and
    path, for people. `devices`, `custom`, `labels`: see `Offer`."""

    node: NodeId
    cpus: int
    memory_bytes: int = 0
    endpoint: str = ""
    public: str = ""
    leases: list[Claim] = []
    log: str = ""
    devices: tuple[Device, ...] = ()
    custom: tuple[tuple[str, int], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


class RequestLeases(Message, tag=21, frozen=True):
    """Client to head: place so many leases for a group, each of which needs this."""

    group: GroupId
    count: int
    shape: Shape = NODE_WORKER


class GrantLease(Message, tag=22, frozen=True):
    """Head to node: start a worker for this lease. `caller`: the life of the only process that may use it, and has to
    ask for it; 0 is the node's own. `devices`: that its worker has, by their positions among the node's."""

    lease: LeaseId
    group: GroupId
    caller: int = 0
    shape: Shape = NODE_WORKER
    devices: tuple[int, ...] = ()


class LeaseStarted(Message, tag=23, frozen=True):
    """Node to client: a process is being made ready for your lease."""

    lease: LeaseId
    group: GroupId


class LeaseLost(Message, tag=24, frozen=True):
    """Node to client: the worker of your lease has ended. `received`: how many calls have come for it in all."""

    lease: LeaseId
    group: GroupId
    death: Death
    received: int = 0


class ReturnLease(Message, tag=25, frozen=True):
    """Node to head: the worker of this lease has ended; its place is free."""

    lease: LeaseId


# Local hands --------------------------------------------------------------------------------------------------------


class StartWorker(Message, tag=30, frozen=True):
    """Node to its launcher: start a worker process. `shape`, `devices`: what it has."""

    lease: LeaseId
    group: GroupId
    shape: Shape = NODE_WORKER
    devices: tuple[int, ...] = ()


class WorkerExited(Message, tag=31, frozen=True):
    """Launcher to its node: a worker process has ended and was reaped."""

    lease: LeaseId
    group: GroupId
    death: Death


class StopGroup(Message, tag=32, frozen=True):
    """Client to launcher: end the group's workers, by `kill` or because they have ended, and its template, unless
    other groups have it too.
    `busy`: what these workers have started ends with them, as its call does."""

    group: GroupId
    kill: bool
    busy: list[LeaseId]


class TakeBack(Message, tag=33, frozen=True):
    """Client to a lane: take back every call that the worker has not begun."""

    lease: LeaseId


class TakenBack(Message, tag=34, frozen=True):
    """A lane to its client: so many calls were taken back, the last ones sent."""

    calls: int


class EndWorker(Message, tag=36, frozen=True):
    """Client to launcher, launcher to template: interrupt what the worker runs, and kill it if it lives on; kill it at
    once when there is no grace."""

    lease: LeaseId
    group: GroupId
    grace_s: float


class InterruptWorker(Message, tag=130, frozen=True):
    """Client to launcher, launcher to template: interrupt the call that the worker runs, if `ended` of its calls have
    ended so far; otherwise it runs another, or none."""

    lease: LeaseId
    group: GroupId
    ended: int


class GroupGone(Message, tag=35, frozen=True):
    """Launcher to client, through its node: the template of the group has ended, and no worker is left."""

    group: GroupId


# Driver and template ------------------------------------------------------------------------------------------------


class ForkWorker(Message, tag=40, frozen=True):
    """Launcher to template: start a worker; its lane, its tokens, its store lane, the locks of its devices and the
    pipes for its standard output and standard error come with the frame as descriptors. `threads`: of BLAS and OpenMP
    in it."""

    lease: LeaseId
    slot: int
    number: int
    threads: int
    devices: WorkerDevices = NO_DEVICES


class WorkerForked(Message, tag=41, frozen=True):
    """Template to launcher: the worker process has this pid."""

    lease: LeaseId
    pid: int


class WorkerReaped(Message, tag=42, frozen=True):
    """Template to launcher: the process has ended."""

    lease: LeaseId
    death: Death


class StopTemplate(Message, tag=43, frozen=True):
    """Launcher to template: end; kill the workers that are left, and what those of `busy` have started."""

    grace_s: float
    busy: list[LeaseId]


class StopWorkers(Message, tag=150, frozen=True):
    """Launcher to template: end these workers, and what those of `busy` have started; others go on."""

    grace_s: float
    leases: list[LeaseId]
    busy: list[LeaseId]


LANE_MESSAGES = (
    RunCalls
    | ExitWorker
    | RoomInRing
    | WorkerReady
    | WorkerUnusable
    | CallsFinished
    | LargeOutcome
    | WorkerLogged
    | OpenUpLane
    | StreamItems
)
TEMPLATE_MESSAGES = ForkWorker | WorkerForked | WorkerReaped | StopTemplate | StopWorkers | EndWorker | InterruptWorker
