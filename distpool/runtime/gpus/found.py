"""A GPU as the system tells of it, before it is known who may use it and what it is close to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Found(NamedTuple):
    """`id`: by which its environment variable names it. `number`: by which that may name it too, or its GPU if it is a
    part of one; `uuids`: the same. `bus`: its address on the PCI bus, as "0000:17:00.0"; empty: not known. `peers`: the
    ids of others of its kind that are joined to it by links of their own."""

    id: str
    kind: str
    number: int
    uuids: tuple[str, ...] = ()
    name: str = ""
    memory_bytes: int = 0
    bus: str = ""
    peers: frozenset[str] = frozenset()


def bus_address(text: str) -> str:
    """In the form that the kernel gives it: NVIDIA's tools write the domain with eight digits and in capitals."""
    domain, _, rest = text.strip().lower().partition(":")
    return f"{domain[-4:]:0>4}:{rest}" if rest.count(":") == 1 else f"0000:{domain}:{rest}"


def groups_of(items: Iterable[str], joined: Iterable[tuple[str, str]]) -> dict[str, int]:
    """A number for each item, the same for those that are joined, if only by others."""
    group = {item: number for number, item in enumerate(items)}
    for one, other in joined:
        if one in group and other in group and group[one] != group[other]:
            old, new = sorted((group[one], group[other]), reverse=True)
            group = {item: new if number == old else number for item, number in group.items()}
    return group
