"""`ObjectRef`, the small handle that names a value in a store, and where the refs of a pickle are noted."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from distpool.base_errors import InvalidRef
from distpool.ids import ObjectId, StoreId
from distpool.logic.sizes import size_text

if TYPE_CHECKING:
    from concurrent.futures import Future

    from distpool.logic.promises import Promise

Result = TypeVar("Result")

FROM_ABOVE: list[Callable[[int], Promise]] = []
"""In a worker: what finds the promises of its program, which all refs of tasks that arrive there are of."""


class ObjectRef:
    """The handle of a value that `distpool.put` has stored. Pass it like any value, or wait for it with `await`.

    An argument of a call that is a ref itself arrives as the value; one inside another value stays a ref. The value is
    kept for as long as any process has a ref to it, and freed with the last one.
    """

    __slots__ = ("__weakref__", "_hold", "home_pid", "id", "offset", "size", "store_id")

    def __init__(self, store_id: StoreId, object_id: ObjectId, offset: int, size: int, home_pid: int) -> None:
        self.store_id = store_id
        self.id = object_id
        self.offset = offset
        self.size = size
        """Bytes that the value takes in the store."""
        self.home_pid = home_pid
        self._hold: Any = None

    def future(self) -> Future[Any]:
        """A `concurrent.futures.Future` of the value, as `get` gives it."""
        from concurrent.futures import Future  # not every program that has refs needs it

        future: Future[Any] = Future()
        try:
            future.set_result(_stores().get_value(self))
        except Exception as error:
            future.set_exception(error)
        return future

    def done(self) -> bool:
        """It is there."""
        return True

    def cancelled(self) -> bool:
        """It was not."""
        return False

    def result(self, timeout: float | None = None) -> Any:
        """The value, as `get` gives it."""
        return _stores().get_value(self)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """None: no call has made it."""
        return None

    # What `concurrent.futures.wait` and `as_completed` look at.
    @property
    def _condition(self) -> Any:
        return _NOBODY_WAITS

    @property
    def _state(self) -> str:
        return "FINISHED"

    @property
    def _workers(self) -> Any:
        return None

    @property
    def _waiters(self) -> Any:
        return _NOBODY_WAITS

    def __await__(self) -> Iterator[Any]:
        from asyncio import wrap_future

        return wrap_future(self.future()).__await__()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectRef) and (self.store_id, self.id) == (other.store_id, other.id)

    def __hash__(self) -> int:
        return hash((self.store_id, self.id))

    def __repr__(self) -> str:
        return f"<ObjectRef {self.id} of process {self.home_pid}, {size_text(self.size)}>"

    def __reduce__(self) -> Any:
        note(self)
        return restore_ref, (self.store_id, self.id, self.offset, self.size, self.home_pid)


def note(ref: ObjectRef) -> None:
    """It is being pickled."""
    if _noted.refs is not None:
        _noted.refs.append(ref)


def restore_ref(store_id: StoreId, object_id: ObjectId, offset: int, size: int, home_pid: int) -> ObjectRef:
    """Where a ref arrives: it holds its object, if the store can be reached from here and still has it."""
    ref = ObjectRef(store_id, object_id, offset, size, home_pid)
    ref._hold = _stores().hold(ref)
    return ref


def noting_refs(dump: Callable[[Any], Result], value: Any) -> tuple[Result, list[ObjectRef]]:
    """`dump(value)`, which pickles, and the refs that are in its pickle."""
    noted = _noted
    before = noted.refs
    refs: list[ObjectRef] = []
    noted.refs = refs
    try:
        return dump(value), refs
    finally:
        noted.refs = before


def names_of(refs: Collection[ObjectRef], store_id: StoreId) -> list[ObjectId]:
    """The objects that a value names which is put into this store. Raises InvalidRef for those of other stores: nothing
    there could keep them."""
    for ref in refs:
        if ref.store_id != store_id or type(ref) is not ObjectRef:
            raise InvalidRef(
                f"{ref!r} belongs to another store than the value that is put, which cannot keep it: put the value of "
                "that ref, or pass the ref itself on"
            )
    return [ref.id for ref in refs]


def out_of_reach(object_id: ObjectId, home_pid: int | None = None) -> str:
    """Why the value of a ref cannot be had here."""
    where = "another process" if home_pid is None else f"process {home_pid}"
    return (
        f"object {object_id} belongs to the store of {where}, which process {os.getpid()} cannot reach: "
        "pass the ref as an argument to a pool of that process, or pass the value; if it lies on a node, this process "
        "has left its cluster, or the node has"
    )


class _NobodyWaits:
    """In place of a future's condition and of the list of those who wait: what is there stays as it is."""

    def append(self, waiter: Any) -> None:
        pass

    remove = append

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *_: object) -> None:
        pass

    def __contains__(self, waiter: Any) -> bool:
        return False


_NOBODY_WAITS = _NobodyWaits()


class _Noted(threading.local):
    refs: list[ObjectRef] | None = None


_noted = _Noted()


def _stores() -> Any:
    """What this process can reach; the module imports this one."""
    return import_module("distpool.objects.stores")
