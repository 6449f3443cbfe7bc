"""How full a store is, as a record."""

from __future__ import annotations

import msgspec


class StoreStats(msgspec.Struct, frozen=True):
    """A store in one moment. All sizes are in bytes.

    `limit_bytes`: the most memory that it may take. `used_bytes`: memory that objects lie in. `warm_bytes`: memory that
    no object lies in, kept for the next ones. `spilled_bytes`, `spilled_objects`: what lies on disk. `objects`: how
    many there are in all. `largest_bytes`: of the largest of them, 0 without any.
    """

    limit_bytes: int
    used_bytes: int
    warm_bytes: int
    spilled_bytes: int
    objects: int
    spilled_objects: int
    largest_bytes: int
