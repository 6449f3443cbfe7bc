"""The messages by which the code of a program gets to nodes, and what else its workers need there is made ready."""

from __future__ import annotations

import msgspec

from distpool.ids import GroupId
from distpool.protocol.messages import Message


class Surroundings(msgspec.Struct, array_like=True, frozen=True):
    """What the workers of a group find on their node. `package`: the hash of the folder that the driver ships, and
    `package_bytes` its size; no package where it is empty. `environment`: variables. `requirements`: lines for pip."""

    package: str = ""
    package_bytes: int = 0
    environment: list[tuple[str, str]] = []
    requirements: list[str] = []

    def needs_supplies(self) -> bool:
        """Something has to be on the node before a template can start."""
        return bool(self.package or self.requirements)


PIECE_BYTES = 512 * 1024
"""A package travels in pieces of this size, before they are compressed; the last one is what is left."""


class NeedCode(Message, tag=78, frozen=True):
    """Node to driver: send the piece of your package that begins there."""

    package: str
    offset: int


class CodePiece(Message, tag=79, frozen=True):
    """Driver to node: the piece that begins there, compressed by zlib. Empty: there is no such package."""

    package: str
    offset: int
    data: bytes


class GroupFailed(Message, tag=80, frozen=True):
    """Node to driver, which tells its client: workers of the group cannot be started there, and why."""

    group: GroupId
    text: str


class GatherSupplies(Message, tag=81, frozen=True):
    """A node's callers to its supplier: make ready what the workers of a group need."""

    group: GroupId
    surroundings: Surroundings


class CodeMissing(Message, tag=82, frozen=True):
    """A supplier's answer: its package is not on this node."""

    group: GroupId


class SuppliesReady(Message, tag=83, frozen=True):
    """A supplier's answer: all is there, and stays until the group drops it."""

    group: GroupId
    folder: str
    python: str


class SuppliesFailed(Message, tag=84, frozen=True):
    """A supplier's answer: it cannot be had, and why."""

    group: GroupId
    text: str


class DropSupplies(Message, tag=85, frozen=True):
    """A node's callers to its supplier: the group has ended, or will never begin."""

    group: GroupId


class CodeStored(Message, tag=86, frozen=True):
    """A supplier to its node's callers: all pieces of the package were put together; or not, and why."""

    package: str
    failure: str = ""


class DropCode(Message, tag=87, frozen=True):
    """A node's callers to its supplier: the rest of this package will not come."""

    package: str
