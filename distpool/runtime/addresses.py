"""Whether this process uses a cluster: nothing else of the runtime is needed to know."""

from __future__ import annotations

from distpool.settings import current

ADDRESS_VARIABLE = "DISTPOOL_ADDRESS"


def configured_address() -> str | None:
    """The address of the head, as it is set; None: everything runs in this process and its workers."""
    return current().address
