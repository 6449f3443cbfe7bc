"""Values of tasks that stay on the nodes where they were made, until somebody opens them.

worker ── There ──► its node has the value, or gets it from the node that has it
            └── that is lost: asks the program, which has it made again, and opens the next one
program ── StayingValue ──► brought here
            └── the same
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

from distpool.base_errors import InvalidRef, ObjectLost
from distpool.ids import Key, ObjectId, StoreId
from distpool.logic.promises import Promise, Watcher
from distpool.objects.refs import FROM_ABOVE
from distpool.objects.results import StoredValue
from distpool.objects.stores import attached_store


class StayingValue(StoredValue):
    """At the program: a result that lies on a node. Where it is opened, its objects are brought first."""

    def __init__(
        self, pickled: bytes, holds: list[Any], objects: list[tuple[Key, int]], lineage: Any, where: Any, node: str
    ) -> None:
        """`objects`: those on the node, and the bytes of each. `lineage`: how it is made again. `where`: what knows of
        the objects (`FarValues`)."""
        super().__init__(pickled, holds, ())
        self.objects = objects
        self.lineage = lineage
        self.is_lost = False
        """Its node is, and with it the value."""
        self.is_only_here = False
        """Its node is lost, and it has been brought here before."""
        self.doubts: dict[int, list[Watcher]] = {}
        self._where = where
        self._node = node

    @property
    def store_id(self) -> StoreId | None:
        """Of its node; None, when that is lost."""
        return None if self.is_only_here else self.objects[0][0][0]

    def come(self, then: Callable[[], None]) -> None:
        """Somebody is about to open it here: have it brought, and call `then` when it is here, or does not come."""
        self._where.come([key for key, _ in self.objects], then)

    def load(self) -> Any:
        """Raises ObjectLost and StoreFull."""
        try:
            return super().load()
        except InvalidRef:
            raise ObjectLost(
                f"the value of {self.lineage.name} is gone: it lay on node {self._node!r}, and this program has left "
                "the cluster; get what is needed before distpool.shutdown"
            ) from None

    def arrives(self, limit_s: float) -> bool:
        """Have it brought, and wait for that at most so long: whether it is here."""
        has_ended: list[bool] = []
        keys = [key for key, _ in self.objects]
        self._where.come(keys, lambda: has_ended.append(True))
        return self._where.are_here_after(keys, lambda: bool(has_ended), limit_s)  # type: ignore[no-any-return]

    def has_moved(self, promise: Promise, limit_s: float = math.inf) -> bool:
        """It could not be opened: whether the promise has another outcome by now, or is to get one. When nothing is
        known of the loss of its node, that is waited for, as long as it may take to be told of it, or `limit_s`."""

        def is_another() -> bool:
            outcome: Any = promise.outcome
            return outcome is None or outcome[1] is not self

        self._where.wait_for_loss(is_another, limit_s)
        return is_another()

    def address(self, number: int) -> bytes:
        """What opens it in workers. `number`: of a promise of it, which is kept meanwhile."""
        objects = [object_id for (_, object_id), _ in self.objects]
        return pickle.dumps(There(number, self.objects[0][0][0], objects, self.pickled, self._where.patience_s), 5)


class There:
    """Pickles as the value that lies in that store."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments

    def __reduce__(self) -> Any:
        return load_there, self._arguments


def load_there(number: int, store_id: StoreId, objects: list[ObjectId], pickled: bytes, patience_s: float) -> Any:
    """In a worker. When it cannot be had, the program is asked for what else promise `number` has; it may take
    `patience_s` until that has heard of the loss. Raises ObjectLost, StoreFull, and what the call has raised that was
    to make it again."""
    try:
        return _load(store_id, objects, pickled)
    except ObjectLost:
        promise: Any = FROM_ABOVE[0](number)
        moved = promise.moved_from(store_id, patience_s)
    # Not moved, it may have been brought to the program, which gives it to this node then.
    return _load(store_id, objects, pickled) if moved is None else moved.load()


def _load(store_id: StoreId, objects: list[ObjectId], pickled: bytes) -> Any:
    attached = attached_store()
    if attached.id != store_id:
        return pickle.loads(pickled)
    # Nobody has told this node that a call needs them: they are held, so that they stay in memory.
    store = attached.store()
    loans = [store.hold(object_id) for object_id in objects]
    for object_id in objects:
        store.have(object_id)
    value = pickle.loads(pickled)
    del loans
    return value
