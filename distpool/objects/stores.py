"""The stores that this process can reach: its own, made at first use, and in a worker also its node's. Objects of
others are brought here, where that is possible.

Nothing here is imported that only a process needs which uses them.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from distpool.base_errors import InvalidRef, ObjectLost
from distpool.ids import ObjectId, StoreId
from distpool.interrupts import in_main_thread
from distpool.objects.refs import ObjectRef, out_of_reach
from distpool.store.create import own_memory

if TYPE_CHECKING:
    import socket

    from distpool.objects.home import Home
    from distpool.objects.remote import RemoteStore

_making = threading.RLock()
_home: list[Home] = []
_attached: list[Attached] = []
_options: dict[str, Any] = {}
_far: list[FarStores] = []


class FarStores(Protocol):
    """The stores of a cluster's nodes, for a program that uses it."""

    def hold(self, store_id: StoreId, object_id: ObjectId) -> Any:
        """What keeps an object there; None when that is not known here, or gone."""
        ...

    def bring(self, store_id: StoreId, objects: list[ObjectId]) -> tuple[list[Place], Any]:
        """Where they lie in this process's own store from now on, and what keeps them there. Raises ObjectLost,
        StoreFull, and InvalidRef when no node has that store."""
        ...


Place = tuple[ObjectId, int]
"""(an object's id in a store that this process can reach, where it lies in the memory there)"""


CALLS_ABOVE = ObjectId(-1)
"""Among the news and what was dropped: that there is some of calls that the program runs for this worker."""


class Attached:
    """In a worker: the way to its node's store, which is made at first use; most workers never need it."""

    def __init__(self, store_id: StoreId, descriptor: int, sock: socket.socket, home_pid: int) -> None:
        self.id = store_id
        self.news: set[ObjectId] = set()
        """Objects that came into use since the end of the last call, and that this worker does not hold."""
        self.dropped: deque[ObjectId] = deque()
        """Objects that it holds and does not use any more."""
        self.on_settle: Callable[[], None] = _do_nothing
        self.on_flush: Callable[[], None] = _do_nothing
        """See to calls above, with the store."""
        self.relieve: Callable[[Callable[[], None]], None] = _on_main_thread
        """In the middle of calls: do this, if no result that is made now and not told yet would be overtaken by it."""
        self._parts = (descriptor, sock, home_pid)
        self._made: RemoteStore | None = None

    def settle(self) -> None:
        """At the end of a call, before its result is told, if there are news: see that what is still in use is kept."""
        is_of_calls = CALLS_ABOVE in self.news
        self.news.discard(CALLS_ABOVE)
        if self.news:
            self.store().settle()
        if is_of_calls:
            self.on_settle()

    def flush(self) -> None:
        """After the result was told, if something was dropped: say so."""
        is_of_calls = False
        while CALLS_ABOVE in self.dropped:
            self.dropped.remove(CALLS_ABOVE)
            is_of_calls = True
        if self.dropped:
            self.store().flush()
        if is_of_calls:
            self.on_flush()

    def store(self) -> RemoteStore:
        if self._made is None:
            from distpool.objects.remote import RemoteStore

            self._made = RemoteStore(self.id, *self._parts, self.news, self.dropped)
        return self._made

    def look_after_children(self) -> None:
        """Before the worker waits: let go of what children have used that have ended, and of what was dropped with the
        last call, after its result."""
        if self._made is not None and self._made.forks.has_open():
            self._made.flush()
        if self.dropped:
            self.flush()

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


def attached_store() -> Attached:
    """A worker's way to its node's store. Raises RuntimeError in a process that is no worker."""
    if not _attached:
        raise RuntimeError(f"process {os.getpid()} is no worker")
    return _attached[0]


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


def connect(far: FarStores | None) -> None:
    """In a program that uses a cluster: the stores of its nodes; None: it does not any more."""
    _far[:] = [] if far is None else [far]


def uses_cluster() -> bool:
    """There may be objects on nodes that are brought here when they are asked for."""
    return bool(_far)


def attach(store_id: StoreId, descriptor: int, sock: socket.socket, home_pid: int) -> Attached:
    """In a worker: its node's store."""
    _attached[:] = [Attached(store_id, descriptor, sock, home_pid)]
    return _attached[0]


def _do_nothing() -> None:
    pass


def _on_main_thread(relief: Callable[[], None]) -> None:
    """Where calls run there, one after another."""
    if in_main_thread():
        relief()


# Refs and pickles -----------------------------------------------------------------------------------------------------


def hold(ref: ObjectRef) -> Any:
    """What keeps the object of a ref that has arrived here; None when that cannot be."""
    store = _find(ref.store_id)
    if store is not None:
        return store.hold(ref.id)
    if _attached:
        return _attached[0].store().borrow(ref.store_id, ref.id)
    return _far[0].hold(ref.store_id, ref.id) if _far else None


def get_value(ref: ObjectRef, *, readonly: bool = False) -> Any:
    """Raises ObjectLost, StoreFull, and InvalidRef for a ref of a store that cannot be reached from here."""
    store = _find(ref.store_id)
    if ref._hold is None:
        if store is None:
            _check_reach(ref.store_id, ref.id, ref.home_pid)
        raise ObjectLost(
            f"object {ref.id} of process {ref.home_pid} is gone: this ref was released, or its object was freed before "
            "the ref arrived"
        )
    if store is None:
        return _load_brought(ref, readonly=readonly)
    store.have(ref.id)
    return _load_object(store, ref, (ref.id, ref.offset), readonly=readonly)


def is_on_node(ref: ObjectRef) -> bool:
    """It names an object of a node of the cluster that this program uses: other nodes get it from there."""
    return bool(_far) and ref._hold is not None and _find(ref.store_id) is None


def load_object(ref: ObjectRef) -> Any:
    """Where the pickle of an argument that was a ref is opened: the value."""
    store = _find(ref.store_id)
    return _load_brought(ref) if store is None else _load_object(store, ref, (ref.id, ref.offset))


def load_value(store_id: StoreId, stream: Any, buffers: Any, home_pid: int) -> Any:
    """Where the pickle of a value is opened whose large parts lie in a store."""
    from distpool.objects.segments import Piece, Recipe, load, moved

    recipe = Recipe(
        [part if type(part) is bytes else Piece(*part) for part in stream], [Piece(*part) for part in buffers], []
    )
    store = _find(store_id)
    readonly, opened = _reading.readonly, _reading.opened
    if store is not None:
        return load(recipe, store, {}, readonly=readonly, opened=opened)
    pieces = (part for part in (*recipe.buffers, *recipe.stream) if not isinstance(part, bytes))
    objects = list(dict.fromkeys(piece.object for piece in pieces))
    store, places, kept = _bring(store_id, objects, home_pid)
    recipe = moved(recipe, dict(zip(objects, places, strict=True)))
    value = load(recipe, store, {}, readonly=readonly, opened=opened)
    del kept
    return value


class _Reading(threading.local):
    readonly = False
    opened: Any = None


_reading = _Reading()


@contextmanager
def reading(*, readonly: bool, opened: Any = None) -> Iterator[None]:
    """Within, this thread opens the pickles of values like this: see `get`, and `segments.load`."""
    before = _reading.readonly, _reading.opened
    _reading.readonly, _reading.opened = readonly, opened
    try:
        yield
    finally:
        _reading.readonly, _reading.opened = before


def _load_brought(ref: ObjectRef, *, readonly: bool = False) -> Any:
    store, places, kept = _bring(ref.store_id, [ref.id], ref.home_pid)
    value = _load_object(store, ref, places[0], readonly=readonly)
    del kept
    return value


def _load_object(store: Any, ref: ObjectRef, place: Place, *, readonly: bool = False) -> Any:
    from distpool.objects.segments import load, read_recipe

    object_id, offset = place
    segment = store.view(object_id, offset, ref.size, readonly=readonly)
    recipe = read_recipe(segment, object_id, offset)
    if recipe is None:
        raise ObjectLost(f"object {ref.id} of process {ref.home_pid} does not lie where its ref says")
    return load(recipe, store, {object_id: segment}, readonly=readonly)


def _bring(store_id: StoreId, objects: list[ObjectId], home_pid: int) -> tuple[Any, list[Place], Any]:
    """Objects of a store elsewhere: the store that they are brought to, where they lie there, and what keeps them."""
    if _attached:
        store = _attached[0].store()
        return store, *store.bring(store_id, objects)
    from distpool.objects.copies import find

    here = [find((store_id, object_id)) for object_id in objects]
    if all(copy is not None and copy.is_whole for copy in here):
        return home(), [copy.place for copy in here if copy is not None], here
    _check_reach(store_id, objects[0], home_pid)
    return home(), *_far[0].bring(store_id, objects)


def _check_reach(store_id: StoreId, object_id: ObjectId, home_pid: int) -> None:
    """Raises InvalidRef when there is no way from here to that store."""
    if not (_attached or _far):
        raise InvalidRef(out_of_reach(object_id, home_pid))


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
    _far.clear()
    _making.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
