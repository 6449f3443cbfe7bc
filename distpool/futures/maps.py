"""`Executor.map`: calls are submitted now, and their results iterated over later."""

from __future__ import annotations

import itertools
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, Protocol

from distpool.logic.calls import NO_OPTIONS, CallOptions
from distpool.options import check_repeatable
from distpool.process_future import Future as ProcessFuture
from distpool.progress import Progress


class Submits(Protocol):
    """What a map needs of an executor."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> ProcessFuture: ...

    def _submit(
        self, options: CallOptions, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> ProcessFuture: ...

    def _submit_chunk(
        self, options: CallOptions, fn: Callable[..., Any], chunk: list[tuple[Any, ...]], first: int, chunksize: int
    ) -> ProcessFuture: ...


Submit = Callable[[Submits, Any], ProcessFuture]
"""Have an executor run the next item, or the next chunk."""


def map_calls(
    executor: Submits,
    options: CallOptions,
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
    if options.retries:
        items = _repeatable(options, items) if buffersize is not None else iter(list(_repeatable(options, items)))
    if options.timeout_s is not None:
        chunksize = 1  # the limit is each item's own
    bar = Progress(_length_of(iterables)) if progress else None
    if chunksize == 1:

        def submit_item(executor: Submits, item: tuple[Any, ...]) -> ProcessFuture:
            if options is NO_OPTIONS:
                return _counted(executor.submit(fn, *item), 1, bar)
            return _counted(executor._submit(options, fn, item, {}), 1, bar)

        return _results(executor, submit_item, items, deadline, buffersize, bar)

    def submit_chunk(executor: Submits, numbered: tuple[int, list[tuple[Any, ...]]]) -> ProcessFuture:
        number, chunk = numbered
        future = executor._submit_chunk(options, fn, chunk, number * chunksize, chunksize)
        return _counted(future, len(chunk), bar)

    chunks = enumerate(iter(lambda: list(itertools.islice(items, chunksize)), []))
    return itertools.chain.from_iterable(_results(executor, submit_chunk, chunks, deadline, buffersize, bar))


def _counted(future: ProcessFuture, items: int, bar: Progress | None) -> ProcessFuture:
    if bar is not None:
        future.add_done_callback(lambda _: bar.advance(items))
    return future


def _results(
    executor: Submits,
    submit: Submit,
    calls: Iterator[Any],
    deadline: float | None,
    buffersize: int | None,
    bar: Progress | None,
) -> Iterator[Any]:
    """Submit now, and iterate over the results later; what is left when the iterator ends is cancelled."""
    first = calls if buffersize is None else itertools.islice(calls, buffersize)
    pending = deque(submit(executor, call) for call in first)
    owner = weakref.ref(executor)

    def iterate() -> Iterator[Any]:
        try:
            while pending:
                live = owner() if buffersize is not None else None
                if live is not None and (call := next(calls, None)) is not None:
                    pending.append(submit(live, call))
                del live
                timeout_s = None if deadline is None else deadline - time.monotonic()
                yield _result_or_cancel(pending.popleft(), timeout_s)
        finally:
            for future in pending:
                future.cancel()
            if bar is not None:
                bar.close()

    return iterate()


def _result_or_cancel(future: ProcessFuture, timeout_s: float | None) -> Any:
    """The result, with no reference to it left here: its user may want its memory back."""
    try:
        return future.result(timeout_s)
    finally:
        future.cancel()
        del future


def _repeatable(options: CallOptions, items: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """The items, until one cannot be used for a second run."""
    for position, args in enumerate(items):
        check_repeatable(options, ((f"argument {number} of item {position}", arg) for number, arg in enumerate(args)))
        yield args


def _length_of(iterables: tuple[Iterable[Any], ...]) -> int | None:
    lengths = [len(each) for each in iterables if isinstance(each, Sized)]
    return min(lengths) if lengths else None
