"""Large parts of arguments that were stored already, by their address in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distpool.objects.segments import Piece
    from distpool.store.memory import Buffer

Address = tuple[int, int]
"""(address, bytes)"""


class Known:
    """What was stored of the arguments of one call of a facade: none of it changes or ends meanwhile."""

    def __init__(self) -> None:
        self._pieces: dict[Address, tuple[Piece, Any, Buffer]] = {}

    def find(self, key: Address) -> tuple[Piece, Any] | None:
        """The piece where it lies, and what keeps it."""
        found = self._pieces.get(key)
        return None if found is None else found[:2]

    def add(self, key: Address, piece: Piece, hold: Any, buffer: Buffer) -> None:
        self._pieces[key] = (piece, hold, buffer)  # the buffer itself, so that nothing else can come to lie there
