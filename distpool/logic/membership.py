"""Who takes part in a cluster: who may join, by the versions that it has, and who is there."""

from __future__ import annotations

from typing import NamedTuple

from distpool.ids import Address
from distpool.logic.shown import shown
from distpool.protocol.cluster import Greeting


class Versions(NamedTuple):
    """What must be the same everywhere (`protocol`, `python`: "3.11"), and distpool's own, which need not."""

    protocol: int
    python: str
    distpool: str


class Member(NamedTuple):
    """One that has joined. `life`: of its process."""

    name: str
    life: int
    joined_at: float


class Membership:
    """The members of one head's cluster, by the address of their link. A process has one link: a newer one ends it."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions
        self._members: dict[Address, Member] = {}

    def greet(self, address: Address, greeting: Greeting, now: float) -> str:
        """Let it join; or why it may not, for people."""
        name = shown(greeting.name)
        theirs = Versions(greeting.protocol, shown(greeting.python), shown(greeting.version))
        if theirs[:2] != self._versions[:2]:
            return _mismatch(name, theirs, self._versions)
        self._members[address] = Member(name, greeting.life, now)
        return ""

    def links_of(self, life: int) -> list[Address]:
        """The links of one process: more than one when it has made a new one before the old one was given up."""
        return [address for address, member in self._members.items() if member.life == life]

    def addresses(self) -> list[Address]:
        return list(self._members)

    def find(self, address: Address) -> Member | None:
        return self._members.get(address)

    def remove(self, address: Address) -> Member | None:
        """It has left, or is lost. Said twice, it changes nothing."""
        return self._members.pop(address, None)

    def __len__(self) -> int:
        return len(self._members)

    def members(self) -> dict[Address, Member]:
        """By the addresses of their links, oldest first."""
        return dict(self._members)


def _mismatch(name: str, theirs: Versions, ours: Versions) -> str:
    versions = zip(_LABELS, map(str, ours), map(str, theirs), strict=True)
    rows = [("", "head", name), *versions]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return (
        "the versions differ; the protocol and Python's minor version must be the same on all machines of a cluster:\n"
        + "\n".join(lines)
    )


_LABELS = ("protocol", "Python", "distpool")
