"""The one pattern: `handle` records what happened, `decide` runs once per turn and fills the outbox."""

from __future__ import annotations

from typing import Any, Protocol

from distpool.ids import Address
from distpool.logic.outbox import Outbox


class Role(Protocol):
    """What the loop asks of a role."""

    outbox: Outbox

    def handle(self, sender: Address, message: Any, now: float) -> None:
        """Record a message. `now` is monotonic, in seconds."""
        ...

    def decide(self, now: float) -> float | None:
        """Fill the outbox; return when to be asked again without news, or None."""
        ...


def unexpected(role: str, sender: Address, message: object) -> ValueError:
    """The error for a message that the role does not know: a mistake in the runtime, or a peer of another version."""
    return ValueError(f"the {role} cannot handle {type(message).__name__} from {sender!r}")
