"""Whether this process uses a cluster: nothing else of the runtime is needed to know."""

from __future__ import annotations

import os

ADDRESS_VARIABLE = "DISTPOOL_ADDRESS"


def configured_address() -> str | None:
    """The address of the head, as the environment has it; None: everything runs in this process and its workers."""
    return os.environ.get(ADDRESS_VARIABLE) or None
