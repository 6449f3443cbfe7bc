"""Who has what of a cluster, and waits for what: as it is told to those who ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from distpool.ids import Address, LeaseId, NodeId
from distpool.logic.membership import Member
from distpool.logic.placement import Placement
from distpool.logic.resources import Room
from distpool.protocol.resources import UNIT
from distpool.protocol.standing import CallerFacts, HeldFacts, NodeFacts

Held = Counter[tuple[NodeId, int]]
"""How many leases there are, by the node and the life of their caller."""


def held_by(callers: Mapping[LeaseId, int], placement: Placement) -> Held:
    """`callers`: the life of each lease's."""
    places = ((placement.node_of(lease), life) for lease, life in callers.items())
    return Counter((node, life) for node, life in places if node is not None)


def callers_told(
    callers: Mapping[Address, Member], held: Held, waiting: Mapping[Address, int], now: float
) -> list[CallerFacts]:
    """By the addresses of their links. `waiting`: how many leases each has asked for and not got."""
    leases: Counter[int] = Counter()
    for (_, life), count in held.items():
        leases[life] += count
    return [
        CallerFacts(caller.name, leases[caller.life], waiting.get(address, 0), now - caller.joined_at)
        for address, caller in callers.items()
    ]


def held_told(members: Iterable[Member], held: Held) -> list[HeldFacts]:
    """By node and caller."""
    names = {member.life: member.name for member in members}
    told = [HeldFacts(node, names.get(life, ""), count) for (node, life), count in held.items()]
    return sorted(told, key=lambda facts: (facts.node, facts.caller))


def node_told(room: Room, leases: int, joined_s: float) -> NodeFacts:
    """What a node has, and what of it is free. CPUs of leases that wait may be in use twice for a moment."""
    offer = room.offer
    return NodeFacts(
        NodeId(room.name),
        offer.cpus,
        leases,
        offer.memory_bytes,
        joined_s,
        gpus=len(offer.devices) * UNIT,
        custom=dict(offer.custom),
        labels=dict(offer.labels),
        free_cpus=max(0, room.free_cpus),
        free_gpus=room.free_gpus,
        free_memory_bytes=max(0, room.free_memory_bytes),
        free_custom=dict(room.free_custom),
    )
