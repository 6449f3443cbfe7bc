"""An executor whose calls have options; what `with_options` returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent import futures as standard
from typing import TYPE_CHECKING, Any

from distpool.futures.maps import map_calls
from distpool.logic.calls import CallOptions
from distpool.options import merged
from distpool.placing import SHAPE_OPTIONS
from distpool.process_future import Future as ProcessFuture

if TYPE_CHECKING:
    from distpool.futures.process import ProcessPoolExecutor


def executor_with_options(
    executor: ProcessPoolExecutor, known: CallOptions, options: dict[str, Any]
) -> ExecutorWithOptions:
    """`known` with these changed. Those of workers lead to workers of their own. Raises TypeError and ValueError."""
    resources = {name: value for name, value in options.items() if name in SHAPE_OPTIONS}
    calls = {name: value for name, value in options.items() if name not in SHAPE_OPTIONS}
    merged_options = merged(known, calls, also=SHAPE_OPTIONS)
    return ExecutorWithOptions(executor._sibling(resources) if resources else executor, merged_options)


class ExecutorWithOptions(standard.Executor):
    """An executor whose calls have options; the executor itself is the same."""

    def __init__(self, executor: ProcessPoolExecutor, options: CallOptions) -> None:
        self._owner = executor
        self._options = options

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> ProcessFuture:
        """`fn(*args, **kwargs)` in a worker, with these options."""
        return self._owner._submit(self._options, fn, args, kwargs)

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        progress: bool = False,
    ) -> Iterator[Any]:
        """See `ProcessPoolExecutor.map`."""
        return map_calls(self._owner, self._options, fn, iterables, timeout, chunksize, buffersize, progress=progress)

    def with_options(self, **options: Any) -> ExecutorWithOptions:
        """The same with these options changed."""
        return executor_with_options(self._owner, self._options, options)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the executor down."""
        self._owner.shutdown(wait, cancel_futures=cancel_futures)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._options} of {self._owner!r}>"
