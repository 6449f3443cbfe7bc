"""What is held free for those who have waited for too long: nodes, each for one of them, and how much of each.

Nothing of that is given to others any more, so that it gathers there until all of it is free. Who holds nothing may
take what is left over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from distpool.ids import NodeId
from distpool.logic.resources import Room
from distpool.protocol.resources import UNIT, Shape


class Patience(NamedTuple):
    """After how many others that went before it, or how long after the first of them, a request gets a node held."""

    passes: int = 16
    wait_s: float = 5.0


PATIENCE = Patience()


class Reservations:
    """Of one head. A holder is whatever waits: it is compared by identity."""

    def __init__(self) -> None:
        self._of: dict[NodeId, tuple[object, Shape]] = {}
        self.released = 0
        """How often something was for others again that had been held."""

    def __bool__(self) -> bool:
        return bool(self._of)

    def held_for(self, holder: object) -> list[NodeId]:
        """Nothing, mostly."""
        return [node for node, (own, _) in self._of.items() if own is holder]

    def is_open_to(self, holder: object, node: NodeId) -> bool:
        """It is held for nobody else."""
        held = self._of.get(node)
        return held is None or held[0] is holder

    def hold(self, holder: object, needed: Mapping[NodeId, Shape]) -> None:
        """Of these nodes so much, and of others nothing any more. They are open to it."""
        if {node: shape for node, (own, shape) in self._of.items() if own is holder} == needed:
            return
        self.let_go(holder)
        self._of.update((node, (holder, shape)) for node, shape in needed.items())

    def let_go(self, holder: object) -> None:
        """What was held for it is for others now."""
        for node in self.held_for(holder):
            del self._of[node]
            self.released += 1

    def keep_only(self, nodes: Collection[NodeId]) -> None:
        """Others have gone, or take no leases any more."""
        for node in [node for node in self._of if node not in nodes]:
            del self._of[node]
            self.released += 1

    def may_take(self, holder: object, room: Room, shape: Shape) -> bool:
        """All of it that the node is held for must be left, as far as it is free."""
        held = self._of.get(NodeId(room.name))
        if held is None or held[0] is holder:
            return True
        needed = held[1]
        if needed.gpus and shape.gpus:
            return False  # which of its devices come free first is not known
        if shape.cpus and needed.cpus and room.free_cpus - shape.cpus < needed.cpus:
            return False
        if shape.memory_bytes and room.free_memory_bytes - shape.memory_bytes < needed.memory_bytes:
            return False
        taken = dict(shape.custom)
        left = room.free_custom
        return all(not taken.get(name) or left[name] - taken[name] >= amount for name, amount in needed.custom)


def compete(one: Shape, other: Shape) -> bool:
    """They need some of the same."""
    if (one.cpus and other.cpus) or (one.gpus and other.gpus) or (one.memory_bytes and other.memory_bytes):
        return True
    return not {name for name, _ in one.custom}.isdisjoint(name for name, _ in other.custom)


def missing(room: Room, shape: Shape) -> float:
    """How much of what it needs others have there: 0 is nothing, and a GPU as much as all of its CPUs."""
    gpus = max(0, shape.gpus - room.free_gpus) / UNIT
    cpus = max(0, shape.cpus - room.free_cpus) / room.total_cpus
    memory = max(0, shape.memory_bytes - room.free_memory_bytes) / max(1, room.offer.memory_bytes)
    custom = sum(max(0, amount - room.free_custom.get(name, 0)) / UNIT for name, amount in shape.custom)
    return gpus + cpus + memory + custom


def sum_of(shapes: Iterable[Shape]) -> Shape:
    """The amounts of all of them."""
    cpus = gpus = memory_bytes = 0
    custom: dict[str, int] = {}
    for shape in shapes:
        cpus += shape.cpus
        gpus += shape.gpus
        memory_bytes += shape.memory_bytes
        for name, amount in shape.custom:
            custom[name] = custom.get(name, 0) + amount
    return Shape(cpus, gpus, memory_bytes, 0, tuple(sorted(custom.items())))
