"""Which roles run in which process. A role elsewhere is a stand-in with the same interface, so the loop cannot tell."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from distpool.ids import HEAD, NODE, Address
from distpool.logic.outbox import Outbox
from distpool.roles.head import HeadRole
from distpool.transport.sockets import Connection, Listener


class RemoteHead:
    """The head of another process, as the node and the client of this one see it."""

    def __init__(self, endpoint: str, name: str) -> None:
        self.outbox = Outbox()
        self._link = Connection(endpoint, name)

    def fileno(self) -> int:
        return self._link.fileno()

    def handle(self, sender: Address, message: Any, now: float) -> None:
        """Pass it on."""
        self._link.send(message)

    def decide(self, now: float) -> float | None:
        """What the head has said is for this process's node."""
        for message in self._link.receive():
            self.outbox.put(NODE, message)
        return None

    def close(self) -> None:
        self._link.close()


def serve_head(listener: Listener, is_over: Callable[[], bool], look_every_s: float) -> None:
    """Host a head until `is_over()`: each peer is a node, and a lease is granted to the one that asked for it."""
    head = HeadRole()
    while not is_over():
        for peer, message in listener.receive(look_every_s):
            head.handle(peer, message, time.monotonic())
            head.decide(time.monotonic())
            while head.outbox.messages:
                to, answer = head.outbox.messages.popleft()
                if to != NODE:
                    raise ValueError(f"the {HEAD} has nothing to say to {to!r}")
                listener.send(peer, answer)
