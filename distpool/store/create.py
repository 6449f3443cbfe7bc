"""The memory of the store that this process owns, before anybody uses it: it costs nothing until it is written to."""

from __future__ import annotations

import os

from distpool.ids import StoreId

_ADDRESSES = 1 << 60
_made: list[tuple[StoreId, int]] = []


def own_memory() -> tuple[StoreId, int]:
    """The id of this process's own store, and the descriptor of its memory, which is closed on exec."""
    if not _made:
        descriptor = os.memfd_create("distpool-store", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _ADDRESSES)
        _made.append((StoreId(int.from_bytes(os.urandom(7), "little")), descriptor))
        while len(_made) > 1:  # another thread was as quick
            os.close(_made.pop()[1])
    return _made[0]


def is_own(store_id: StoreId) -> bool:
    """It is this process's own store."""
    return bool(_made) and _made[0][0] == store_id


def _forget_in_child() -> None:
    """The child of a fork has a store of its own, if it needs one."""
    while _made:
        os.close(_made.pop()[1])


os.register_at_fork(after_in_child=_forget_in_child)
