"""A head is asked for what it knows of its cluster, by a link of its own that ends with the answer."""

from __future__ import annotations

from distpool.protocol.cluster import AskStatus
from distpool.protocol.standing import StatusTold
from distpool.runtime.contact import find_head
from distpool.runtime.joining import ask, join
from distpool.settings import current
from distpool.transport.keys import KeyFolder, Part


def asked_status(address: str | None) -> StatusTold:
    """What the head says, at the address that was given or is configured. Raises DistpoolError."""
    settings = current().constants
    folder = KeyFolder.of_user()
    head = join(find_head(address, folder), "status", folder.identity(Part.DRIVER), settings)
    try:
        return ask(head, AskStatus(), StatusTold, settings)
    finally:
        head.leave()
