"""Nodes that are or were there, and may come back: whether one of them could ever have what is asked for."""

from __future__ import annotations

from collections.abc import Mapping

from distpool.ids import NodeId
from distpool.logic.recovery import offer_of
from distpool.logic.resources import Room
from distpool.protocol.records import NodeKept
from distpool.protocol.resources import Offer, Shape

_LIMIT = 1_000


class KnownNodes:
    """By their names. `away`: those that were there before this head was started."""

    def __init__(self, away: Mapping[NodeId, NodeKept]) -> None:
        self._away = away
        # Those that have registered last stand last.
        self._seen: dict[NodeId, Offer] = {}

    def add(self, node: NodeId, offer: Offer) -> None:
        self._seen.pop(node, None)
        self._seen[node] = offer
        if len(self._seen) > _LIMIT:
            del self._seen[next(iter(self._seen))]

    def offers(self) -> list[tuple[str, Offer]]:
        """By name."""
        away = {node.node: offer_of(node) for node in self._away.values()}
        return sorted({**self._seen, **away}.items(), key=lambda known: known[0])

    def could_ever(self, shape: Shape) -> bool:
        """Also when none has joined yet: then one may that has it."""
        offers = self.offers()
        return not offers or any(Room(name, offer).could_ever(shape) for name, offer in offers)
