"""What clients and heads tell each other of leases beyond asking for them and granting them."""

from __future__ import annotations

import msgspec

from distpool.ids import GroupId, LeaseId
from distpool.protocol.messages import Message


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
