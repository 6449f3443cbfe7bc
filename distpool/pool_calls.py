"""The calls of a `Pool`: inputs are cut into calls, and nothing else.

map(f, items) ── chunks ──► Workers.submit ──► worker: [f(item) for item in chunk]
imap(f, items) ── Feed (a thread reads the input) ──► Workers ──► worker: f(item)
AsyncResult, MapResult, IMapIterator ◄── outcomes
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Any

from distpool.feeder import Bounded, Feed, Feeder
from distpool.logic.calls import CallOptions, Entry
from distpool.objects.known import Known
from distpool.options import check_repeatable, merged
from distpool.protocol.messages import CallMode
from distpool.results import AsyncResult, IMapIterator, IMapUnorderedIterator, MapResult
from distpool.runtime.workers import Workers
from distpool.serialization.functions import name_of
from distpool.serialization.pickling import SCALARS

if TYPE_CHECKING:
    from distpool.progress import Progress

Callback = Callable[[Any], object]

_STEPS_OF_PROGRESS = 100
_SENT_EARLY_BYTES = 16 * 1024
_ONE_BY_ONE = {CallMode.CHUNK: CallMode.ITEM, CallMode.STAR_CHUNK: CallMode.STAR}


class PoolCalls:
    """What a pool, and a pool with options, can be asked to run."""

    _workers: Workers
    _feeder: Feeder
    _processes: int
    _options: CallOptions
    _check_running: Callable[[], None]
    """Raises ValueError when the pool takes no more calls."""

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
        self._check_running()
        workers = self._workers
        options = self._options
        if options.retries:
            args = tuple(args)
            check_repeatable(options, _named_arguments(args, kwds))
        result = AsyncResult(self, workers, callback, error_callback)
        try:
            function_id, call = workers.arguments.pickle_call(func, tuple(args), dict(kwds))
        except Exception as error:
            result.resolve(False, error)
        else:
            workers.hand_in_call(function_id, call, result, options, "" if function_id else name_of(func))
        return result

    def map(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        *,
        progress: bool = False,
    ) -> list[Any]:
        """`[func(item) for item in iterable]`, `chunksize` items to a call. `progress`: show how far it is."""
        return self._map_async(func, iterable, CallMode.CHUNK, chunksize, progress=progress).get()  # type: ignore[no-any-return]

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
        *,
        progress: bool = False,
    ) -> MapResult:
        """Like `map`, at once with a result that can be waited for."""
        return self._map_async(func, iterable, CallMode.CHUNK, chunksize, callback, error_callback, progress=progress)

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        *,
        progress: bool = False,
    ) -> list[Any]:
        """`[func(*item) for item in iterable]`, `chunksize` items to a call. `progress`: show how far it is."""
        return self._map_async(func, iterable, CallMode.STAR_CHUNK, chunksize, progress=progress).get()  # type: ignore[no-any-return]

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
        *,
        progress: bool = False,
    ) -> MapResult:
        """Like `starmap`, at once with a result that can be waited for."""
        return self._map_async(
            func, iterable, CallMode.STAR_CHUNK, chunksize, callback, error_callback, progress=progress
        )

    def imap(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        buffersize: int | None = None,
        progress: bool = False,
    ) -> Any:
        """An iterator over `func(item)`, in order, while the input is still being read.

        `buffersize`: read at most so many items of the input beyond those whose results have been taken; the input may
        be endless then. None reads ahead as the workers go. `progress`: show how far it is.
        """
        return self._imap(IMapIterator, func, iterable, chunksize, buffersize, progress=progress)

    def imap_unordered(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        buffersize: int | None = None,
        progress: bool = False,
    ) -> Any:
        """Like `imap`, in the order in which the results come."""
        return self._imap(IMapUnorderedIterator, func, iterable, chunksize, buffersize, progress=progress)

    def _map_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        mode: CallMode,
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
        *,
        progress: bool = False,
    ) -> MapResult:
        self._check_running()
        items = iterable if isinstance(iterable, (list, tuple)) else _as_sized(iterable)
        options = self._options
        if options.retries:
            check_repeatable(options, _named_items(items, unpacked=mode is CallMode.STAR_CHUNK))
        if chunksize is None:
            chunksize, extra = divmod(len(items), self._processes * 4)
            if extra:
                chunksize += 1
            if progress:
                chunksize = min(chunksize, -(-len(items) // _STEPS_OF_PROGRESS))
        if options.timeout_s is not None and chunksize > 1:
            chunksize = 1  # the limit is each item's own
        bar = _bar(len(items)) if progress and items else None
        result = MapResult(self, self._workers, chunksize, len(items), callback, error_callback, bar)
        if not items or chunksize < 1:
            result.ready_if_empty()
        elif chunksize == 1:
            self._submit_items(func, items, _ONE_BY_ONE[mode], result)
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
        if function_id and set(map(type, items)) <= SCALARS:
            workers.hand_in(function_id, mode, list(items), result, 0, self._options)
            workers.poke()
            return
        runs = _Runs()
        known = Known()
        starred = mode is CallMode.STAR
        for position, item in enumerate(items):
            try:
                entry = workers.arguments.entry(function_id, func, item, position, starred=starred, known=known)
                runs.add(position, function_id, entry)
            except Exception as error:
                result.put(position, False, error)
        runs.submit(workers, mode, result, self._options, "" if function_id else name_of(func))

    def _submit_chunks(self, func: Any, items: Any, chunksize: int, mode: CallMode, result: MapResult) -> None:
        name = name_of(func)
        runs = _Runs()
        known = Known()
        starred = mode is CallMode.STAR_CHUNK
        for position, start in enumerate(range(0, len(items), chunksize)):
            try:
                # Of a range it is a range, which travels as its ends.
                items_of_chunk = items[start : start + chunksize]
                function_id, chunk = self._workers.arguments.pickle_chunk(
                    func, items_of_chunk, start, starred=starred, known=known
                )
            except Exception as error:
                result.put(position, False, error)
                continue
            runs.add(position, function_id, chunk)
            if runs.bytes >= _SENT_EARLY_BYTES:
                # Workers begin with these while the next ones are pickled.
                runs.submit(self._workers, mode, result, self._options, name, chunksize)
                runs = _Runs()
        runs.submit(self._workers, mode, result, self._options, name, chunksize)

    def _imap(
        self,
        kind: type[IMapIterator],
        func: Any,
        iterable: Iterable[Any],
        chunksize: int,
        buffersize: int | None,
        *,
        progress: bool,
    ) -> Iterator[Any]:
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
        _check_buffersize(buffersize)
        if self._options.timeout_s is not None:
            chunksize = 1  # the limit is each item's own
        if buffersize is not None:
            chunksize = min(chunksize, buffersize)
        bar = None
        if progress:
            bar = _bar(len(iterable) if isinstance(iterable, Sized) else None)
        result = kind(self, self._workers, chunksize, bar)
        feed = Feed(self._workers, func, iter(iterable), chunksize, result, self._options, buffersize)
        chunks: Iterator[Any] = result if buffersize is None else Bounded(feed, result, by_chunks=chunksize > 1)
        self._feeder.add(feed)
        if chunksize == 1:
            return chunks
        return (item for chunk in chunks for item in chunk)


class PoolWithOptions(PoolCalls):
    """A pool whose calls have options; what `Pool.with_options` returns. The pool itself is the same."""

    def __init__(self, pool: Any, options: CallOptions) -> None:
        self._owner = pool
        self._workers = pool._workers
        self._feeder = pool._feeder
        self._processes = pool._processes
        self._options = options
        self._check_running = pool._check_running

    def with_options(self, **options: Any) -> PoolWithOptions:
        """The same with these options changed."""
        return PoolWithOptions(self._owner, merged(self._options, options))

    def close(self) -> None:
        """Close the pool."""
        self._owner.close()

    def terminate(self) -> None:
        """Terminate the pool."""
        self._owner.terminate()

    def join(self) -> None:
        """Wait for the pool's end."""
        self._owner.join()

    def __enter__(self) -> PoolWithOptions:
        self._owner.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._owner.__exit__(*exception)

    def __reduce__(self) -> Any:
        return self._owner.__reduce__()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._options} of {self._owner!r}>"


class _Runs:
    """Neighbouring entries of a map, which travel as one bundle; an item that cannot be pickled parts them."""

    def __init__(self) -> None:
        self._runs: list[tuple[int, Any, list[Entry]]] = []
        self.bytes = 0
        """Of pickled entries."""

    def add(self, position: int, function_id: Any, entry: Entry) -> None:
        if type(entry) is bytes:
            self.bytes += len(entry)
        if self._runs:
            first, last_function, entries = self._runs[-1]
            if last_function == function_id and first + len(entries) == position:
                entries.append(entry)
                return
        self._runs.append((position, function_id, [entry]))

    def submit(
        self,
        workers: Workers,
        mode: CallMode,
        result: MapResult,
        options: CallOptions,
        name: str = "",
        chunksize: int = 1,
    ) -> None:
        for first, function_id, entries in self._runs:
            workers.hand_in(function_id, mode, entries, result, first, options, name, chunksize)
        workers.poke()


def _as_sized(iterable: Iterable[Any]) -> Any:
    """Something with a length and slices; the standard library too lists what has no length."""
    return iterable if hasattr(iterable, "__len__") and isinstance(iterable, range) else list(iterable)


def _named_arguments(args: Iterable[Any], kwds: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from ((f"argument {position}", value) for position, value in enumerate(args))
    yield from ((f"argument {name!r}", value) for name, value in kwds.items())


def _named_items(items: Iterable[Any], *, unpacked: bool) -> Iterator[tuple[str, Any]]:
    for position, item in enumerate(items):
        yield f"item {position}", item
        if unpacked and isinstance(item, (list, tuple)):
            yield from ((f"argument {number} of item {position}", value) for number, value in enumerate(item))


def _bar(total: int | None) -> Progress:
    from distpool.progress import Progress  # only where one is asked for

    return Progress(total)


def _check_buffersize(buffersize: int | None) -> None:
    if buffersize is None:
        return
    if isinstance(buffersize, bool) or not isinstance(buffersize, int):
        raise TypeError(f"buffersize is {buffersize!r}, a {type(buffersize).__name__}; it must be an int or None")
    if buffersize < 1:
        raise ValueError(f"buffersize is {buffersize}; it must be at least 1, or None to read ahead without a bound")
