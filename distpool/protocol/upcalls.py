"""What a worker and its program say to each other by the worker's way up, and how a node passes it on.

A request has a number, under which it is answered once. A node does not read what it passes on.
"""

from __future__ import annotations

import msgspec

from distpool.ids import FunctionId
from distpool.protocol.messages import FunctionBlob, Message


class SubmitTask(Message, tag=137, frozen=True):
    """Worker to program: run this call. `promises`: the numbers of its values, which nobody else has. `blob`: of the
    function, the first time. `kind`, `call`: the pickled arguments, as a result would be told: VALUE or STORED.
    `needed`: promises whose values stand-ins in them are for. `returns`: how many values it has, -1: one. `options`: a
    pickle, for the program only."""

    promises: list[int]
    function: FunctionId
    blob: FunctionBlob | None
    kind: int
    call: bytes
    needed: list[int]
    depth: int
    returns: int = -1
    name: str = ""
    options: bytes = b""


class AwaitPromises(Message, tag=132, frozen=True):
    """Worker to program: tell me when `count` of these promises have an outcome, and if `fetch` also which. `waits`:
    the call that the worker runs does nothing until then."""

    number: int
    promises: list[int]
    count: int
    fetch: bool = True
    waits: bool = True


class PromisesTold(Message, tag=133, frozen=True):
    """Program to worker: those of the request that have an outcome, by their position in it; and if they were to be
    fetched, their outcomes, as (OutcomeKind, payload)."""

    number: int
    ready: list[int]
    outcomes: list[tuple[int, bytes]] = msgspec.field(default_factory=list)


class KeepPromises(Message, tag=134, frozen=True):
    """Worker to program: I have refs to these promises beyond the call, and no more to those that are `dropped`."""

    kept: list[int]
    dropped: list[int]


class ForgetRequest(Message, tag=135, frozen=True):
    """Worker to program: nobody waits for the answer to this request any more. It may be on its way."""

    number: int


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


UP_MESSAGES = SubmitTask | AwaitPromises | KeepPromises | ForgetRequest
DOWN_MESSAGES = PromisesTold | RequestRefused
