"""Objects in the store, as users handle them: `put`, `get`, `wait`, `release`, `store_stats`, `configure_store`."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from importlib import import_module
from typing import Any

from distpool.objects.refs import ObjectRef, noting_refs
from distpool.objects.stats import StoreStats
from distpool.objects.stores import configure, current, get_value
from distpool.runtime.main_view import CallersMain, view_of_main
from distpool.serialization.buffers import parts_of
from distpool.serialization.pickling import blame

Waitable = ObjectRef | Future[Any]


def put(value: object) -> ObjectRef:
    """Store `value` once on this node, and return a handle to it.

    Buffers of 64 KiB and more (of NumPy arrays, Arrow tables, pandas columns) are copied once into shared memory, and
    readers on this node map them without a copy; `bytes` are copied once more by each reader. The value is kept for as
    long as any process has a ref to it.

    Raises StoreFull when neither shared memory nor the spill folder has room, and what pickling raises, with the part
    of `value` that cannot be pickled in the message. A ref itself cannot be put (TypeError); a list of refs can.
    """
    if isinstance(value, ObjectRef):
        raise TypeError(f"{value!r} is a ref already: pass it on as it is, or put a list with it")
    store = current()
    main = CallersMain() if hasattr(store, "home_pid") else view_of_main(_start_method())
    try:
        parts, named = noting_refs(partial(parts_of, main=main), value)
    except Exception as error:
        raise blame(error, [("the value", value)], main) from None
    return store.put(parts, named)


def get(refs: Any, *, timeout: float | None = None, readonly: bool = False) -> Any:
    """The value of a ref or future, or a list of the values of a list of them.

    Arrays arrive as private copies whose pages are copied where they are written to: writable, and nobody else sees
    the change. With `readonly` they are the shared memory itself and cannot be written to.

    `timeout`: seconds in all; then TimeoutError says which are not ready. Raises ObjectLost for an object that was
    freed, InvalidRef for a ref of a store that this process cannot reach, and what the call of a future raised.
    """
    if isinstance(refs, (ObjectRef, Future)):
        return _get_all([refs], timeout, readonly=readonly)[0]
    _check(refs, "get")
    return _get_all(refs, timeout, readonly=readonly)


def wait(
    refs: Sequence[Waitable], *, num_returns: int = 1, timeout: float | None = None
) -> tuple[list[Waitable], list[Waitable]]:
    """Wait until `num_returns` of the refs or futures are ready, at most `timeout` seconds: (ready, not ready), both in
    the order of `refs`. At most `num_returns` are in the first list. Raises ValueError when there are fewer of them.
    """
    _check(refs, "wait")
    if isinstance(num_returns, bool) or not isinstance(num_returns, int):
        raise TypeError(f"num_returns is {num_returns!r}, a {type(num_returns).__name__}; it must be an int")
    if not 0 < num_returns <= len(refs):
        raise ValueError(f"num_returns is {num_returns}; it must be from 1 to {len(refs)}, the number of refs")
    pending = Counter(ref for ref in refs if not _is_ready(ref))
    missing = num_returns - (len(refs) - pending.total())
    if missing > 0:
        ends_at = None if timeout is None else time.monotonic() + timeout
        try:
            with closing(_completion().as_completed(pending, timeout)) as completed:
                while missing > 0:
                    missing -= pending[next(completed)]
        except TimeoutError:
            if ends_at is None or time.monotonic() < ends_at:
                raise  # it is a signal handler's
    ready: list[Waitable] = []
    others: list[Waitable] = []
    for ref in refs:
        (ready if len(ready) < num_returns and _is_ready(ref) else others).append(ref)
    return ready, others


def release(refs: ObjectRef | Iterable[ObjectRef]) -> None:
    """Give up refs: their objects are freed at once where nobody else holds them, and `get` of them raises ObjectLost.

    Values that came from them stay as they are. To release a ref twice does nothing.
    """
    if isinstance(refs, ObjectRef):
        refs = [refs]
    for ref in refs:
        if not isinstance(ref, ObjectRef):
            raise TypeError(f"{ref!r} is a {type(ref).__name__}; release takes refs that put returned")
        hold, ref._hold = ref._hold, None
        if hold is not None:
            hold.end()


def store_stats() -> StoreStats:
    """How full this node's store is."""
    return current().stats()


def configure_store(*, size: str | int | None = None, spill_folder: str | os.PathLike[str] | None = None) -> None:
    """Set how much memory the store of this process may take, and where it puts on disk what does not fit.

    `size`: bytes, or "512MiB", "4GB", or a share of the memory as "30%"; by default the environment variable
    DISTPOOL_STORE_SIZE, or 40 % of the memory of the machine or control group. `spill_folder`: a folder, by default
    DISTPOOL_SPILL_FOLDER, or else /var/tmp. Raises ValueError and TypeError that list what is valid, and RuntimeError
    when the store is in use already.
    """
    configure(size, spill_folder)


def _get_all(refs: Iterable[Waitable], timeout: float | None, *, readonly: bool) -> list[Any]:
    refs = list(refs)
    futures = {ref for ref in refs if not isinstance(ref, ObjectRef)}
    if futures:
        late = _completion().wait(futures, timeout).not_done
        if late:
            names = ", ".join(f"{position} ({ref!r})" for position, ref in enumerate(refs) if ref in late)
            raise TimeoutError(f"after {timeout} s {len(late)} of {len(refs)} are not ready: {names}")
    return [get_value(ref, readonly=readonly) if isinstance(ref, ObjectRef) else ref.result() for ref in refs]


def _completion() -> Any:
    """Not every program that has refs waits for futures."""
    return import_module("distpool.futures.completion")


def _is_ready(ref: Waitable) -> bool:
    return isinstance(ref, ObjectRef) or ref.done()


def _check(refs: Any, name: str) -> None:
    if not isinstance(refs, (list, tuple)):
        raise TypeError(f"{name} takes a list of refs or futures, not {refs!r}, a {type(refs).__name__}")
    for position, ref in enumerate(refs):
        if not isinstance(ref, (ObjectRef, Future)):
            raise TypeError(f"{name} takes refs or futures; number {position} is {ref!r}, a {type(ref).__name__}")


def _start_method() -> str:
    from distpool.context import get_context  # imports what a program with no pool does not need

    return str(get_context().get_start_method())
