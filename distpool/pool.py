"""`multiprocessing.Pool` on distpool's runtime: cuts inputs into calls, and nothing else.

map(f, items) ── chunks ──► Workers.submit ──► worker: [f(item) for item in chunk]
imap(f, items) ── Feed (a thread reads the input) ──► Workers ──► worker: f(item)
AsyncResult, MapResult, IMapIterator ◄── outcomes
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing import TimeoutError, process, spawn, util
from multiprocessing import pool as standard
from multiprocessing.pool import CLOSE, INIT, RUN, TERMINATE, ThreadPool
from multiprocessing.pool import MaybeEncodingError as MaybeEncodingError  # type: ignore[attr-defined]
from multiprocessing.pool import RemoteTraceback as RemoteTraceback  # type: ignore[attr-defined]
from operator import index
from typing import Any

from distpool.context import cpu_count_for_pools, get_context
from distpool.feeder import Feed, Feeder
from distpool.logic.calls import Entry
from distpool.logic.group import GroupPlan
from distpool.protocol.messages import CallMode
from distpool.results import AsyncResult, IMapIterator, IMapUnorderedIterator, MapResult
from distpool.runtime.handles import WorkerHandle
from distpool.runtime.launcher import LaunchPlan
from distpool.runtime.session import Workers, open_workers
from distpool.serialization.pickling import SCALARS
from distpool.signatures import lists_options

Callback = Callable[[Any], object]


class Pool(standard.Pool):
    """A pool of worker processes; see `multiprocessing.pool.Pool`, whose calls and errors it has.

    Unlike there, a worker that dies fails only the call that it had begun, with `WorkerDied`, and a lambda or a local
    class may be an argument. `processes`: how many, by default one for each CPU. `initializer(*initargs)` runs first in
    each worker; a worker is replaced after `maxtasksperchild` calls (chunks count as one).
    """

    _state = INIT

    @lists_options
    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any | None = None,
    ) -> None:
        self._ctx = context or get_context()
        _ = self._ctx.SimpleQueue  # what is no context fails as it does in the standard library
        if processes is None:
            processes = cpu_count_for_pools()
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        processes = index(processes)
        if maxtasksperchild is not None and (not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        start_method = self._ctx.get_start_method()
        check_may_have_children(start_method)
        self._processes = processes
        self._maxtasksperchild = maxtasksperchild
        self._initializer = initializer
        self._initargs = initargs
        self._feeder = Feeder()
        self._workers = open_workers(
            GroupPlan(processes, calls_per_worker=maxtasksperchild),
            LaunchPlan(
                start_method,
                processes,
                f"{start_method_prefix(start_method)}PoolWorker",
                True,
                initializer,
                tuple(initargs),
                MaybeEncodingError,
            ),
        )
        self._terminate = util.Finalize(self, self._workers.terminate, exitpriority=15)
        self._state = RUN

    def __del__(self) -> None:
        if self._state == RUN and self._workers.is_owned_here():
            warnings.warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self, stacklevel=1)

    @property
    def _pool(self) -> list[WorkerHandle]:
        """The worker processes that live; some libraries read it."""
        return self._workers.handles() if self._state != INIT else []

    # Calls ----------------------------------------------------------------------------------------------------------

    def apply(self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: Mapping[str, Any] = {}) -> Any:
        """`func(*args, **kwds)` in a worker."""
        return self._apply_async(func, args, kwds, None, None).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> AsyncResult:
        """Like `apply`, at once with a result that can be waited for."""
        result = self._apply_async(func, args, kwds, callback, error_callback)
        self._workers.poke()
        return result

    def _apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any],
        kwds: Mapping[str, Any],
        callback: Callback | None,
        error_callback: Callback | None,
    ) -> AsyncResult:
        """Hand the call in, and leave it to whoever waits, or pokes, to send it."""
        self._check_running()  # type: ignore[attr-defined]
        workers = self._workers
        result = AsyncResult(self, workers, callback, error_callback)
        try:
            function_id, call = workers.arguments.pickle_call(func, tuple(args), dict(kwds))
        except Exception as error:
            result.resolve(False, error)
        else:
            workers.hand_in_call(function_id, call, result)
        return result

    def map(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """`[func(item) for item in iterable]`, `chunksize` items to a call."""
        return self._map_async(func, iterable, CallMode.CHUNK, chunksize).get()  # type: ignore[no-any-return]

    def map_async(  # type: ignore[override]
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> MapResult:
        """Like `map`, at once with a result that can be waited for."""
        return self._map_async(func, iterable, CallMode.CHUNK, chunksize, callback, error_callback)

    def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[Any]:
        """`[func(*item) for item in iterable]`, `chunksize` items to a call."""
        return self._map_async(func, iterable, CallMode.STAR_CHUNK, chunksize).get()  # type: ignore[no-any-return]

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> MapResult:
        """Like `starmap`, at once with a result that can be waited for."""
        return self._map_async(func, iterable, CallMode.STAR_CHUNK, chunksize, callback, error_callback)

    def imap(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1) -> Any:  # type: ignore[override]
        """An iterator over `func(item)`, in order, while the input is still being read."""
        return self._imap(IMapIterator, func, iterable, chunksize)

    def imap_unordered(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1) -> Any:  # type: ignore[override]
        """Like `imap`, in the order in which the results come."""
        return self._imap(IMapUnorderedIterator, func, iterable, chunksize)

    def _map_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        mode: CallMode,
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> MapResult:
        self._check_running()  # type: ignore[attr-defined]
        items = iterable if isinstance(iterable, (list, tuple)) else _as_sized(iterable)
        if chunksize is None:
            chunksize, extra = divmod(len(items), self._processes * 4)
            if extra:
                chunksize += 1
        is_flat = chunksize == 1
        result = MapResult(self, self._workers, chunksize, len(items), callback, error_callback, is_flat=is_flat)
        if not items or chunksize < 1:
            result.ready_if_empty()
        elif is_flat:
            self._submit_items(func, items, CallMode.ITEM if mode is CallMode.CHUNK else CallMode.STAR, result)
        else:
            self._submit_chunks(func, items, chunksize, mode, result)
        return result

    def _submit_items(self, func: Any, items: Any, mode: CallMode, result: MapResult) -> None:
        workers = self._workers
        try:
            function_id = workers.arguments.function_for_items(func)
        except Exception as error:
            for position in range(len(items)):
                result.put(position, False, error)
            return
        if set(map(type, items)) <= SCALARS:
            workers.submit(function_id, mode, list(items), result)
            return
        runs = _Runs()
        for position, item in enumerate(items):
            try:
                runs.add(position, function_id, workers.arguments.entry(item, position))
            except Exception as error:
                result.put(position, False, error)
        runs.submit(workers, mode, result)

    def _submit_chunks(self, func: Any, items: Any, chunksize: int, mode: CallMode, result: MapResult) -> None:
        runs = _Runs()
        for position, start in enumerate(range(0, len(items), chunksize)):
            try:
                function_id, chunk = self._workers.arguments.pickle_chunk(
                    func, list(items[start : start + chunksize]), start
                )
            except Exception as error:
                result.put(position, False, error)
            else:
                runs.add(position, function_id, chunk)
        runs.submit(self._workers, mode, result)

    def _imap(self, kind: type[IMapIterator], func: Any, iterable: Iterable[Any], chunksize: int) -> Iterator[Any]:
        self._check_running()  # type: ignore[attr-defined]
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
        result = kind(self, self._workers)
        self._feeder.add(Feed(self._workers, func, iter(iterable), chunksize, result))
        if chunksize == 1:
            return result
        return (item for chunk in result for item in chunk)

    # Life -----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """No more calls; the workers end when all are done."""
        if self._state == RUN:
            self._state = CLOSE
            self._feeder.close(self._workers.close)

    def terminate(self) -> None:
        """End the workers now. Calls that have not ended raise PoolTerminated where they are waited for."""
        self._state = TERMINATE
        self._terminate()
        if self._workers.is_owned_here():
            self._workers.join()

    def join(self) -> None:
        """Wait until the workers have ended; `close` or `terminate` comes first."""
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        if self._state == CLOSE:
            self._feeder.join()
        self._workers.join()


class _Runs:
    """Neighbouring entries of a map, which travel as one bundle; an item that cannot be pickled parts them."""

    def __init__(self) -> None:
        self._runs: list[tuple[int, Any, list[Entry]]] = []

    def add(self, position: int, function_id: Any, entry: Entry) -> None:
        if self._runs:
            first, last_function, entries = self._runs[-1]
            if last_function == function_id and first + len(entries) == position:
                entries.append(entry)
                return
        self._runs.append((position, function_id, [entry]))

    def submit(self, workers: Workers, mode: CallMode, result: MapResult) -> None:
        for first, function_id, entries in self._runs:
            workers.submit(function_id, mode, entries, result, first)


def _as_sized(iterable: Iterable[Any]) -> Any:
    """Something with a length and slices; the standard library too lists what has no length."""
    return iterable if hasattr(iterable, "__len__") and isinstance(iterable, range) else list(iterable)


def check_may_have_children(start_method: str) -> None:
    """Raises what the standard library raises in a daemonic process, and in a child that still imports `__main__`."""
    if start_method != "fork":
        spawn._check_not_importing_main()  # type: ignore[attr-defined]
    if process.current_process()._config.get("daemon"):  # type: ignore[attr-defined]
        raise AssertionError("daemonic processes are not allowed to have children")


def start_method_prefix(start_method: str) -> str:
    """What the names of the standard library's processes begin with: Fork, ForkServer or Spawn."""
    return {"fork": "Fork", "forkserver": "ForkServer", "spawn": "Spawn"}[start_method]


ApplyResult = AsyncResult

__all__ = [
    "ApplyResult",
    "AsyncResult",
    "IMapIterator",
    "IMapUnorderedIterator",
    "MapResult",
    "MaybeEncodingError",
    "Pool",
    "RemoteTraceback",
    "ThreadPool",
    "TimeoutError",
]
