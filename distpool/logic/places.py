"""A placement group as its program sees it: whether it has its bundles, and where."""

from __future__ import annotations

from collections.abc import Callable

from distpool.ids import HEAD, NodeId
from distpool.logic.outbox import Outbox
from distpool.protocol.placing import ClosePlaces, OpenPlaces, PlacesTold


class OwnPlaces:
    """`told` is called at rest with each change, by whoever holds the loop."""

    def __init__(self, opening: OpenPlaces, told: Callable[[], None]) -> None:
        self.opening = opening
        self.nodes: list[NodeId] = []
        """Of the bundles; empty while not all have a place."""
        self.why = ""
        """Why not, in words."""
        self.is_refused = False
        self.is_closed = False
        self._told = told

    def waits(self) -> bool:
        """For room that others may have."""
        return not (self.nodes or self.is_refused or self.is_closed)

    def open(self, outbox: Outbox) -> None:
        """Also to a head that has forgotten it."""
        if not self.is_refused:
            outbox.put(HEAD, self.opening)

    def close(self, outbox: Outbox) -> None:
        if not self.is_closed:
            self.is_closed = True
            outbox.put(HEAD, ClosePlaces(self.opening.group))
            outbox.tell(self._told)

    def hear(self, message: PlacesTold, outbox: Outbox) -> None:
        self.nodes, self.why, self.is_refused = message.nodes, message.why, message.is_refused
        outbox.tell(self._told)
