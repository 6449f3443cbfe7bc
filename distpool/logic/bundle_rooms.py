"""Bundles of placement groups as rooms of their own: what leases in them take is no more than what the bundle has."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from distpool.ids import LeaseId, NodeId
from distpool.logic.resources import Room
from distpool.protocol.devices import Device
from distpool.protocol.resources import UNIT, Claim, Offer, Shape

Place = tuple[int, int]
"""The number of a placement group, and of one of its bundles."""


class BundleRoom:
    """A bundle of a placement group as a room of its own. Positions of devices are the node's outside."""

    def __init__(self, node: NodeId, shape: Shape, devices: tuple[Device, ...], positions: tuple[int, ...]) -> None:
        self.node = node
        self._positions = positions
        offer = Offer(0, shape.memory_bytes, devices, shape.custom)
        self.room = Room(node, offer, shape.cpus)
        if 0 < shape.gpus < UNIT:
            self.room.hold_back(UNIT - shape.gpus)

    def take(self, lease: LeaseId, shape: Shape) -> tuple[int, ...] | None:
        devices = self.room.take(lease, shape_inside(shape))
        return None if devices is None else tuple(self._positions[at] for at in devices)

    def claim(self, claim: Claim) -> Claim:
        """As it is inside. Devices that are not the bundle's have no position, and nobody has them there."""
        devices = tuple(self._positions.index(at) if at in self._positions else -1 for at in claim.devices)
        return msgspec.structs.replace(claim, shape=shape_inside(claim.shape), devices=devices)


class BundleRooms:
    """Those that have a place."""

    def __init__(self) -> None:
        self._rooms: dict[Place, BundleRoom] = {}

    def add(self, place: Place, at: Room, shape: Shape, positions: tuple[int, ...]) -> None:
        """Room that was taken on a node is one of its own from now on."""
        devices = tuple(at.offer.devices[position] for position in positions)
        self._rooms[place] = BundleRoom(NodeId(at.name), shape, devices, positions)

    def remove(self, place: Place) -> bool:
        """If nothing is in it: whether it is gone."""
        bundle = self._rooms.get(place)
        if bundle is not None and bundle.room.held:
            return False
        self._rooms.pop(place, None)
        return True

    def lose_node(self, node: NodeId) -> None:
        self._rooms = {place: bundle for place, bundle in self._rooms.items() if bundle.node != node}

    def room(self, place: Place) -> Room:
        return self._rooms[place].room

    def of(self, group: int, number: int) -> Iterator[tuple[Place, BundleRoom]]:
        """The bundle of this number, or all of them (-1)."""
        for place, bundle in self._rooms.items():
            if place[0] == group and number in (-1, place[1]):
                yield place, bundle


def shape_inside(shape: Shape) -> Shape:
    """Where it is is decided by the bundle alone."""
    return msgspec.structs.replace(shape, place=None, labels=(), node="")
