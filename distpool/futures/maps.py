"""`Executor.map`: calls are submitted now, and their results iterated over later."""

from __future__ import annotations

import itertools
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, Protocol

from distpool.logic.calls import CallOptions
from distpool.options import check_repeatable
from distpool.process_future import Future as ProcessFuture
from distpool.progress import Progress


class Submits(Protocol):
    """What a map needs of an executor."""

    _options: CallOptions

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> ProcessFuture: ...


def map_calls(
    executor: Submits,
    fn: Callable[..., Any],
    iterables: tuple[Iterable[Any], ...],
    timeout: float | None,
    chunksize: int,
    buffersize: int | None,
    *,
    progress: bool,
) -> Iterator[Any]:
    """What `Executor.map` gives; see there."""
    if chunksize < 1:
        raise ValueError("chunksize must be >= 1.")
    if buffersize is not None and not isinstance(buffersize, int):
        raise TypeError("buffersize must be an integer or None")
    if buffersize is not None and buffersize < 1:
        raise ValueError("buffersize must be None or > 0")
    deadline = None if timeout is None else timeout + time.monotonic()
    items: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
    options = executor._options
    if options.retries:
        items = _repeatable(options, items) if buffersize is not None else iter(list(_repeatable(options, items)))
    if options.timeout_s is not None:
        chunksize = 1  # the limit is each item's own
    bar = Progress(_length_of(iterables)) if progress else None
    if chunksize == 1:
        return _results(executor, fn, items, deadline, buffersize, bar)
    chunks = iter(lambda: tuple(itertools.islice(items, chunksize)), ())
    calls = ((fn, chunk) for chunk in chunks)
    return itertools.chain.from_iterable(_results(executor, _run_chunk, calls, deadline, buffersize, bar))


def _results(
    executor: Submits,
    fn: Callable[..., Any],
    calls: Iterator[tuple[Any, ...]],
    deadline: float | None,
    buffersize: int | None,
    bar: Progress | None,
) -> Iterator[Any]:
    """Submit now, and iterate over the results later; what is left when the iterator ends is cancelled."""
    first = calls if buffersize is None else itertools.islice(calls, buffersize)
    pending = deque(_submit(executor, fn, args, bar) for args in first)
    owner = weakref.ref(executor)

    def iterate() -> Iterator[Any]:
        try:
            while pending:
                live = owner() if buffersize is not None else None
                if live is not None and (args := next(calls, None)) is not None:
                    pending.append(_submit(live, fn, args, bar))
                del live
                timeout_s = None if deadline is None else deadline - time.monotonic()
                yield _result_or_cancel(pending.popleft(), timeout_s)
        finally:
            for future in pending:
                future.cancel()
            if bar is not None:
                bar.close()

    return iterate()


def _submit(executor: Submits, fn: Callable[..., Any], args: tuple[Any, ...], bar: Progress | None) -> ProcessFuture:
    future = executor.submit(fn, *args)
    if bar is not None:
        items = len(args[1]) if fn is _run_chunk else 1
        future.add_done_callback(lambda _: bar.advance(items))
    return future


def _result_or_cancel(future: ProcessFuture, timeout_s: float | None) -> Any:
    """The result, with no reference to it left here: its user may want its memory back."""
    try:
        return future.result(timeout_s)
    finally:
        future.cancel()
        del future


def _run_chunk(fn: Callable[..., Any], chunk: tuple[tuple[Any, ...], ...]) -> list[Any]:
    return [fn(*args) for args in chunk]


def _repeatable(options: CallOptions, items: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """The items, until one cannot be used for a second run."""
    for position, args in enumerate(items):
        check_repeatable(options, ((f"argument {number} of item {position}", arg) for number, arg in enumerate(args)))
        yield args


def _length_of(iterables: tuple[Iterable[Any], ...]) -> int | None:
    lengths = [len(each) for each in iterables if isinstance(each, Sized)]
    return min(lengths) if lengths else None
