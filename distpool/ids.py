"""The ids of things that travel in messages, as types of their own, and the addresses of roles."""

from __future__ import annotations

from typing import Final, NewType

LeaseId = NewType("LeaseId", int)
GroupId = NewType("GroupId", int)
FunctionId = NewType("FunctionId", int)
NodeId = NewType("NodeId", str)
ObjectId = NewType("ObjectId", int)
StoreId = NewType("StoreId", int)
Key = tuple[StoreId, ObjectId]
"""An object, among those of all stores."""

Epoch = NewType("Epoch", int)
"""One life of a process of a cluster: a number that no other life has, and not 0."""

Address = str | LeaseId
"""Whom a message is for: a role or local hand by its name, or the worker at the other end of a lease."""

CLIENT: Final = "client"
NODE: Final = "node"
HEAD: Final = "head"
LAUNCHER: Final = "launcher"
SUPPLIER: Final = "supplier"

NO_STORE: Final = StoreId(0)

INLINE_FUNCTION: Final = FunctionId(0)
"""The function travels in the arguments of the call itself."""
