"""`concurrent.futures.process` on distpool's runtime.

submit(f, x) ── pickled ──► Workers ──► worker: f(x)
Future (a `concurrent.futures.Future`) ◄── outcome
"""

from __future__ import annotations

import itertools
import threading
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures as standard
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from distpool.context import cpu_count_for_pools, get_context
from distpool.logic.group import GroupPlan
from distpool.pool import check_may_have_children, start_method_prefix
from distpool.process_future import Future as ProcessFuture
from distpool.process_future import RemoteTraceback
from distpool.protocol.messages import OutcomeKind
from distpool.runtime.handles import WorkerHandle
from distpool.runtime.launcher import LaunchPlan
from distpool.runtime.session import ENDING, Workers, open_workers
from distpool.signatures import lists_options


class ProcessPoolExecutor(standard.ProcessPoolExecutor):
    """Runs calls in worker processes; see `concurrent.futures.ProcessPoolExecutor`, whose calls and errors it has.

    `max_workers`: at most so many, by default one for each CPU. `initializer(*initargs)` runs first in each worker; a
    worker is replaced after `max_tasks_per_child` calls. When a worker dies, all pending futures raise
    BrokenProcessPool, as in the standard library.
    """

    @lists_options
    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
    ) -> None:
        if max_workers is None:
            max_workers = cpu_count_for_pools()
        elif max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if mp_context is None:
            mp_context = get_context("spawn") if max_tasks_per_child is not None else get_context()
        self._max_workers = max_workers
        self._mp_context = mp_context
        start_method = mp_context.get_start_method(allow_none=False)
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if max_tasks_per_child <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
            if start_method == "fork":
                raise ValueError(
                    "max_tasks_per_child is incompatible with the 'fork' multiprocessing start method; "
                    "supply a different mp_context."
                )
        self._start_method = start_method
        self._initializer: Any = initializer
        self._initargs = initargs
        self._max_tasks_per_child = max_tasks_per_child
        self._shutdown_lock = threading.Lock()
        self._shutdown_thread = False
        self._workers: Workers | None = None

    # Calls ----------------------------------------------------------------------------------------------------------

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> ProcessFuture:
        """`fn(*args, **kwargs)` in a worker; raises BrokenProcessPool or RuntimeError when no call can run any more."""
        with self._shutdown_lock:
            workers = self._workers
            if workers is None or not workers.is_open() or ENDING:
                workers = self._start_or_refuse(workers)
            future = ProcessFuture(workers)
            try:
                function_id, call = workers.arguments.pickle_call(fn, args, kwargs)
            except Exception as error:
                text = "".join(traceback.format_exception(error))
                error.__cause__ = RemoteTraceback(f'\n"""\n{text}"""')
                future.set_exception(error)
                return future
            workers.hand_in_call(function_id, call, future)
        workers.poke()
        return future

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """An iterator over `fn` of the items, in order; `chunksize` of them to a call.

        `timeout`: seconds from now after which the iterator raises TimeoutError. `buffersize`: how many results may be
        waited for before more of the input is read; None reads it all at once.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        deadline = None if timeout is None else timeout + time.monotonic()
        items: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
        if chunksize == 1:
            return _results(self, fn, items, deadline, buffersize)
        chunks = iter(lambda: tuple(itertools.islice(items, chunksize)), ())
        calls = ((fn, chunk) for chunk in chunks)
        return itertools.chain.from_iterable(_results(self, _run_chunk, calls, deadline, buffersize))

    # Life -----------------------------------------------------------------------------------------------------------

    @property
    def _processes(self) -> dict[int, WorkerHandle] | None:  # type: ignore[override]
        """The workers by their pid; some libraries read it. None after shutdown, as in the standard library."""
        if self._shutdown_thread or self._workers is None:
            return None if self._shutdown_thread else {}
        self._workers.settle()
        return {handle.pid: handle for handle in self._workers.handles() if handle.pid is not None}

    @property
    def _broken(self) -> str | bool:  # type: ignore[override]
        return (self._workers is not None and self._workers.broken) or False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """No more calls. `cancel_futures`: cancel those that were not sent to a worker. `wait` for the others."""
        with self._shutdown_lock:
            self._shutdown_thread = True
            workers = self._workers
        if workers is None or not workers.is_owned_here():
            return
        if cancel_futures:
            workers.cancel_waiting()
        workers.close()
        if wait:
            workers.join()

    def terminate_workers(self) -> None:
        """End the workers with SIGTERM, now: pending futures raise BrokenProcessPool."""
        self._end_workers(WorkerHandle.terminate, "terminated")

    def kill_workers(self) -> None:
        """End the workers with SIGKILL, now: pending futures raise BrokenProcessPool."""
        self._end_workers(WorkerHandle.kill, "killed")

    def _end_workers(self, end: Callable[[WorkerHandle], None], how: str) -> None:
        workers = self._workers
        if workers is not None:
            for handle in workers.handles():
                end(handle)
            workers.terminate(OutcomeKind.BROKEN, f"the workers of the process pool were {how}")
        self.shutdown(wait=False, cancel_futures=True)

    def _start_or_refuse(self, workers: Workers | None) -> Workers:
        """The workers for a first call; for one that comes too late, the standard library's error."""
        if workers is not None and workers.broken:
            raise BrokenProcessPool(workers.broken)
        if self._shutdown_thread:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if ENDING:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        return self._start() if workers is None else workers

    def _start(self) -> Workers:
        check_may_have_children(self._start_method)
        self._workers = workers = open_workers(
            GroupPlan(
                self._max_workers,
                on_demand=self._start_method != "fork",
                breaks=True,
                calls_per_worker=self._max_tasks_per_child,
            ),
            LaunchPlan(
                self._start_method,
                self._max_workers,
                f"{start_method_prefix(self._start_method)}Process",
                False,
                self._initializer,
                tuple(self._initargs),
                breaks=True,
            ),
            drains_at_exit=True,
        )
        # An executor that nobody has any more finishes what was submitted, and then its workers end.
        weakref.finalize(self, _close_if_owned, workers).atexit = False
        return workers


def _results(
    executor: ProcessPoolExecutor,
    fn: Callable[..., Any],
    calls: Iterator[tuple[Any, ...]],
    deadline: float | None,
    buffersize: int | None,
) -> Iterator[Any]:
    """Submit now, and iterate over the results later; what is left when the iterator ends is cancelled."""
    first = calls if buffersize is None else itertools.islice(calls, buffersize)
    pending = deque(executor.submit(fn, *args) for args in first)
    owner = weakref.ref(executor)

    def iterate() -> Iterator[Any]:
        try:
            while pending:
                live = owner() if buffersize is not None else None
                if live is not None and (args := next(calls, None)) is not None:
                    pending.append(live.submit(fn, *args))
                del live
                timeout_s = None if deadline is None else deadline - time.monotonic()
                yield _result_or_cancel(pending.popleft(), timeout_s)
        finally:
            for future in pending:
                future.cancel()

    return iterate()


def _result_or_cancel(future: ProcessFuture, timeout_s: float | None) -> Any:
    """The result, with no reference to it left here: its user may want its memory back."""
    try:
        return future.result(timeout_s)
    finally:
        future.cancel()
        del future


def _run_chunk(fn: Callable[..., Any], chunk: tuple[tuple[Any, ...], ...]) -> list[Any]:
    return [fn(*args) for args in chunk]


def _close_if_owned(workers: Workers) -> None:
    if workers.is_owned_here():
        workers.close()


__all__ = ["BrokenProcessPool", "ProcessPoolExecutor"]
