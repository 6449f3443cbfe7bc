"""What a worker and its program say to each other by the worker's way up.

A request has a number, under which it is answered once. A node passes it on unread: see `cluster`.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from distpool.ids import FunctionId, LeaseId, StoreId
from distpool.protocol.messages import FunctionBlob, Message
from distpool.protocol.resources import Shape


class SubmitTask(Message, tag=137, frozen=True):
    """Worker to program: run this call. `promises`: the numbers of its values, which nobody else has. `function`: the
    worker's number of it, with `blob` the first time; 0: it is in the arguments. `kind`, `call`: the pickled arguments,
    as a result is told: VALUE or STORED. `needed`: promises whose values stand-ins in them are for, by position.
    `options`: the pickled options of a remote function. `name`: of the call, for people. `depth`: how many calls it is
    in; `within`: the number of the one that has started it, of those that the worker has begun."""

    promises: list[int]
    function: FunctionId
    blob: FunctionBlob | None
    kind: int
    call: bytes
    needed: list[int]
    options: bytes
    name: str
    depth: int
    within: int = 0


class AwaitPromises(Message, tag=132, frozen=True):
    """Worker to program: tell me when `count` of these promises have an outcome, and which. Its call does nothing until
    then. `not_in`: what lies in that store is none, as it could not be had from there; 0: it is."""

    number: int
    promises: list[int]
    count: int
    not_in: StoreId = StoreId(0)


class PromiseOutcome(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What became of a promise. `payload`: by its kind; of STORED an encoded `StoredResult` whose `named` and `foreign`
    objects are those that the value needs. `item`: of the value that is meant, or -1. `cause`: the name of the call
    whose error it is, if it is another's."""

    kind: int
    payload: bytes
    item: int = -1
    cause: str = ""


class PromisesTold(Message, tag=133, frozen=True):
    """Program to worker: those of the request that have an outcome, by their position in it, and their outcomes."""

    number: int
    ready: list[int]
    outcomes: list[PromiseOutcome] = msgspec.field(default_factory=list)


class CancelPromises(Message, tag=141, frozen=True):
    """Worker to program: the calls of these promises are not wanted. `force`: end the workers that run them.
    `recursive`: nor are those that they have started."""

    promises: list[int]
    force: bool
    recursive: bool


class KeepPromises(Message, tag=134, frozen=True):
    """Worker to program: I have refs to these promises beyond the call, and no more to those that are `dropped`.
    `written_to`: up to where my ring was written then; results that are in it may name what is dropped."""

    kept: list[int]
    dropped: list[int]
    written_to: int = 0


class ForgetRequest(Message, tag=135, frozen=True):
    """Worker to program: nobody waits for the answer to this request any more. It may be on its way."""

    number: int


class WaitsFor(Message, tag=220, frozen=True):
    """Worker to program: my call does nothing until this request is answered; or goes on (`is_so` False), and wants the
    answer all the same."""

    number: int
    is_so: bool


class AwaitItem(Message, tag=191, frozen=True):
    """Worker to program: tell me item `place` of this stream when it is there. Those before it I have. Its call does
    nothing until then, unless it is asked for `ahead`."""

    number: int
    stream: int
    place: int
    ahead: bool = False


class ItemTold(Message, tag=192, frozen=True):
    """Program to worker: the number of the item's promise, which you keep, and its outcome; without one, there is no
    such item, and none will come."""

    number: int
    promise: int = 0
    outcome: PromiseOutcome | None = None


class AwaitTaken(Message, tag=193, frozen=True):
    """Worker to program: tell me when `count` items of this stream were taken. Its call does nothing until then."""

    number: int
    stream: int
    count: int


class TakenTold(Message, tag=194, frozen=True):
    """Program to worker: so many were taken by now; below 0: nobody takes any more, and the call may end."""

    number: int
    count: int


class RequestRefused(Message, tag=136, frozen=True):
    """Program to worker: the request is not served, and why. `failure`: an encoded `RemoteFailure`."""

    number: int
    failure: bytes


class PutValue(Message, tag=206, frozen=True):
    """Worker to program: this is the value of a promise that I have made up, and keep: it has refs of tasks in it.
    `value`: as a STORED result is told."""

    promise: int
    value: bytes


class StartActor(Message, tag=200, frozen=True):
    """Worker to program: start an actor, or have the one of its name; answered with what a handle knows of it.
    `actor`: the number of a promise that is to stand for it, and which this worker keeps. `plan`: the pickled plan of
    its class and its options. `kind`, `call`, `needed`: its constructor's call, as of SubmitTask."""

    number: int
    actor: int
    plan: bytes
    kind: int
    call: bytes
    needed: list[int]


class FindActor(Message, tag=201, frozen=True):
    """Worker to program: have the promise `actor`, which this worker keeps, stand for the actor of this name, or
    without one for that which the worker is. Answered like StartActor."""

    number: int
    actor: int
    name: str
    namespace: str


class Answer(Message, tag=202, frozen=True):
    """Program to worker: the answer to a request, pickled."""

    number: int
    pickled: bytes


class KillActor(Message, tag=203, frozen=True):
    """Worker to program: end the actor that this promise stands for, or with `may_restart` only its worker."""

    actor: int
    may_restart: bool


class ListActors(Message, tag=204, frozen=True):
    """Worker to program: which actors have names? Answered with the program's own namespace, and
    (namespace, name) of each."""

    number: int


class PlacesWish(IntEnum):
    """What a worker wants of a placement group; answered with how it is then."""

    OPEN = 0
    """Open it, with the pickled `spec`: its bundles, and the name of its strategy."""
    LOOK = 1
    WAIT = 2
    """Answered when it has all its bundles, or never will."""
    CLOSE = 3


class AskPlaces(Message, tag=205, frozen=True):
    """Worker to program: see to a placement group. `group`: its number, which no other has; `wish`: a `PlacesWish`."""

    number: int
    group: int
    wish: int
    spec: bytes = b""


class AskStanding(Message, tag=207, frozen=True):
    """Worker to program: what am I? Answered with a `WorkerStanding`."""

    number: int


class AskCall(Message, tag=209, frozen=True):
    """Worker to program: which call do I run? Answered with the number of its first promise, and its name; 0: of none.
    `written_to`: up to where my ring is written, with the results of those before it."""

    number: int
    written_to: int


class AskCluster(Message, tag=208, frozen=True):
    """Worker to program: what is there, and what of it is free? Answered with a `StatusTold`."""

    number: int


class WorkerStanding(msgspec.Struct, array_like=True, frozen=True):
    """What the program knows of one of its workers. `lease`: its number. `node`: where it is, if elsewhere. `shape`:
    what it was given; `group`: in this placement group, pickled. `actor`: the number of the actor that it is; 0: none.
    `restarts`: how often that was started again."""

    lease: LeaseId
    node: str
    shape: Shape
    group: bytes = b""
    actor: int = 0
    name: str = ""
    namespace: str = ""
    restarts: int = 0


UP_MESSAGES = (
    SubmitTask
    | AwaitPromises
    | KeepPromises
    | CancelPromises
    | ForgetRequest
    | WaitsFor
    | AwaitItem
    | AwaitTaken
    | PutValue
    | StartActor
    | FindActor
    | KillActor
    | ListActors
    | AskPlaces
    | AskStanding
    | AskCluster
    | AskCall
)
DOWN_MESSAGES = PromisesTold | RequestRefused | Answer | ItemTold | TakenTold
