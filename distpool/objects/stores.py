"""The stores that this process can reach: its own, made at first use, and in a worker also its node's.

Nothing here is imported that only a process needs which uses them.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from distpool.base_errors import InvalidRef, ObjectLost
from distpool.ids import ObjectId, StoreId
from distpool.objects.refs import ObjectRef
from distpool.store.create import own_memory

if TYPE_CHECKING:
    import socket

    from distpool.objects.home import Home
    from distpool.objects.remote import RemoteStore

_making = threading.RLock()
_home: list[Home] = []
_attached: list[Attached] = []
_options: dict[str, Any] = {}


class Attached:
    """In a worker: the way to its node's store, which is made at first use; most workers never need it."""

    def __init__(self, store_id: StoreId, descriptor: int, sock: socket.socket, home_pid: int) -> None:
        self.id = store_id
        self.news: set[ObjectId] = set()
        """Objects that came into use since the end of the last call, and that this worker does not hold."""
        self.dropped: deque[ObjectId] = deque()
        """Objects that it holds and does not use any more."""
        self._parts = (descriptor, sock, home_pid)
        self._made: RemoteStore | None = None

    def store(self) -> RemoteStore:
        if self._made is None:
            from distpool.objects.remote import RemoteStore

            self._made = RemoteStore(self.id, *self._parts, self.news, self.dropped)
        return self._made

    def look_after_children(self) -> None:
        """Before the worker waits: let go of what children have used that have ended."""
        if self._made is not None and self._made.has_children():
            self._made.flush()

    def note_fork(self) -> None:
        if self._made is not None:
            self._made.note_fork()

    def fork_done(self, *, is_child: bool) -> None:
        if self._made is not None:
            self._made.fork_done(is_child=is_child)
        if is_child:
            descriptor, sock, _ = self._parts
            os.close(descriptor)
            sock.close()


def home() -> Home:
    """The store that this process owns. Raises ValueError when its settings make no sense."""
    with _making:
        if not _home:
            from distpool.objects.home import Home
            from distpool.objects.limits import spill_folder, store_size

            limit = store_size(_options.get("size"))
            folder = spill_folder(_options.get("spill_folder"))
            _home.append(Home(*own_memory(), limit, folder))
        return _home[0]


def made_home() -> Home | None:
    """`home`, if anything has used it yet."""
    return _home[0] if _home else None


def current() -> Home | RemoteStore:
    """Where `put` puts: a worker's node's store, or else this process's own."""
    return _attached[0].store() if _attached else home()


def configure(size: str | int | None, spill_folder: str | os.PathLike[str] | None) -> None:
    """Settings for this process's own store. Raises RuntimeError when it is in use."""
    with _making:
        if _home:
            raise RuntimeError("the store is in use already: configure it before the first large value or `put`")
        from distpool.objects import limits

        limits.store_size(size)
        limits.spill_folder(spill_folder)
        _options.update(size=size, spill_folder=spill_folder)


def attach(store_id: StoreId, descriptor: int, sock: socket.socket, home_pid: int) -> Attached:
    """In a worker: its node's store."""
    _attached[:] = [Attached(store_id, descriptor, sock, home_pid)]
    return _attached[0]


# Refs and pickles -----------------------------------------------------------------------------------------------------


def hold(ref: ObjectRef) -> Any:
    """What keeps the object of a ref that has arrived here; None when that cannot be."""
    store = _find(ref.store_id)
    return None if store is None else store.hold(ref.id)


def get_value(ref: ObjectRef, *, readonly: bool = False) -> Any:
    """Raises ObjectLost, and InvalidRef for a ref of a store that cannot be reached from here."""
    store = reach(ref.store_id, ref.id, ref.home_pid)
    if ref._hold is None:
        raise ObjectLost(
            f"object {ref.id} of process {ref.home_pid} is gone: this ref was released, or its object was freed before "
            "the ref arrived"
        )
    store.have(ref.id)
    return _load_object(store, ref, readonly=readonly)


def load_object(ref: ObjectRef) -> Any:
    """Where the pickle of an argument that was a ref is opened: the value."""
    return _load_object(reach(ref.store_id, ref.id, ref.home_pid), ref)


def load_value(store_id: StoreId, stream: Any, buffers: Any, home_pid: int) -> Any:
    """Where the pickle of a value is opened whose large parts lie in a store."""
    from distpool.objects.segments import Piece, Recipe, load

    recipe = Recipe(
        [part if type(part) is bytes else Piece(*part) for part in stream], [Piece(*part) for part in buffers], []
    )
    first = next(part.object for part in (*recipe.buffers, *recipe.stream) if not isinstance(part, bytes))
    return load(recipe, reach(store_id, first, home_pid), {})


def reach(store_id: StoreId, object_id: ObjectId, home_pid: int) -> Any:
    """The store. Raises InvalidRef."""
    store = _find(store_id)
    if store is None:
        raise InvalidRef(
            f"object {object_id} belongs to the store of process {home_pid}, which process {os.getpid()} cannot reach: "
            "pass the ref as an argument to a pool of that process, or pass the value"
        )
    return store


def _load_object(store: Any, ref: ObjectRef, *, readonly: bool = False) -> Any:
    from distpool.objects.segments import load, read_recipe

    segment = store.view(ref.id, ref.offset, ref.size, readonly=readonly)
    recipe = read_recipe(segment, ref.id, ref.offset)
    if recipe is None:
        raise ObjectLost(f"object {ref.id} of process {ref.home_pid} does not lie where its ref says")
    return load(recipe, store, {ref.id: segment}, readonly=readonly)


def _find(store_id: StoreId) -> Any:
    for store in _home:
        if store.id == store_id:
            return store
    for attached in _attached:
        if attached.id == store_id:
            return attached.store()
    return None


# Forks ----------------------------------------------------------------------------------------------------------------


def _forked_with() -> list[Home | Attached]:
    return [*_home, *_attached]


def _before_fork() -> None:
    _making.acquire()
    for store in _forked_with():
        store.note_fork()


def _after_fork_in_parent() -> None:
    for store in _forked_with():
        store.fork_done(is_child=False)
    _making.release()


def _after_fork_in_child() -> None:
    """The child of a fork has the values that were mapped, and nothing else of the stores."""
    for store in _forked_with():
        store.fork_done(is_child=True)
    _home.clear()
    _attached.clear()
    _making.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
