"""What clients and heads tell each other of leases beyond asking for them and granting them."""

from __future__ import annotations

from distpool.ids import LeaseId
from distpool.protocol.messages import Message


class LeaseWaits(Message, tag=140, frozen=True):
    """Client to head, head to the lease's node: its worker waits for others, or (`waits` false) goes on. Its CPUs are
    free meanwhile."""

    lease: LeaseId
    waits: bool
