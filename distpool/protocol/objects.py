"""The messages between a program and a node about objects of their stores: who keeps which, and who wants to ask."""

from __future__ import annotations

from distpool.ids import Key, LeaseId, ObjectId, StoreId
from distpool.protocol.messages import Message


class WantTransfers(Message, tag=110, frozen=True):
    """Node to driver: connect to where I can be asked for objects, as I want to ask you."""


class BringSoon(Message, tag=116, frozen=True):
    """Driver to node: calls that come need these, as (store, object, bytes). Bring them here, if there is room; nobody
    waits for them yet."""

    objects: list[tuple[StoreId, ObjectId, int]]


class ReleaseObjects(Message, tag=111, frozen=True):
    """Driver to node: I keep these objects of your store no more, as (object, how often I was told of it)."""

    objects: list[tuple[ObjectId, int]]


class ForgetObjects(Message, tag=112, frozen=True):
    """Driver to node: these objects of a store elsewhere are not used any more."""

    store: StoreId
    objects: list[ObjectId]


class ForeignKept(Message, tag=113, frozen=True):
    """Node to driver: the worker of the lease keeps refs to these of other stores, and no more to those that are
    `dropped`."""

    lease: LeaseId
    kept: list[Key]
    dropped: list[Key]
