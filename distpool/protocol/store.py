"""The messages between a worker and its node's store, and what is told of results that lie there."""

from __future__ import annotations

import msgspec

from distpool.ids import ObjectId, StoreId
from distpool.protocol.messages import Message


class StoredResult(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A result that is not all in its pickle. `made`: the objects that its worker has made for it, and that are the
    caller's from now on, and `sizes` the bytes of each; `named`: those that it names; `foreign`: the same, of other
    stores. `tasks`: the numbers of those tasks whose refs are in it."""

    pickled: bytes
    made: list[ObjectId]
    named: list[ObjectId]
    foreign: list[tuple[StoreId, ObjectId]] = []
    tasks: list[int] = []
    sizes: list[int] = []


class ReserveMemory(Message, tag=50, frozen=True):
    """Worker to store: memory for a new object, which the worker holds. `number`: of the request, for its answer."""

    number: int
    size: int


class MemoryReserved(Message, tag=51, frozen=True):
    """Store to worker: it is yours to write to. `warm`: bytes that have pages already."""

    number: int
    object: ObjectId
    offset: int
    warm: int


class HoldObjects(Message, tag=52, frozen=True):
    """Worker to store: I keep these. `in_memory`: and want to look at them now; fetch those that are on disk."""

    number: int
    objects: list[ObjectId]
    in_memory: bool


class ObjectsHeld(Message, tag=53, frozen=True):
    """Store to worker: you hold them, but for those that are gone."""

    number: int
    gone: list[ObjectId]


class NameObjects(Message, tag=54, frozen=True):
    """Worker to store: an object of mine names these others."""

    number: int
    object: ObjectId
    named: list[ObjectId]


class StoreRefused(Message, tag=55, frozen=True):
    """Store to worker: there is no room, and why."""

    number: int
    text: str


class DropObjects(Message, tag=56, frozen=True):
    """Worker to store: I hold these no more. `unwritten`: not all could be written that was to lie in them."""

    objects: list[ObjectId]
    unwritten: bool = False


class AskStoreStats(Message, tag=57, frozen=True):
    """Worker to store: how full are you?"""

    number: int


class StoreStatsTold(Message, tag=58, frozen=True):
    """Store to worker: the fields of `StoreStats`, in order."""

    number: int
    values: list[int]


class BringObjects(Message, tag=59, frozen=True):
    """Worker to store: I need these of another store; I hold them then."""

    number: int
    store: StoreId
    objects: list[ObjectId]


class ObjectsBrought(Message, tag=48, frozen=True):
    """Store to worker: they lie here, as (the id here, where in the memory). `failure`: or why not; empty places
    without one: they cannot be reached from here."""

    number: int
    places: list[tuple[ObjectId, int]]
    failure: str = ""


class KeepForeign(Message, tag=49, frozen=True):
    """Worker to store: I keep refs to these of other stores, and not any more to those that are `dropped`. Node to
    caller: the same, of the worker of a lease."""

    number: int
    kept: list[tuple[StoreId, ObjectId]]
    dropped: list[tuple[StoreId, ObjectId]]


STORE_MESSAGES = (
    ReserveMemory
    | MemoryReserved
    | HoldObjects
    | ObjectsHeld
    | NameObjects
    | StoreRefused
    | DropObjects
    | AskStoreStats
    | StoreStatsTold
    | BringObjects
    | ObjectsBrought
    | KeepForeign
)
