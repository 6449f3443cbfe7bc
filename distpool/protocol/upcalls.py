"""What a worker and its program say to each other by the worker's way up, and how a node passes it on.

A request has a number, under which it is answered once. A node does not read what it passes on.
"""

from __future__ import annotations

import msgspec

from distpool.ids import FunctionId
from distpool.protocol.messages import FunctionBlob, Message


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
    then."""

    number: int
    promises: list[int]
    count: int


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
    """Worker to program: I have refs to these promises beyond the call, and no more to those that are `dropped`."""

    kept: list[int]
    dropped: list[int]


class ForgetRequest(Message, tag=135, frozen=True):
    """Worker to program: nobody waits for the answer to this request any more. It may be on its way."""

    number: int


class AwaitItem(Message, tag=191, frozen=True):
    """Worker to program: tell me item `place` of this stream when it is there. Those before it I have. Its call does
    nothing until then."""

    number: int
    stream: int
    place: int


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


class UpSaid(Message, tag=138, frozen=True):
    """Node to driver: what the worker of a lease says to its program, a frame of the messages above."""

    frame: bytes


class DownSaid(Message, tag=139, frozen=True):
    """Driver to node: the same to the worker."""

    frame: bytes


UP_MESSAGES = SubmitTask | AwaitPromises | KeepPromises | CancelPromises | ForgetRequest | AwaitItem | AwaitTaken
DOWN_MESSAGES = PromisesTold | RequestRefused | ItemTold | TakenTold
