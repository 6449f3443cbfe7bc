"""Objects between a program and the nodes that work for it: what nodes get from here, and what was made there.

The program knows where everything is: nodes ask it for all that they need, and are sent on to each other. It holds what
its workers elsewhere keep refs to, and its refs hold what lies on nodes.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from distpool.base_errors import InvalidRef, ObjectLost
from distpool.config import Settings
from distpool.ids import Key, LeaseId, NodeId, ObjectId, StoreId
from distpool.logic.pulls import PROCESS_LOST
from distpool.logic.spread import Spread
from distpool.objects.copies import Copy
from distpool.objects.refs import out_of_reach
from distpool.objects.stores import home
from distpool.protocol.messages import Message
from distpool.protocol.objects import ForeignKept, ForgetObjects, ReleaseObjects
from distpool.protocol.transfers import Place
from distpool.runtime.channels import Channels
from distpool.runtime.far_values import FarValues
from distpool.runtime.handles import Wait
from distpool.runtime.transfers import Transfers


class NodeStore(msgspec.Struct):
    """The store of a node, and where it can be asked for objects."""

    place: Place
    store: StoreId


class Entry(msgspec.Struct):
    """An object that lies on a node. `told`: how often the node has told of it; `uses`: how many refs are here. `copy`:
    what has been brought here."""

    told: int = 0
    uses: int = 0
    copy: Copy | None = None


class FarHold:
    """One ref to an object that lies on a node."""

    __slots__ = ("__weakref__", "_owner", "key")

    def __init__(self, owner: FarObjects, key: Key) -> None:
        self.key = key
        self._owner: FarObjects | None = owner

    def end(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.end_use(self.key)

    __del__ = end


class FarObjects:
    """Owned by whoever holds the loop, but for `hold` and `bring`, which any thread may call."""

    def __init__(self, channels: Channels, settings: Settings, say: Callable[[NodeId, Message], None]) -> None:
        """`say`: tell a node."""
        self._pid = os.getpid()
        self._spread = Spread()
        self.transfers = Transfers(channels, settings, self._spread, self._place_of)
        self.values = FarValues(settings, self._bring)
        self._say = say
        self._nodes: dict[NodeId, NodeStore] = {}
        self._lost: dict[StoreId, NodeId] = {}
        self._entries: dict[Key, Entry] = {}
        # What the workers elsewhere keep refs to.
        self._kept: dict[LeaseId, dict[Key, Any]] = {}
        # Re-entrant, as a ref may end at any place.
        self._lock = threading.RLock()
        self._unused: deque[Key] = deque()
        self._freed: deque[ObjectId] = deque()
        self._wake: Callable[[], None] = _do_nothing
        self._post: Callable[..., None] = _do_nothing
        self._wait: Wait = _do_nothing
        self._is_over = False

    def serve(
        self, post: Callable[..., None], wake: Callable[[], None], wait: Wait, at_rest: Callable[..., None]
    ) -> None:
        """From now on objects go to and fro. `post`: have the holder of the loop do something, `at_rest`: when all
        roles are at rest; `wake`: have it run a turn; `wait`: let this thread wait until something is so, at most so
        long."""
        self._post, self._wake, self._wait = post, wake, wait
        self.values.serve(post, wait, at_rest)

    # By any thread --------------------------------------------------------------------------------------------------

    def hold(self, store_id: StoreId, object_id: ObjectId) -> FarHold | None:
        key = store_id, object_id
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            entry.uses += 1
        return FarHold(self, key)

    def end_use(self, key: Key) -> None:
        """A ref has ended; it may be called at any place. In a child of a fork the refs are not its own."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                entry.uses -= 1
                if entry.uses:
                    return
            if self._is_over:  # nobody is to be told
                self._entries.pop(key, None)
                return
        self._unused.append(key)
        self._wake()

    def are_used(self) -> bool:
        """There are refs here to what lies on a node."""
        stores = {about.store for about in list(self._nodes.values())}
        with self._lock:
            return any(entry.uses and key[0] in stores for key, entry in self._entries.items())

    def bring(self, store_id: StoreId, objects: list[ObjectId]) -> tuple[list[tuple[ObjectId, int]], list[Copy]]:
        keys = [(store_id, object_id) for object_id in objects]
        copies: list[Copy] = []
        began: list[bool] = []

        def begin() -> None:
            copies.extend(copy for key in keys if (copy := self._bring(key)) is not None)
            began.append(True)

        if not self._is_over:
            self._post(begin)
            self._wait(lambda: bool(began) and all(copy.is_whole or copy.failure for copy in copies), None)
        is_here = len(copies) == len(keys) and all(copy.is_whole for copy in copies)
        if any(copy.failure == PROCESS_LOST for copy in copies):
            self.values.wait_for_loss(lambda: store_id in self._lost)  # its link may find that out a moment later
        if not is_here and store_id in self._lost:
            node = self._lost[store_id]
            raise ObjectLost(f"object {objects[0]} is gone: it lay on node {node!r}, which has left, or was lost")
        if len(copies) < len(keys):
            raise InvalidRef(out_of_reach(objects[0]))
        for copy in copies:
            if not copy.is_whole:
                text = copy.failure or "this program has left the cluster"
                raise ObjectLost(f"object {copy.key[1]} of another machine is gone: {text}")
        return [copy.place for copy in copies], copies

    # By the holder of the loop --------------------------------------------------------------------------------------

    def joined(self, node: NodeId, store: NodeStore) -> None:
        """A node has told where its objects are."""
        self._nodes[node] = store
        with home().locked() as shelf:
            shelf.on_freed = self._note_freed

    def knows(self, node: NodeId) -> bool:
        """Where its objects are."""
        return node in self._nodes

    def connect(self, node: NodeId) -> None:
        """A node wants to ask for objects."""
        if node in self._nodes:
            self.transfers.channels.connect(self._nodes[node].place)

    def made_on(self, node: NodeId, objects: Iterable[ObjectId]) -> list[FarHold]:
        """The node has told of these of its objects, which are this program's from now on: what keeps them."""
        holds = []
        for object_id in objects:
            key = self._nodes[node].store, object_id
            with self._lock:
                self._entries.setdefault(key, Entry()).told += 1
            hold = self.hold(*key)
            assert hold is not None
            holds.append(hold)
        return holds

    def keep(self, keys: Iterable[Key]) -> list[Any]:
        """What keeps these, wherever they are: of those that are not gone."""
        found = []
        for store_id, object_id in keys:
            hold = home().hold(object_id) if store_id == home().id else self.hold(store_id, object_id)
            if hold is not None:
                found.append(hold)
        return found

    def bytes_at(self, node: NodeId | None, claim: Any) -> int:
        """How much of what a call needs lies on this node, or is about to."""
        about = None if node is None else self._nodes.get(node)
        if about is None:
            return 0
        place = about.place.endpoint
        return sum(size for key, size in claim.needs() if key[0] == about.store or place in self._spread.holders(key))

    def fetch(self, node: NodeId, objects: Iterable[ObjectId], then: Callable[[Copy], None], now: float) -> list[Copy]:
        """Have objects of a node brought here; whoever keeps the copies keeps them."""
        about = self._nodes[node]
        return [self.transfers.bring((about.store, object_id), about.place, then, now) for object_id in objects]

    def worker_keeps(self, message: ForeignKept) -> None:
        """A worker elsewhere keeps refs, or does not any more."""
        kept = self._kept.setdefault(message.lease, {})
        for key in message.kept:
            kept[key] = self.keep([key])
        for key in message.dropped:
            kept.pop(key, None)

    def worker_ended(self, lease: LeaseId) -> None:
        self._kept.pop(lease, None)

    def node_gone(self, node: NodeId, now: float) -> None:
        """It has left, or is lost, with what lay there."""
        about = self._nodes.pop(node, None)
        if about is None:
            return
        self._lost[about.store] = node
        with self._lock:
            for key in [key for key in self._entries if key[0] == about.store]:
                entry = self._entries[key]
                if entry.copy is None or not entry.copy.is_whole:
                    del self._entries[key]
        self.values.lose(about.store)
        self.transfers.lost(about.place, now)

    def receive(self, now: float) -> None:
        self.transfers.receive(now)

    def flush(self, now: float) -> float | None:
        self._tell_freed()
        self._tell_unused()
        return self.transfers.flush(now)

    def close(self) -> None:
        """This program leaves the cluster. What was brought here stays for as long as a ref to it does."""
        with self._lock:
            self._is_over = self.values.is_over = True
            for key in list(self._entries):
                entry = self._entries.get(key)
                if entry is not None and not entry.uses:
                    del self._entries[key]
        self._kept.clear()
        with home().locked() as shelf:
            shelf.on_freed = _do_nothing
        self.transfers.close()
        for about in self._nodes.values():
            self.transfers.pulls.lost(about.place, 0.0)

    def _bring(self, key: Key) -> Copy | None:
        """None: no node has its store."""
        for about in self._nodes.values():
            if about.store == key[0]:
                copy = self.transfers.bring(key, about.place, _do_nothing, time.monotonic())
                with self._lock:
                    if key in self._entries:
                        self._entries[key].copy = copy
                return copy
        return None

    def _place_of(self, key: Key) -> Place | None:
        if key not in self._entries:
            return None  # it is freed, or about to be: who gets it now would not be told to forget it
        return next((about.place for about in self._nodes.values() if about.store == key[0]), None)

    def _note_freed(self, objects: list[ObjectId]) -> None:
        self._freed.extend(objects)
        self._wake()

    def _tell_freed(self) -> None:
        """Nodes that have copies of objects that are freed forget them."""
        own = home().id if self._freed else StoreId(0)
        forgotten: list[Key] = []
        while self._freed:
            forgotten.append((own, self._freed.popleft()))
        self._forget(forgotten)

    def _tell_unused(self) -> None:
        """Objects on nodes that no ref is left to are freed there, and their copies elsewhere."""
        released: dict[NodeId, list[tuple[ObjectId, int]]] = {}
        forgotten = []
        stores = {about.store: name for name, about in self._nodes.items()}
        while self._unused:
            key = self._unused.popleft()
            with self._lock:
                entry = self._entries.get(key)
                if entry is not None and entry.uses:
                    continue
                self._entries.pop(key, None)
            if entry is not None and key[0] in stores:
                released.setdefault(stores[key[0]], []).append((key[1], entry.told))
            forgotten.append(key)  # also of a node that is lost: there may be copies of it elsewhere
        for node, objects in released.items():
            self._say(node, ReleaseObjects(objects))
        self._forget(forgotten)

    def _forget(self, keys: list[Key]) -> None:
        told: dict[tuple[str, StoreId], list[ObjectId]] = {}
        for store_id, object_id in keys:
            for place in self._spread.forget((store_id, object_id)):
                told.setdefault((place.endpoint, store_id), []).append(object_id)
        names = {about.place.endpoint: name for name, about in self._nodes.items()}
        for (endpoint, store_id), objects in told.items():
            if endpoint in names:
                self._say(names[endpoint], ForgetObjects(store_id, objects))


def _do_nothing(*args: Any) -> None:
    pass
