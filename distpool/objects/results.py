"""Results that are not all in their pickle, from the worker that makes them to the caller that opens them."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from distpool.base_errors import StoreFull
from distpool.ids import LeaseId
from distpool.objects.apart import pickle_apart
from distpool.objects.lending import Lending
from distpool.objects.promises import PROMISES, TaskRef
from distpool.objects.refs import ObjectRef
from distpool.objects.stores import home
from distpool.objects.whole import whole
from distpool.protocol.store import (
    StoredResult,
)
from distpool.serialization.buffers import Parts


def store_result(store: Any, parts: Parts | bytes, refs: list[ObjectRef]) -> bytes:
    """In the worker: what is told of a result. Its large parts are in the store from now on, or travel with it when the
    store is full: it was made, and must not be lost."""
    tasks: list[int] = [ref.id for ref in refs if isinstance(ref, TaskRef)]
    objects = [ref for ref in refs if not isinstance(ref, TaskRef)]
    named = [ref.id for ref in objects if ref.store_id == store.id]
    foreign = [(ref.store_id, ref.id) for ref in objects if ref.store_id != store.id]
    if type(parts) is bytes:
        return msgspec.msgpack.encode(StoredResult(parts, [], named, foreign, tasks))
    try:
        recipe = store.keep(parts)
    except StoreFull:
        return msgspec.msgpack.encode(StoredResult(whole(parts), [], named, foreign, tasks))
    made = [store.give_away(hold) for hold in recipe.holds]
    pickled = pickle_apart(recipe, store.id, store.home_pid)
    bytes_of: Counter[int] = Counter()
    for piece in (*recipe.buffers, *recipe.stream):
        if not isinstance(piece, bytes):
            bytes_of[piece.object] += piece.size
    sizes = [bytes_of[object_id] for object_id in made]
    return msgspec.msgpack.encode(StoredResult(pickled, made, named, foreign, tasks, sizes))


class StoredValue:
    """At the caller: a result that nobody has opened yet. Its objects are freed if nobody ever does."""

    def __init__(self, pickled: bytes, holds: list[Any], tasks: Iterable[int]) -> None:
        """`tasks`: the numbers of those whose refs are in the value."""
        self.pickled = pickled
        self.holds = holds
        self.tasks: list[TaskRef] = []
        self.name_tasks(tasks)

    def name_tasks(self, numbers: Iterable[int]) -> None:
        """Keep these for as long as the value."""
        self.tasks += [TaskRef(promise) for number in numbers if (promise := PROMISES.find(number)) is not None]

    def load(self) -> Any:
        return pickle.loads(self.pickled)


def adopt(lease: LeaseId, told: Any) -> StoredValue:
    """A result was told of: its objects are this process's from now on."""
    result = msgspec.msgpack.decode(told, type=StoredResult)
    return StoredValue(result.pickled, Lending(home(), lease).adopt(result.made, result.named), result.tasks)
