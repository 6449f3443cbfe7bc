"""What clients and heads tell each other of leases beyond asking for them and granting them."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from distpool.ids import GroupId, LeaseId, NodeId
from distpool.protocol.messages import Message
from distpool.protocol.resources import Shape


class BundleStrategy(IntEnum):
    """On which nodes the bundles of a placement group are, compared with each other."""

    PACK = 0
    """On as few as can be."""
    SPREAD = 1
    """On as many as can be."""
    STRICT_PACK = 2
    """On one."""
    STRICT_SPREAD = 3
    """Each on another."""


class LeaseWaits(Message, tag=140, frozen=True):
    """Client to head, head to the lease's node: its worker waits for others, or (`waits` false) goes on. Its CPUs are
    free meanwhile."""

    lease: LeaseId
    waits: bool


class RequestsRefused(Message, tag=160, frozen=True):
    """Head to client: no node can ever have what the group has asked for, and why, for people. None of it is waited
    for."""

    group: GroupId
    count: int
    text: str


class PendingFacts(msgspec.Struct, frozen=True):
    """Leases that a driver waits for. `shape`, `why`: in words. `waits_s`: since it asked for the first of them."""

    caller: str
    wanted: int
    shape: str
    waits_s: float
    why: str


class OpenPlaces(Message, tag=161, frozen=True):
    """Client to head: take room for all of these bundles. `group`: a number that no other has. `strategy`: a
    `BundleStrategy`."""

    group: int
    bundles: list[Shape]
    strategy: int


class PlacesTold(Message, tag=162, frozen=True):
    """Head to client: the group has all its bundles, on these nodes; or why not yet, or not any more. `is_refused`: it
    never will, and is none."""

    group: int
    nodes: list[NodeId]
    why: str = ""
    is_refused: bool = False


class ClosePlaces(Message, tag=163, frozen=True):
    """Client to head: end the group, and the leases in it."""

    group: int
