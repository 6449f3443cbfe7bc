"""`multiprocessing.Pool` on distpool's runtime: its beginning and its end. Its calls are in `pool_calls`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from importlib import import_module
from multiprocessing import TimeoutError, util
from multiprocessing import pool as standard
from multiprocessing.pool import CLOSE, INIT, RUN, TERMINATE, ThreadPool
from multiprocessing.pool import MaybeEncodingError as MaybeEncodingError  # type: ignore[attr-defined]
from multiprocessing.pool import RemoteTraceback as RemoteTraceback  # type: ignore[attr-defined]
from operator import index
from typing import Any

from distpool.context import get_context
from distpool.feeder import Feeder
from distpool.logic.group_plan import GroupPlan
from distpool.options import NO_OPTIONS, merged
from distpool.placing import native_threads, worker_needs, workers_that_fit
from distpool.pool_calls import PoolCalls, PoolWithOptions
from distpool.results import AsyncResult, IMapIterator, IMapUnorderedIterator, MapResult
from distpool.runtime.handles import WorkerHandle
from distpool.runtime.launch_plan import LaunchPlan
from distpool.runtime.session import open_workers
from distpool.runtime.start_methods import check_may_have_children, start_method_prefix
from distpool.runtime.workers import Workers
from distpool.signatures import SHAPE_OPTION_NAMES, lists_options_and


class Pool(PoolCalls, standard.Pool):  # type: ignore[misc]
    """A pool of worker processes; see `multiprocessing.pool.Pool`, whose calls and errors it has.

    Unlike there, a worker that dies fails only the call that it had begun, with `WorkerDied`, and a lambda or a local
    class may be an argument. `processes`: how many, by default one for each CPU. `initializer(*initargs)` runs first in
    each worker; a worker is replaced after `maxtasksperchild` calls (chunks count as one).

    `num_cpus`, `num_gpus`, `memory`, `memory_per_gpu`, `resources`, `labels`, `scheduling_strategy`, `placement_group`,
    `bundle`: what each worker is to have, and where it is to be (see `placing.shape_of`); then there are by default as
    many workers as fit. Those that find no room wait for it. Where no node can ever have it, ResourcesUnavailable is
    raised; by the calls, where a cluster is used.
    """

    _state = INIT
    _options = NO_OPTIONS

    @lists_options_and(SHAPE_OPTION_NAMES)
    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any | None = None,
        **resources: Any,
    ) -> None:
        self._ctx = context or get_context()
        _ = self._ctx.SimpleQueue  # what is no context fails as it does in the standard library
        needs = worker_needs("Pool", resources)
        if processes is None:
            processes = workers_that_fit(needs)
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
        initargs = tuple(initargs)
        if initargs:
            from distpool.objects.promises import await_tasks  # there may be refs among them

            await_tasks(initargs)
        self._feeder = Feeder()
        open_workers(
            GroupPlan(processes, calls_per_worker=maxtasksperchild, shape=needs.shape, cpu_when_far=needs.cpu_when_far),
            LaunchPlan(
                start_method,
                processes,
                f"{start_method_prefix(start_method)}PoolWorker",
                True,
                initializer,
                initargs,
                maybe_encoding_error=True,
                threads=native_threads(needs.shape, default_cpus=0),
                needs_all=True,
            ),
            self._own,
        )
        refusal = self._workers.refusal(ask=bool(resources))
        if refusal:
            self._workers.join()
            raise import_module("distpool.errors").ResourcesUnavailable(refusal)
        self._state = RUN

    def _own(self, workers: Workers) -> None:
        self._workers = workers
        self._terminate = util.Finalize(self, workers.terminate, exitpriority=15)

    def __del__(self) -> None:
        if self._state == RUN and self._workers.is_owned_here():
            warnings.warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self, stacklevel=1)

    @property
    def _pool(self) -> list[WorkerHandle]:
        """The worker processes that live; some libraries read it."""
        return self._workers.handles() if self._state != INIT else []

    def _repopulate_pool(self) -> None:
        """Workers are replaced without being asked; returns when those that are missing by now have been asked for."""
        self._workers.settle()

    def with_options(self, **options: Any) -> PoolWithOptions:
        """This pool with other options for the calls that are made through the result.

        `timeout`: how long a call may run, in seconds or as "500ms", "30s", "1.5min"; then its worker is ended and it
        raises CallTimeout. `retries`: how often a call may run again after the death of its worker. `priority`: calls
        with a higher one (0 is the default) are sent to a worker before others. With `timeout`, `map` and `imap` send
        items one by one. Raises TypeError and ValueError that list what is valid.
        """
        return PoolWithOptions(self, merged(self._options, options))

    # Life -----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """No more calls; the workers end when all are done."""
        if self._state in (RUN, CLOSE):
            self._state = CLOSE
            self._feeder.close(self._workers.close)

    def terminate(self) -> None:
        """End the workers now. Calls that have not ended raise PoolTerminated where they are waited for."""
        self._state = TERMINATE
        self.join()

    def join(self) -> None:
        """Wait until the workers have ended; `close` or `terminate` comes first."""
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        if self._workers.is_owned_here():
            # Said here, perhaps once more: an interrupt can have ended what was to say it.
            if self._state == CLOSE:
                self._feeder.close(self._workers.close)
                self._feeder.join()
            else:
                self._workers.terminate()
                self._feeder.stop()
            self._workers.join()


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
