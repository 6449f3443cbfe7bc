"""Where the bundles of a placement group are put: together, by their strategy, or nowhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import msgspec

from distpool.ids import LeaseId, NodeId
from distpool.logic.reservations import missing, sum_of
from distpool.logic.resources import Room
from distpool.protocol.placing import BundleStrategy
from distpool.protocol.resources import Shape

MayTake = Callable[[Room, Shape], bool]
Found = tuple[Room, tuple[int, ...]]
"""(where a bundle is, which devices it has there)"""


class Bundle(msgspec.Struct):
    """`node`: where it is; empty while it is nowhere. `devices`: their positions there."""

    shape: Shape
    lease: LeaseId
    node: NodeId = NodeId("")
    devices: tuple[int, ...] = ()


def plan(
    rooms: Sequence[Room],
    bundles: Sequence[Bundle],
    strategy: int,
    there: Sequence[NodeId],
    may_take: MayTake | None = None,
) -> list[Found] | None:
    """Take room for all of the bundles, each under its lease; None: not all fit, and nothing is taken. `there`: nodes
    that have others of their group."""
    if strategy == BundleStrategy.STRICT_PACK:
        for room in sorted(rooms, key=lambda one: one.name):
            if set(there) <= {room.name} and (found := _take([room], bundles, strategy, there, may_take)) is not None:
                return found
        return None
    return _take(rooms, bundles, strategy, there, may_take)


def _take(
    rooms: Sequence[Room],
    bundles: Sequence[Bundle],
    strategy: int,
    there: Sequence[NodeId],
    may_take: MayTake | None,
) -> list[Found] | None:
    used = set(map(str, there))
    found: dict[LeaseId, Found] = {}
    for bundle in _largest_first(bundles):
        taken = _take_one(rooms, bundle, strategy, used, may_take)
        if taken is None:
            _give_back(found)
            return None
        found[bundle.lease] = taken
        used.add(taken[0].name)
    return [found[bundle.lease] for bundle in bundles]


def _take_one(
    rooms: Sequence[Room], bundle: Bundle, strategy: int, used: set[str], may_take: MayTake | None
) -> Found | None:
    spreads = strategy in (BundleStrategy.SPREAD, BundleStrategy.STRICT_SPREAD)
    shape = bundle.shape
    fitting = [room for room in rooms if room.seems_to_fit(shape) and (may_take is None or may_take(room, shape))]
    if strategy == BundleStrategy.STRICT_SPREAD:
        fitting = [room for room in fitting if room.name not in used]
    for room in sorted(fitting, key=lambda one: ((one.name in used) == spreads, one.rank(shape), one.name)):
        devices = room.take(bundle.lease, shape)
        if devices is not None:
            return room, devices
    return None


def targets(
    rooms: Sequence[Room],
    bundles: Sequence[Bundle],
    strategy: int,
    there: Sequence[NodeId],
    nodes: Collection[NodeId],
) -> list[Room] | None:
    """Where each of the bundles is to be, of these nodes, when those who have something there now are done: where the
    least is missing. Nothing is taken. None: they do not fit even then."""
    usable = [room for room in rooms if room.name in nodes]
    if strategy != BundleStrategy.STRICT_PACK:
        return _targets(usable, bundles, strategy, there)
    whole = sum_of(bundle.shape for bundle in bundles)
    for room in sorted(usable, key=lambda one: (missing(one, whole), one.name)):
        if set(there) <= {room.name} and (found := _targets([room], bundles, strategy, there)) is not None:
            return found
    return None


def _targets(
    rooms: Sequence[Room], bundles: Sequence[Bundle], strategy: int, there: Sequence[NodeId]
) -> list[Room] | None:
    spreads = strategy in (BundleStrategy.SPREAD, BundleStrategy.STRICT_SPREAD)
    used = set(map(str, there))
    # As if nobody else had anything.
    empty = {room.name: Room(room.name, room.offer) for room in rooms}
    given: dict[str, list[Shape]] = {room.name: [] for room in rooms}
    found: dict[LeaseId, Room] = {}
    for bundle in _largest_first(bundles):
        shape = bundle.shape
        ranked = sorted(
            (missing(room, sum_of([*given[room.name], shape])), (room.name in used) == spreads, at)
            for at, room in enumerate(rooms)
            if not (strategy == BundleStrategy.STRICT_SPREAD and room.name in used)
        )
        chosen = next((rooms[at] for *_, at in ranked if _fits(empty[rooms[at].name], bundle)), None)
        if chosen is None:
            return None
        given[chosen.name].append(shape)
        used.add(chosen.name)
        found[bundle.lease] = chosen
    return [found[bundle.lease] for bundle in bundles]


def _fits(room: Room, bundle: Bundle) -> bool:
    return room.take(bundle.lease, bundle.shape) is not None


def take_there(bundles: Sequence[Bundle], rooms: Sequence[Room]) -> list[Found] | None:
    """Take room for each of the bundles in its room; None: not all fit, and nothing is taken."""
    found: dict[LeaseId, Found] = {}
    for bundle, room in zip(bundles, rooms, strict=True):
        devices = room.take(bundle.lease, bundle.shape)
        if devices is None:
            _give_back(found)
            return None
        found[bundle.lease] = room, devices
    return list(found.values())


def _largest_first(bundles: Sequence[Bundle]) -> list[Bundle]:
    """What is left over then is enough for small ones."""
    return sorted(bundles, key=lambda one: (-one.shape.gpus, -one.shape.cpus, -one.shape.memory_bytes))


def _give_back(found: dict[LeaseId, Found]) -> None:
    for lease, (room, _) in found.items():
        room.give_back(lease)
