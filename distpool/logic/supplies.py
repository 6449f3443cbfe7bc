"""What groups of a node wait for before they can begin: the code of their driver, and an environment for it.

Decides whom a package is asked of, and piece by piece, so that little of it is on its way; which groups begin when it
is there; and what becomes of those that wait when their driver goes. Looking, storing and making is the supplier's.
"""

from __future__ import annotations

import re

import msgspec

from distpool.base_errors import ProtocolError
from distpool.ids import LAUNCHER, NODE, SUPPLIER, Address, GroupId
from distpool.logic.outbox import Outbox
from distpool.protocol.cluster import (
    OpenGroup,
    UseLease,
)
from distpool.protocol.code import (
    PIECE_BYTES,
    CodeMissing,
    CodePiece,
    CodeStored,
    DropCode,
    DropSupplies,
    GatherSupplies,
    GroupFailed,
    NeedCode,
    SuppliesFailed,
    SuppliesReady,
    Surroundings,
)

PIECES_AHEAD = 4

_HASH = re.compile(r"[0-9a-f]{64}")


def check_package(surroundings: Surroundings) -> None:
    """Raises ProtocolError for a package that can be none."""
    if surroundings.package and not (_HASH.fullmatch(surroundings.package) and surroundings.package_bytes > 0):
        raise ProtocolError(f"{surroundings.package[:80]!r} of {surroundings.package_bytes} bytes is no package")


class Waiting(msgspec.Struct):
    """A group whose template has not been started. `uses`: the leases that it will begin with. `has_failed`: it never
    will, and its driver was told. `is_asked`: the supplier has yet to answer."""

    owner: Address
    order: OpenGroup
    uses: list[UseLease] = msgspec.field(default_factory=list)
    has_failed: bool = False
    is_asked: bool = False


class Transfer(msgspec.Struct):
    """A package on its way: from whom, up to where it was asked for, and up to where it has come."""

    source: Address
    size: int
    asked: int = 0
    received: int = 0


class Supplies:
    """The groups of a node that wait, and the packages that are on their way."""

    def __init__(self, node: str, outbox: Outbox) -> None:
        """`node`: its name."""
        self._node = node
        self._outbox = outbox
        self._waiting: dict[GroupId, Waiting] = {}
        self._transfers: dict[str, Transfer] = {}

    # From drivers ---------------------------------------------------------------------------------------------------

    def open(self, owner: Address, order: OpenGroup) -> None:
        """A group that begins once it has what it needs; at once where that is nothing. Raises ProtocolError for a
        package that can be none."""
        surroundings = order.surroundings
        check_package(surroundings)
        order = msgspec.structs.replace(order, node=self._node, folder="", python="")
        if not surroundings.needs_supplies():
            self._outbox.put(LAUNCHER, order)
            return
        waiting = self._waiting[order.group] = Waiting(owner, order)
        self._gather(waiting)

    def use(self, lease: UseLease) -> None:
        """A lease of a group: it waits with it."""
        waiting = self._waiting.get(lease.group)
        if waiting is None or waiting.has_failed:  # then the node finds that there is no template, and tells so
            self._outbox.put(NODE, lease)
        else:
            waiting.uses.append(lease)

    def stop(self, group: GroupId) -> bool:
        """Whether it was waiting, and so has no template that could be told to end. It is gone then."""
        waiting = self._waiting.pop(group, None)
        if waiting is None:
            return False
        self._let_go(waiting)
        return True

    def ended(self, group: GroupId) -> None:
        """Its template has ended."""
        self._outbox.put(SUPPLIER, DropSupplies(group))

    def lose(self, owner: Address) -> None:
        """It has left, or is lost; the node gives back its leases by itself."""
        for group in [group for group, waiting in self._waiting.items() if waiting.owner == owner]:
            waiting = self._waiting.pop(group)
            waiting.uses.clear()
            self._let_go(waiting)

    def take(self, sender: Address, piece: CodePiece) -> None:
        """A piece of a package. One that was not asked for, or of somebody else, is not taken."""
        transfer = self._transfers.get(piece.package)
        if transfer is None or transfer.source != sender or piece.offset != transfer.received:
            return
        if not piece.data:
            self._outbox.put(SUPPLIER, DropCode(piece.package))
            self._end_transfer(piece.package, "the program does not have it any more")
            return
        self._outbox.put(SUPPLIER, piece)
        transfer.received = min(transfer.size, piece.offset + PIECE_BYTES)
        self._ask(piece.package, transfer)

    # From the supplier ----------------------------------------------------------------------------------------------

    def told(self, message: CodeMissing | CodeStored | SuppliesReady | SuppliesFailed) -> None:
        match message:
            case CodeMissing(group):
                waiting = self._waiting.get(group)
                if waiting is not None:
                    waiting.is_asked = False
                    self._fetch(waiting)
            case CodeStored(package, failure):
                self._end_transfer(package, failure)
            case SuppliesReady(group, folder, python):
                waiting = self._waiting.pop(group, None)
                if waiting is None:
                    self._outbox.put(SUPPLIER, DropSupplies(group))
                    return
                self._outbox.put(LAUNCHER, msgspec.structs.replace(waiting.order, folder=folder, python=python))
                for lease in waiting.uses:
                    self._outbox.put(NODE, lease)
            case SuppliesFailed(group, text):
                waiting = self._waiting.get(group)
                if waiting is not None:
                    self._fail(waiting, text)

    # Packages -------------------------------------------------------------------------------------------------------

    def _gather(self, waiting: Waiting) -> None:
        """Have the supplier look again, unless it is about to answer."""
        if not waiting.is_asked:
            waiting.is_asked = True
            self._outbox.put(SUPPLIER, GatherSupplies(waiting.order.group, waiting.order.surroundings))

    def _fetch(self, waiting: Waiting) -> None:
        """Of the driver of this group, unless it is on its way already."""
        package = waiting.order.surroundings.package
        if package not in self._transfers:
            transfer = Transfer(waiting.owner, waiting.order.surroundings.package_bytes)
            self._transfers[package] = transfer
            self._ask(package, transfer)

    def _ask(self, package: str, transfer: Transfer) -> None:
        while transfer.asked < min(transfer.size, transfer.received + PIECES_AHEAD * PIECE_BYTES):
            self._outbox.put(transfer.source, NeedCode(package, transfer.asked))
            transfer.asked += PIECE_BYTES

    def _end_transfer(self, package: str, failure: str) -> None:
        """All who wait for it look again; but of whoever sent what is wrong, it is not asked again."""
        transfer = self._transfers.pop(package, None)
        for waiting in self._waiting_for(package):
            if failure and transfer is not None and waiting.owner == transfer.source:
                self._fail(waiting, f"the code for its workers cannot be used: {failure}")
            else:
                self._gather(waiting)

    def _waiting_for(self, package: str) -> list[Waiting]:
        return [
            waiting
            for waiting in self._waiting.values()
            if waiting.order.surroundings.package == package and not waiting.has_failed
        ]

    def _fail(self, waiting: Waiting, text: str) -> None:
        waiting.has_failed = True
        self._outbox.put(waiting.owner, GroupFailed(waiting.order.group, text))
        self._release(waiting)

    def _let_go(self, waiting: Waiting) -> None:
        """It is not in the table any more. What is on its way for nobody else is not wanted."""
        self._release(waiting)
        self._outbox.put(SUPPLIER, DropSupplies(waiting.order.group))
        package = waiting.order.surroundings.package
        transfer = self._transfers.get(package)
        others = self._waiting_for(package)
        if transfer is None or any(other.owner == transfer.source for other in others):
            return
        if transfer.received == transfer.size:  # it is about to be there
            return
        del self._transfers[package]
        self._outbox.put(SUPPLIER, DropCode(package))
        for other in others:
            self._gather(other)

    def _release(self, waiting: Waiting) -> None:
        """Its leases end as those of a group without a template do, and so are given back."""
        for lease in waiting.uses:
            self._outbox.put(NODE, lease)
        waiting.uses.clear()
