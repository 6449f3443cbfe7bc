"""Placement groups: bundles of resources that are taken together, on nodes that suit each other, for leases in there.

A bundle takes its part of a node under a lease id of its own, which no worker has, and is a room itself. A group has
all of its bundles or none; one that has lost some with a node waits until they have a place again. A group that was
removed keeps each bundle until the last lease in it is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import msgspec

from distpool.ids import LeaseId, NodeId
from distpool.logic.bundle_plans import Bundle, Found, plan, take_there, targets
from distpool.logic.placement import Placement
from distpool.logic.reservations import PATIENCE, Patience, Reservations, compete, sum_of
from distpool.logic.resources import Room, shape_text
from distpool.protocol.records import BundleKept, PlacesForgotten, PlacesKept, Record
from distpool.protocol.resources import Claim, Offer, Shape


class Places(msgspec.Struct, eq=False):
    """A placement group. `life`: of its caller's process. `is_told`: of its state now. `is_ending`: it was removed, and
    ends with the last lease in it. `passed`: how many leases were given while it waited that took what it needs."""

    id: int
    life: int
    strategy: int
    bundles: list[Bundle]
    is_told: bool = False
    is_ending: bool = False
    passed: int = 0
    passed_since: float = 0.0
    is_impatient: bool = False

    def is_ready(self) -> bool:
        return all(bundle.node for bundle in self.bundles)

    def missing(self) -> list[Bundle]:
        """Those that are nowhere."""
        return [bundle for bundle in self.bundles if not bundle.node]

    def there(self) -> list[NodeId]:
        """Where the others are."""
        return [bundle.node for bundle in self.bundles if bundle.node]


class PlacementGroups:
    """Of one head."""

    def __init__(
        self,
        placement: Placement,
        kept: Sequence[PlacesKept],
        reservations: Reservations | None = None,
        patience: Patience = PATIENCE,
    ) -> None:
        """`kept`: by the head before; their bundles come back with their nodes. `reservations`: which others have
        too."""
        self._placement = placement
        self._reservations = Reservations() if reservations is None else reservations
        self._patience = patience
        self._groups: dict[int, Places] = {}
        # Bundles whose nodes have not come back to this head yet.
        self._away: dict[tuple[int, int], BundleKept] = {}
        self._tried_at = -1
        for group in kept:
            bundles = [Bundle(bundle.shape, bundle.lease) for bundle in group.bundles]
            self._groups[group.group] = Places(group.group, group.life, group.strategy, bundles)
            self._away |= {(group.group, at): bundle for at, bundle in enumerate(group.bundles) if bundle.node}

    def __iter__(self) -> Iterator[Places]:
        return iter(self._groups.values())

    def find(self, group: int) -> Places | None:
        """None: there is none of that number, or it was removed."""
        found = self._groups.get(group)
        return None if found is None or found.is_ending else found

    def __bool__(self) -> bool:
        return bool(self._groups)

    def refusal(self, shape: Shape, place: tuple[int, int]) -> str:
        """Why a lease cannot be in this place, ever; empty when it can."""
        group = self.find(place[0])
        if group is None:
            return REMOVED
        bundles = group.bundles if place[1] < 0 else group.bundles[place[1] : place[1] + 1]
        if any(_is_within(shape, bundle.shape) for bundle in bundles):
            return ""
        which = "no bundle" if place[1] < 0 else f"bundle {place[1]}"
        has = "; ".join(shape_text(bundle.shape) for bundle in bundles) or "nothing, as there is none of that number"
        needs = shape_text(msgspec.structs.replace(shape, place=None))
        return f"{which} of the placement group has what one worker needs, {needs}: there is {has}"

    def why_it_waits(self, place: tuple[int, int]) -> str:
        """A lease that is to be there."""
        group = self.find(place[0])
        if group is None or not group.is_ready():
            return "its placement group waits for a place itself"
        return (
            f"bundle {place[1]} of its placement group is in use" if place[1] >= 0 else "its placement group is in use"
        )

    def could_ever(self, offers: Sequence[tuple[str, Offer]], shapes: Sequence[Shape], strategy: int) -> bool:
        """On these nodes, if nobody else had anything."""
        bundles = [Bundle(shape, LeaseId(number + 1)) for number, shape in enumerate(shapes)]
        return plan([Room(name, offer) for name, offer in offers], bundles, strategy, []) is not None

    def open(self, group: int, life: int, strategy: int, shapes: Sequence[Shape], leases: Iterator[int]) -> None:
        """Said twice, its state is told once more."""
        if group in self._groups:
            self._groups[group].is_told = False
            return
        bundles = [Bundle(shape, LeaseId(next(leases))) for shape in shapes]
        self._groups[group] = Places(group, life, strategy, bundles)
        self._tried_at = -1

    def place_waiting(self, taken: Callable[[Shape, NodeId], None] | None = None) -> list[Record]:
        """Those that fit now, the oldest first: what is to be kept. `taken` is told of each bundle, and its node."""
        if self._tried_at == self._changes():
            return []
        records: list[Record] = []
        for group in self._groups.values():
            if not self._waits(group):
                continue
            wanted = group.missing()
            found = self._found(group, wanted)
            if found is None:
                if group.is_impatient:
                    self._hold(group)
                continue
            self._reservations.let_go(group)
            group.passed, group.is_impatient = 0, False
            numbers = {bundle.lease: at for at, bundle in enumerate(group.bundles)}
            for bundle, (room, devices) in zip(wanted, found, strict=True):
                bundle.node, bundle.devices = NodeId(room.name), devices
                self._placement.bundles.add((group.id, numbers[bundle.lease]), room, bundle.shape, devices)
                self._placement.changes.note(bundle.node)
                if taken is not None:
                    taken(bundle.shape, bundle.node)
            group.is_told = False
            records.append(_kept(group))
        self._tried_at = self._changes()
        return records

    def _changes(self) -> int:
        """How often nodes or reservations have changed so that something may fit which did not."""
        return self._placement.changes.number + self._reservations.released

    def _waits(self, group: Places) -> bool:
        """It has bundles that are nowhere, and do not come back with their nodes."""
        if group.is_ending or group.is_ready():
            return False
        return not any((group.id, at) in self._away for at, bundle in enumerate(group.bundles) if not bundle.node)

    def _found(self, group: Places, wanted: Sequence[Bundle]) -> list[Found] | None:
        """Room that was taken for all of these; None: nothing was."""
        rooms = list(self._placement.open_rooms())
        held = self._reservations.held_for(group)
        if held:
            # Where it is held, as it was thought out: another order of the same bundles may leave one without a place.
            target = targets(rooms, wanted, group.strategy, group.there(), held)
            found = None if target is None else take_there(wanted, target)
            if found is not None:
                return found
        return plan(rooms, wanted, group.strategy, group.there(), partial(self._reservations.may_take, group))

    # Patience -------------------------------------------------------------------------------------------------------

    def passed_by(self, shape: Shape, node: NodeId, now: float) -> None:
        """A lease of this shape was given, beside all groups: some may have waited for what it took."""
        if shape.place is not None:
            return
        room = self._placement.rooms[node]
        for group in self._groups.values():
            wanted = group.missing()
            if not any(compete(bundle.shape, shape) and room.could_ever(bundle.shape) for bundle in wanted):
                continue
            if not self._waits(group):
                continue
            if not group.passed:
                group.passed_since = now
            group.passed += 1
            waited_s = now - group.passed_since
            if not group.is_impatient and (group.passed >= self._patience.passes or waited_s >= self._patience.wait_s):
                group.is_impatient = True
                self._hold(group)

    def _hold(self, group: Places) -> None:
        """The nodes for it where the least is missing, if others leave it enough."""
        rooms = list(self._placement.open_rooms())
        self._reservations.keep_only([NodeId(room.name) for room in rooms])
        nodes = [node for room in rooms if self._reservations.is_open_to(group, node := NodeId(room.name))]
        target = targets(rooms, group.missing(), group.strategy, group.there(), nodes)
        if target is None:
            return  # those that are held for others come free before
        needed: dict[NodeId, list[Shape]] = {}
        for bundle, room in zip(group.missing(), target, strict=True):
            needed.setdefault(NodeId(room.name), []).append(bundle.shape)
        self._reservations.hold(group, {node: sum_of(shapes) for node, shapes in needed.items()})

    def to_be_told(self) -> list[Places]:
        """Those whose callers do not know how they are now. What may come back with its node is not lost."""
        away = {number for number, _ in self._away}
        told = [group for group in self if not (group.is_told or group.is_ending or group.id in away)]
        for group in told:
            group.is_told = True
        return told

    def node_came(self, node: NodeId) -> None:
        """To a head that is new: the bundles that it had are its own, before any lease is."""
        for (group, at), kept in [pair for pair in self._away.items() if pair[1].node == node]:
            del self._away[group, at]
            bundle = self._groups[group].bundles[at]
            claim = Claim(bundle.lease, 0, bundle.shape, kept.devices)
            room = self._placement.rooms[node]
            if room.can_restore(claim):
                bundle.node, bundle.devices = node, kept.devices
                room.restore(claim)
                self._placement.bundles.add((group, at), room, bundle.shape, kept.devices)
                self._placement.changes.note(node)

    def forget_away(self, lives: Iterable[int]) -> list[Record]:
        """Nodes that have not come back will not, nor will callers: `lives` are of those that are there."""
        self._away.clear()
        self._tried_at = -1
        there = set(lives)
        return [record for group in list(self) if group.life not in there for record in self.remove(group.id)]

    def lose_node(self, node: NodeId) -> list[Record]:
        """Its bundles are nowhere."""
        records: list[Record] = []
        for group in list(self._groups.values()):
            lost = [bundle for bundle in group.bundles if bundle.node == node]
            for bundle in lost:
                bundle.node, bundle.devices = NodeId(""), ()
            if lost:
                group.is_told = False
                records += self._end_if_over(group) if group.is_ending else [_kept(group)]
        return records

    def remove(self, group_id: int) -> list[Record]:
        """Whoever calls this ends the leases in it. Said twice, it changes nothing."""
        group = self._groups.get(group_id)
        if group is None:
            return []
        group.is_ending = True
        self._reservations.let_go(group)
        return self._end_if_over(group)

    def lease_ended(self, place: tuple[int, int] | None) -> list[Record]:
        """Perhaps the last one of a group that was removed."""
        group = None if place is None else self._groups.get(place[0])
        return [] if group is None or not group.is_ending else self._end_if_over(group)

    def _end_if_over(self, group: Places) -> list[Record]:
        for at, bundle in enumerate(group.bundles):
            if bundle.node and self._placement.bundles.remove((group.id, at)):
                self._placement.rooms[bundle.node].give_back(bundle.lease)
                self._placement.changes.note(bundle.node)
                bundle.node = NodeId("")
        if any(bundle.node for bundle in group.bundles):
            return [_kept(group)]
        self._away = {place: kept for place, kept in self._away.items() if place[0] != group.id}
        del self._groups[group.id]
        return [PlacesForgotten(group.id)]


def _kept(group: Places) -> PlacesKept:
    bundles = [BundleKept(bundle.shape, bundle.lease, bundle.node, bundle.devices) for bundle in group.bundles]
    return PlacesKept(group.id, group.life, group.strategy, bundles)


REMOVED = "the placement group was removed, or its program is gone"


def _is_within(inner: Shape, outer: Shape) -> bool:
    custom = dict(outer.custom)
    return (
        inner.cpus <= outer.cpus
        and inner.gpus <= outer.gpus
        and inner.memory_bytes <= outer.memory_bytes
        and all(amount <= custom.get(name, 0) for name, amount in inner.custom)
    )
