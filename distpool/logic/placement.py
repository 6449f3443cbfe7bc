"""Which node gets a lease, and which of its devices: nodes by what they have, leases by where they are.

Packed, a lease goes to the node that has the least left of what it needs, so that others stay free for what needs a
whole one; spread, to the one with the least of its CPUs in use. Of equals the first by name gets it. Who goes first is
decided elsewhere (`waiting`), as is what is held free for whom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from distpool.ids import LeaseId, NodeId
from distpool.logic.bundle_rooms import BundleRooms, shape_inside
from distpool.logic.ranking import Changes, Ranking
from distpool.logic.resources import Room
from distpool.protocol.resources import Claim, Offer, Shape

_RANKINGS_LIMIT = 256

MayTake = Callable[[Room, Shape], bool]
"""Whether a lease may go to this node, as far as others are concerned for whom something is held free there."""


class Placed(NamedTuple):
    """Where a lease is, and the positions of its devices there."""

    node: NodeId
    devices: tuple[int, ...]


class Placement:
    """The nodes, and where each lease is."""

    def __init__(self) -> None:
        self.rooms: dict[NodeId, Room] = {}
        self.changes = Changes()
        self._open: dict[NodeId, Room] = {}
        self._leases: dict[LeaseId, NodeId] = {}
        # Leases that are not, or not any more, and whose workers the node has yet to end: each takes what it had until
        # then.
        self._ending: dict[NodeId, dict[LeaseId, Room]] = {}
        self.bundles = BundleRooms()
        # Leases that are in a bundle, and in which.
        self._inside: dict[LeaseId, tuple[int, int]] = {}
        self._rankings: dict[Shape, Ranking] = {}

    # Nodes ----------------------------------------------------------------------------------------------------------

    def add_node(self, node: NodeId, offer: Offer) -> None:
        """One that is there already keeps its leases, and gets no more while it is drained."""
        before = self.rooms.get(node)
        is_draining = self.is_draining(node)
        room = self.rooms[node] = Room(node, offer)
        if before is not None:
            for lease, taken in before.held.items():
                room.restore(Claim(lease, 0, taken.shape, taken.devices, taken.waits))
        if not is_draining:
            self._open[node] = room
        self.changes.note(node)

    def remove_node(self, node: NodeId) -> list[LeaseId]:
        """The node is lost: the leases that were on it."""
        self.rooms.pop(node, None)
        self._open.pop(node, None)
        self._ending.pop(node, None)
        self.changes.forget(node)
        lost = [lease for lease, where in self._leases.items() if where == node]
        for lease in lost:
            del self._leases[lease]
            self._inside.pop(lease, None)
        self.bundles.lose_node(node)
        return lost

    def drain(self, node: NodeId) -> None:
        """It keeps its leases, and gets no more."""
        self._open.pop(node, None)
        self.changes.number += 1

    def is_draining(self, node: NodeId) -> bool:
        return node in self.rooms and node not in self._open

    def open_rooms(self) -> Iterable[Room]:
        """Of the nodes that get leases."""
        return self._open.values()

    def cpus(self) -> int:
        """Whole ones, of all nodes that get leases."""
        return sum(max(1, room.offer.cpus) for room in self._open.values())

    def could_ever(self, shape: Shape) -> bool:
        """Some node has it, in use or not."""
        return any(room.could_ever(shape) for room in self.rooms.values())

    # Leases ---------------------------------------------------------------------------------------------------------

    def node_of(self, lease: LeaseId) -> NodeId | None:
        """None when it is over."""
        return self._leases.get(lease)

    def leases(self) -> Iterable[LeaseId]:
        return self._leases

    def leases_on(self, node: NodeId) -> int:
        return sum(where == node for where in self._leases.values())

    def place(self, lease: LeaseId, shape: Shape, may_take: MayTake | None = None) -> Placed | None:
        """Choose a node, and remember it. None: no node has room for it now, or its bundle has not."""
        if shape.place is not None:
            return self._place_inside(lease, shape, *shape.place)
        if shape.node:
            placed = self._place_on(self._open.get(NodeId(shape.node)), lease, shape, may_take)
            if placed is not None or not shape.is_soft:
                return placed
            shape = msgspec.structs.replace(shape, node="", is_soft=False)
        ranking = self._ranking(shape)
        ranking.catch_up(self._open, self.changes)
        passed_over = []
        placed = None
        while placed is None and (entry := ranking.pop(self._open, self.changes)) is not None:
            room = self._open[entry[1]]
            if may_take is not None and not may_take(room, shape):
                passed_over.append(entry)
            else:
                placed = self._place_on(room, lease, shape, None)
        for entry in passed_over:
            ranking.put_back(entry)
        return placed

    def _place_on(self, room: Room | None, lease: LeaseId, shape: Shape, may_take: MayTake | None) -> Placed | None:
        if room is None or (may_take is not None and not may_take(room, shape)):
            return None
        devices = room.take(lease, shape)
        if devices is None:
            return None
        node = NodeId(room.name)
        self._leases[lease] = node
        self.changes.note(node)
        return Placed(node, devices)

    def _place_inside(self, lease: LeaseId, shape: Shape, group: int, number: int) -> Placed | None:
        for place, bundle in self.bundles.of(group, number):
            devices = bundle.take(lease, shape)
            if devices is not None:
                self._leases[lease] = bundle.node
                self._inside[lease] = place
                self.changes.note(bundle.node)
                return Placed(bundle.node, devices)
        return None

    def _ranking(self, shape: Shape) -> Ranking:
        ranking = self._rankings.pop(shape, None)
        if ranking is None:
            ranking = Ranking(shape)
            while len(self._rankings) >= _RANKINGS_LIMIT:
                del self._rankings[next(iter(self._rankings))]
        self._rankings[shape] = ranking  # the one that was used last stands last
        return ranking

    def can_restore(self, claim: Claim, node: NodeId) -> bool:
        """It is there, and nobody else has it."""
        room, claim, _ = self._where(claim, node)
        return room.can_restore(claim)

    def restore(self, claim: Claim, node: NodeId) -> None:
        """A lease that the node has already. Said twice, it changes nothing."""
        if claim.lease in self._leases:
            return
        room, inner, place = self._where(claim, node)
        self._leases[claim.lease] = node
        if place is not None:
            self._inside[claim.lease] = place
        room.restore(inner)
        self.changes.note(node)

    def _where(self, claim: Claim, node: NodeId) -> tuple[Room, Claim, tuple[int, int] | None]:
        """The room that a claim is about, and the claim as it is there: a bundle of the node, or the node."""
        if claim.shape.place is not None:
            for place, bundle in self.bundles.of(*claim.shape.place):
                inner = bundle.claim(claim)
                if bundle.node == node and bundle.room.can_restore(inner):
                    return bundle.room, inner, place
        return self.rooms[node], msgspec.structs.replace(claim, shape=shape_inside(claim.shape)), None

    def place_of(self, lease: LeaseId) -> tuple[int, int] | None:
        """The bundle that it is in."""
        return self._inside.get(lease)

    def free(self, lease: LeaseId) -> None:
        """The lease is over. Said twice, it changes nothing."""
        node = self._leases.pop(lease, None)
        if node is not None:
            self._room_of(lease, node).give_back(lease)
            self._inside.pop(lease, None)
            self.changes.note(node)

    def _room_of(self, lease: LeaseId, node: NodeId) -> Room:
        place = self._inside.get(lease)
        return self.rooms[node] if place is None else self.bundles.room(place)

    def wait(self, lease: LeaseId, *, waits: bool) -> None:
        """Its worker waits for others, and its CPUs are free meanwhile."""
        node = self._leases.get(lease)
        if node is not None and self._room_of(lease, node).wait(lease, waits=waits):
            self.changes.note(node)

    def await_end(self, claim: Claim, node: NodeId) -> None:
        """The node is told to end what it has by this lease, which is none: until then that takes what it had."""
        ending = self._ending.setdefault(node, {})
        if claim.lease not in ending:
            room, inner, _ = self._where(claim, node)
            ending[claim.lease] = room
            room.restore(inner)
            self.changes.note(node)

    def has_ended(self, lease: LeaseId, node: NodeId) -> bool:
        """Whether that was awaited; it is not any more."""
        room = self._ending.get(node, {}).pop(lease, None)
        if room is None:
            return False
        room.give_back(lease)
        self.changes.note(node)
        return True
