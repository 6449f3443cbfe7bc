"""Stand-ins for roles that other processes host: what the loop asks of them beyond what it asks of a role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from distpool.roles.role import Role


class StandIn(Role, Protocol):
    """Owned by whoever holds the loop."""

    def attach(self, watch: Callable[[int], None]) -> None:
        """`watch` is to be called with each descriptor that tells of news; edge-triggered."""
        ...

    def receive(self, now: float) -> None:
        """At the beginning of a turn: put what has come into the outbox."""
        ...

    def flush(self, now: float) -> float | None:
        """At the end of a turn: send what is due; when to be asked again."""
        ...

    def has_some(self) -> bool:
        """Before the loop sleeps: something has come of which the descriptors need not tell."""
        ...


class FarNodes(StandIn, Protocol):
    """The nodes of a cluster, in the place of a node role."""

    def pass_on(self, lease: Any, message: Any) -> None:
        """What the client says to a worker."""
        ...

    def obey(self, message: Any, now: float) -> None:
        """What the client says to its launcher."""
        ...


class Elsewhere(NamedTuple):
    """The roles that another process hosts: a driver's head and node, a node's head and client. `programs`: the other
    programs of a driver's cluster."""

    head: StandIn | None = None
    node: FarNodes | None = None
    client: StandIn | None = None
    programs: StandIn | None = None


ALL_HERE = Elsewhere()
