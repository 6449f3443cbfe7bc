"""`concurrent.futures.process` on distpool's runtime.

submit(f, x) ── pickled ──► Workers ──► worker: f(x)
Future (a `concurrent.futures.Future`) ◄── outcome
"""

from __future__ import annotations

import threading
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures as standard
from concurrent.futures import process as standard_process
from concurrent.futures.process import BrokenProcessPool
from itertools import chain
from typing import Any

from distpool.context import get_context
from distpool.futures.insides import CallQueue, ManagerThread
from distpool.futures.maps import map_calls
from distpool.futures.with_options import ExecutorWithOptions, executor_with_options
from distpool.logic.calls import NO_OPTIONS, CallOptions, Outcome
from distpool.logic.group_plan import GroupPlan
from distpool.objects.promises import TaskRef, await_tasks
from distpool.options import check_repeatable
from distpool.placing import WorkerNeeds, native_threads, worker_needs, workers_that_fit
from distpool.process_future import Future as ProcessFuture
from distpool.process_future import RemoteTraceback
from distpool.progress import Progress
from distpool.protocol.messages import CallMode, OutcomeKind
from distpool.runtime.ending import ENDING
from distpool.runtime.handles import WorkerHandle
from distpool.runtime.launch_plan import LaunchPlan
from distpool.runtime.session import open_workers
from distpool.runtime.start_methods import check_may_have_children, start_method_prefix
from distpool.runtime.workers import Workers
from distpool.serialization.functions import name_of
from distpool.signatures import SHAPE_OPTION_NAMES, lists_options_and


class ProcessPoolExecutor(standard.ProcessPoolExecutor):
    """Runs calls in worker processes; see `concurrent.futures.ProcessPoolExecutor`, whose calls and errors it has.

    `max_workers`: at most so many, by default one for each CPU. `initializer(*initargs)` runs first in each worker; a
    worker is replaced after `max_tasks_per_child` calls. When a worker dies, all pending futures raise
    BrokenProcessPool, as in the standard library. `progress`: show how many of the submitted calls have ended.
    `num_cpus`, `num_gpus`, `memory`, `memory_per_gpu`, `resources`, `labels`, `scheduling_strategy`: what each worker
    is to have, see `distpool.pool.Pool`; calls raise ResourcesUnavailable where no node can ever have it.
    """

    _options = NO_OPTIONS
    _breaks = True
    """The death of a worker is the end of the executor."""

    @lists_options_and(SHAPE_OPTION_NAMES)
    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        progress: bool = False,
        **resources: Any,
    ) -> None:
        self._resources = resources
        self._needs = worker_needs(type(self).__name__, resources)
        if max_workers is None:
            max_workers = workers_that_fit(self._needs)
        elif not hasattr(type(max_workers), "__index__"):
            form = "it must be an int of at least 1, or None"
            raise TypeError(f"max_workers is {max_workers!r}, a {type(max_workers).__name__}; {form}")
        if max_workers <= 0:
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
        if isinstance(initargs, (tuple, list)):
            await_tasks(initargs)
        self._initializer: Any = initializer
        self._initargs = initargs
        self._max_tasks_per_child = max_tasks_per_child
        self._shutdown_lock = threading.Lock()
        self._shutdown_thread = False
        self._workers: Workers | None = None
        self._progress = Progress(None) if progress else None
        self._submitted = 0
        self._siblings: dict[WorkerNeeds, ProcessPoolExecutor] = {}

    # Calls ----------------------------------------------------------------------------------------------------------

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> ProcessFuture:
        """`fn(*args, **kwargs)` in a worker; raises BrokenProcessPool or RuntimeError when no call can run any more."""
        return self._submit(NO_OPTIONS, fn, args, kwargs)

    def _submit(
        self, options: CallOptions, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> ProcessFuture:
        if options.retries:
            check_repeatable(options, [*((f"argument {n}", arg) for n, arg in enumerate(args)), *kwargs.items()])
        if TaskRef in map(type, args) or kwargs:
            await_tasks((*args, *kwargs.values()))
        with self._shutdown_lock:
            workers = self._open_workers()
            future = ProcessFuture(workers)
            try:
                function_id, call = workers.arguments.pickle_call(fn, args, kwargs)
            except Exception as error:
                self._fail(future, workers, error)
            else:
                workers.hand_in_call(function_id, call, future, options, "" if function_id else name_of(fn))
        return self._sent(workers, future)

    def _submit_chunk(
        self, options: CallOptions, fn: Callable[..., Any], chunk: list[tuple[Any, ...]], first: int, chunksize: int
    ) -> ProcessFuture:
        """`[fn(*args) for args in chunk]` as one call, whose items are begun one by one from number `first` on."""
        if TaskRef in map(type, chain.from_iterable(chunk)):
            await_tasks(chain.from_iterable(chunk))
        with self._shutdown_lock:
            workers = self._open_workers()
            future = ProcessFuture(workers)
            try:
                function_id, items = workers.arguments.pickle_chunk(fn, chunk, first, starred=True)
            except Exception as error:
                self._fail(future, workers, error)
            else:
                name = "" if function_id else name_of(fn)
                mode = CallMode.STAR_CHUNK
                workers.hand_in(function_id, mode, [items], future, first // chunksize, options, name, chunksize)
        return self._sent(workers, future)

    def _open_workers(self) -> Workers:
        """With the lock held: workers that take calls."""
        workers = self._workers
        if workers is None or not workers.is_open() or ENDING:
            return self._start_or_refuse(workers)
        return workers

    def _sent(self, workers: Workers, future: ProcessFuture) -> ProcessFuture:
        """Without the lock: the call was handed in."""
        workers.poke()
        if self._progress is not None:
            self._submitted += 1
            self._progress.expect(self._submitted)
            future.add_done_callback(self._count_end)
        return future

    def _count_end(self, future: object) -> None:
        if self._progress is not None:
            self._progress.advance()

    def _fail(self, future: ProcessFuture, workers: Workers, error: Exception) -> None:
        """A call could not be pickled."""
        text = "".join(traceback.format_exception(error))
        error.__cause__ = RemoteTraceback(f'\n"""\n{text}"""')
        future.set_exception(error)
        if self._start_method != "fork":
            # As in the standard library, which starts a worker for each call before it pickles the call.
            workers.hand_in_call(*workers.arguments.pickle_call(bool, (), {}), _Nobody())

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        progress: bool = False,
    ) -> Iterator[Any]:
        """An iterator over `fn` of the items, in order; `chunksize` of them to a call.

        `timeout`: seconds from now after which the iterator raises TimeoutError. `buffersize`: how many results may be
        waited for before more of the input is read; None reads it all at once. `progress`: show how far it is.
        """
        return map_calls(self, self._options, fn, iterables, timeout, chunksize, buffersize, progress=progress)

    def with_options(self, **options: Any) -> ExecutorWithOptions:
        """This executor with other options for the calls that are made through the result.

        `timeout`: how long a call may run, in seconds or as "500ms", "30s", "1.5min"; then its worker is ended and it
        raises CallTimeout. `retries`: how often a call may run again after the death of its worker. `priority`: calls
        with a higher one (0 is the default) are sent to a worker before others. `num_cpus`, `num_gpus` and the other
        options of the constructor: the calls get workers of their own that have this, as many as fit; these end with
        the executor. Raises TypeError and ValueError that list what is valid.
        """
        return executor_with_options(self, NO_OPTIONS, options)

    def _sibling(self, resources: dict[str, Any]) -> ProcessPoolExecutor:
        """The same but for what each worker is to have; one for each such needs, and it ends with this one."""
        resources = {**self._resources, **resources}
        needs = worker_needs("with_options", resources)
        with self._shutdown_lock:
            sibling = self._siblings.get(needs)
        if sibling is None:
            sibling = object.__new__(type(self))  # a derived class may have another constructor
            ProcessPoolExecutor.__init__(
                sibling,
                None,
                self._mp_context,
                self._initializer,
                self._initargs,
                max_tasks_per_child=self._max_tasks_per_child,
                **resources,
            )
            with self._shutdown_lock:
                sibling._shutdown_thread = self._shutdown_thread
                sibling = self._siblings.setdefault(needs, sibling)
        return sibling

    # Life -----------------------------------------------------------------------------------------------------------

    @property
    def _processes(self) -> dict[int, WorkerHandle] | None:  # type: ignore[override]
        """The workers by their pid; some libraries read it. None after shutdown, as in the standard library."""
        if self._shutdown_thread or self._workers is None:
            return None if self._shutdown_thread else {}
        self._workers.settle()
        return {handle.pid: handle for handle in self._workers.handles() if handle.pid is not None}

    @property
    def _executor_manager_thread(self) -> ManagerThread | None:  # type: ignore[override]
        """What ends with the last worker. None before the first call and after shutdown, as in the standard library."""
        return None if self._shutdown_thread or self._workers is None else ManagerThread(self._workers)

    @property
    def _call_queue(self) -> CallQueue | None:
        """Where calls wait for workers. None after shutdown, as in the standard library."""
        return None if self._shutdown_thread or self._workers is None else CallQueue(self._workers)

    @property
    def _broken(self) -> str | bool:  # type: ignore[override]
        return (self._workers is not None and self._workers.broken) or False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """No more calls. `cancel_futures`: cancel those that were not sent to a worker. `wait` for the others."""
        with self._shutdown_lock:
            self._shutdown_thread = True
            workers = self._workers
            if self._progress is not None:
                self._progress.expect_no_more()
            siblings = list(self._siblings.values())
        for sibling in siblings:
            sibling.shutdown(wait=False, cancel_futures=cancel_futures)
        self._end(workers, cancel_futures=cancel_futures, wait=wait)
        for sibling in siblings:
            sibling.shutdown(wait)

    def _end(self, workers: Workers | None, *, cancel_futures: bool, wait: bool) -> None:
        if workers is None or not workers.is_owned_here():
            return
        if cancel_futures:
            workers.cancel_waiting()
        workers.close()
        if wait:
            workers.join()

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool | None:
        """Shut down and wait; after Ctrl-C end at once."""
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._interrupt()
        self.shutdown(wait=True)
        return None

    def _interrupt(self) -> None:
        for sibling in self._siblings.values():
            sibling._interrupt()
        workers = self._workers
        if workers is not None and workers.is_owned_here():
            workers.terminate(OutcomeKind.BROKEN, "the program was interrupted")

    def terminate_workers(self) -> None:
        """End the workers with SIGTERM, now: pending futures raise BrokenProcessPool."""
        self._end_workers(WorkerHandle.terminate, "terminated")

    def kill_workers(self) -> None:
        """End the workers with SIGKILL, now: pending futures raise BrokenProcessPool."""
        self._end_workers(WorkerHandle.kill, "killed")

    def _end_workers(self, end: Callable[[WorkerHandle], None], how: str) -> None:
        for sibling in self._siblings.values():
            sibling._end_workers(end, how)
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

    def _start(self) -> Any:
        check_may_have_children(self._start_method)
        open_workers(
            GroupPlan(
                self._max_workers,
                on_demand=self._start_method != "fork",
                breaks=self._breaks,
                calls_per_worker=self._max_tasks_per_child,
                shape=self._needs.shape,
                cpu_when_far=self._needs.cpu_when_far,
            ),
            LaunchPlan(
                self._start_method,
                self._max_workers,
                f"{start_method_prefix(self._start_method)}Process",
                False,
                self._initializer,
                tuple(self._initargs),
                breaks=self._breaks,
                extended_results=not self._breaks,
                threads=native_threads(self._needs.shape, default_cpus=0),
                needs_all=True,
            ),
            self._own,
            drains_at_exit=True,
        )
        return self._workers

    def _own(self, workers: Workers) -> None:
        self._workers = workers
        # An executor that nobody has any more finishes what was submitted, and then its workers end.
        weakref.finalize(self, _close_if_owned, workers).atexit = False


def __getattr__(name: str) -> Any:
    """What the standard module has beside these names."""
    return getattr(standard_process, name)


class _Nobody:
    """The sink of a call whose end nobody waits for."""

    def begin(self) -> bool:
        return True

    def put_back(self) -> None:
        pass

    def deliver(self, first: int, outcomes: list[Outcome]) -> None:
        pass


def _close_if_owned(workers: Workers) -> None:
    if workers.is_owned_here():
        workers.close()


class Executor(ProcessPoolExecutor):
    """A `ProcessPoolExecutor` that outlives its workers.

    When a worker dies, only the call that it had begun fails, with `WorkerDied`; calls that it had not begun run on
    another worker, and the worker is replaced. An initializer that fails three times in a row breaks the executor.
    Results may be what only cloudpickle can pickle: lambdas, closures, local classes.
    """

    _breaks = False


__all__ = ["BrokenProcessPool", "Executor", "ProcessPoolExecutor"]
