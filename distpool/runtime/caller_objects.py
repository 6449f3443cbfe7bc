"""What a node does for its callers beyond their calls: it has their objects brought here, and keeps what their workers
made for them.

A caller is named by its route, which is the same for its link and for its transfers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from distpool.config import Settings
from distpool.ids import Key, LeaseId, ObjectId
from distpool.objects.copies import Copy
from distpool.objects.lending import Lending
from distpool.objects.stores import home
from distpool.protocol.messages import Message
from distpool.protocol.objects import BringSoon, ForeignKept, ForgetObjects, ReleaseObjects, WantTransfers
from distpool.protocol.store import BringObjects, KeepForeign, ObjectsBrought, ObjectsHeld, StoredResult
from distpool.runtime.channels import Channels
from distpool.runtime.transfers import Transfers

Tell = Callable[[Message], None]

_SHARE_AHEAD = 0.5
"""Of the store's memory: when more is in use, nothing comes before it is needed."""


class Owned(msgspec.Struct):
    """What is here of one caller: copies of its objects, and holds of those that were made for it, or named to it, one
    for each time that it was told of one."""

    copies: dict[Key, Copy] = msgspec.field(default_factory=dict)
    made: dict[ObjectId, list[Any]] = msgspec.field(default_factory=dict)


class CallerObjects:
    """Owned by whoever holds the node's loop."""

    def __init__(
        self,
        channels: Channels,
        settings: Settings,
        owner_of: Callable[[LeaseId], str | None],
        say: Callable[[str, Message], None],
    ) -> None:
        """`owner_of`: the address of the caller that has this lease; None when it has ended. `say`: tell a caller."""
        self.transfers = Transfers(channels, settings)
        self._owner_of = owner_of
        self._say = say
        self._owned: dict[str, Owned] = {}
        self._coming: dict[Key, int] = {}
        """Bytes of what comes and nobody needs yet."""

    # From workers ---------------------------------------------------------------------------------------------------

    def serve(self, lease: LeaseId, message: Any, tell: Tell) -> None:
        """A worker needs objects of another store, or keeps refs to some; `tell` answers it."""
        owner = self._owner_of(lease)
        if owner is None:
            return  # it is being ended
        if isinstance(message, KeepForeign):
            self._say(owner, ForeignKept(lease, message.kept, message.dropped))
            tell(ObjectsHeld(message.number, []))
        else:
            self._bring(owner, lease, message, tell, time.monotonic())

    def adopt(self, lease: LeaseId, told: bytes) -> bytes:
        """A worker has told of a result: its objects are the caller's from now on. It is passed on as it is."""
        result = msgspec.msgpack.decode(told, type=StoredResult)
        owner = self._owner_of(lease)
        holds = Lending(home(), lease).adopt(result.made, result.named)
        if owner is not None:
            made = self._of(owner).made
            for hold in holds:
                made.setdefault(hold.id, []).append(hold)
        return told

    def _bring(self, owner: str, lease: LeaseId, asked: BringObjects, tell: Tell, now: float) -> None:
        route = bytes.fromhex(owner)
        owned = self._of(owner)
        awaited = [(asked.store, object_id) for object_id in dict.fromkeys(asked.objects)]
        missing = set(awaited)

        def arrived(copy: Copy) -> None:
            missing.discard(copy.key)
            if copy.failure:
                owned.copies.pop(copy.key, None)
            if not missing and self._owner_of(lease) == owner:
                tell(self._brought(lease, asked, copies))

        copies: list[Copy] = []
        for key in awaited:
            copies.append(self.transfers.bring(key, route, lambda copy: None, now))
            owned.copies[key] = copies[-1]
        for copy in copies:
            if copy.is_whole or copy.failure:
                arrived(copy)
            else:
                copy.on_end.append(arrived)
        if missing:
            self._connect(owner)

    def _connect(self, caller: str) -> None:
        """See that it can be asked."""
        if not self.transfers.channels.is_known(bytes.fromhex(caller)):
            self._say(caller, WantTransfers())

    def _brought(self, lease: LeaseId, asked: BringObjects, copies: list[Copy]) -> ObjectsBrought:
        for copy in copies:
            if copy.failure:
                text = f"object {copy.key[1]} could not be brought to this node: {copy.failure}"
                return ObjectsBrought(asked.number, [], text)
        places = {copy.key[1]: copy.place for copy in copies}
        Lending(home(), lease).hold([object_id for object_id, _ in places.values()], in_memory=False)
        return ObjectsBrought(asked.number, [places[object_id] for object_id in asked.objects])

    # From callers ---------------------------------------------------------------------------------------------------

    def hear(self, caller: str, message: Any, now: float) -> None:
        if isinstance(message, BringSoon):
            self._bring_soon(caller, message, now)
            return
        owned = self._owned.get(caller)
        if owned is None:
            return
        match message:
            case ForgetObjects(store, objects):
                for object_id in objects:
                    owned.copies.pop((store, object_id), None)
            case ReleaseObjects(objects):
                for object_id, count in objects:
                    holds = owned.made.get(object_id, [])
                    del holds[:count]
                    if not holds:
                        owned.made.pop(object_id, None)

    def _bring_soon(self, caller: str, asked: BringSoon, now: float) -> None:
        """What does not come now is asked for again by whoever needs it, who is told why then."""
        owned = self._of(caller)

        def came(copy: Copy) -> None:
            self._coming.pop(copy.key, None)
            if copy.failure:
                owned.copies.pop(copy.key, None)

        for store_id, object_id, size in asked.objects:
            key = store_id, object_id
            if size < 0 or store_id == home().id or key in owned.copies or not self._has_room_for(size):
                continue
            self._coming[key] = size
            owned.copies[key] = self.transfers.bring(key, bytes.fromhex(caller), came, now, is_awaited=False)
        if self._coming:
            self._connect(caller)

    def _has_room_for(self, size: int) -> bool:
        """Without taking what others may need before it."""
        stats = home().stats()
        coming = sum(self._coming.values())
        return stats.used_bytes + coming + size <= stats.limit_bytes * _SHARE_AHEAD

    def forget(self, caller: str, now: float) -> None:
        """It has left, or is lost: nothing here is its own any more."""
        self._owned.pop(caller, None)
        self.transfers.lost(bytes.fromhex(caller), now)

    def _of(self, caller: str) -> Owned:
        return self._owned.setdefault(caller, Owned())
