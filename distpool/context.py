"""Contexts and start methods: the standard library's own, with distpool's Pool.

The default start method is the standard library's too: there is one per process, whoever sets it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from multiprocessing import context as standard
from multiprocessing import process
from typing import Any

from distpool.runtime.addresses import head_address
from distpool.signatures import SHAPE_OPTION_NAMES, lists_options_and

BaseContext = standard.BaseContext


def _starting_early(context: Any, initializer: object) -> AbstractContextManager[None]:
    """The first pool's template starts while the runtime is imported. Where it inherits an initializer, the arguments
    of that have to be looked at before."""
    method = context.get_start_method()
    if "distpool.pool" in sys.modules or (method == "fork" and initializer is not None) or head_address() is not None:
        return nullcontext()
    from distpool.runtime.early_start import starting_early

    return starting_early(method)


class _PoolMaker:
    """Gives a standard context distpool's Pool, with the standard signature."""

    @lists_options_and(SHAPE_OPTION_NAMES)
    def Pool(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        **resources: Any,
    ) -> Any:
        """Returns a process pool object. `resources`: what each worker is to have, see `distpool.pool.Pool`."""
        context: Any = self
        context = context.get_context()
        from distpool.interrupts import deferred

        with ExitStack() as stack:
            with deferred():  # see there what an interrupt does in an import
                stack.enter_context(_starting_early(context, initializer))
                from distpool.pool import Pool  # the runtime comes with the first pool
            return Pool(processes, initializer, initargs, maxtasksperchild, context=context, **resources)


class _Interruptible:
    """`Process.interrupt`, which Python 3.14 has, on all versions."""

    def interrupt(self) -> None:
        """Send SIGINT: the child gets a KeyboardInterrupt."""
        this: Any = self
        this._check_closed()
        if this._popen is None:
            raise AssertionError("can only interrupt a started process")
        if this._popen.returncode is None:
            os.kill(this._popen.pid, signal.SIGINT)


class Process(_Interruptible, standard.Process):
    """See `multiprocessing.Process`."""


class ForkProcess(_Interruptible, standard.ForkProcess):
    """See `multiprocessing.Process`."""


class SpawnProcess(_Interruptible, standard.SpawnProcess):
    """See `multiprocessing.Process`."""


class ForkServerProcess(_Interruptible, standard.ForkServerProcess):
    """See `multiprocessing.Process`."""


class ForkContext(_PoolMaker, standard.ForkContext):
    """Workers see the memory that their pool's maker had when it made the pool."""

    Process = ForkProcess


class SpawnContext(_PoolMaker, standard.SpawnContext):
    """Workers are fresh interpreters that import `__main__`."""

    Process = SpawnProcess


class ForkServerContext(_PoolMaker, standard.ForkServerContext):
    """Workers are forked from a fresh interpreter that has imported `__main__`."""

    Process = ForkServerProcess


class DefaultContext(_PoolMaker, standard.DefaultContext):
    """The context of the process's start method."""

    Process = Process

    def __init__(self) -> None:
        pass  # Its state is that of the standard library's default context.

    def get_context(self, method: str | None = None) -> Any:
        """The context of a start method. Raises ValueError for one that is unknown."""
        if method is None:
            method = _standard_default().get_start_method()
        try:
            return _contexts[method]
        except KeyError:
            raise ValueError(f"cannot find context for {method!r}") from None

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Choose it for this process. Raises RuntimeError when it has been chosen before and not `force`."""
        _standard_default().set_start_method(method, force=force)

    def get_start_method(self, allow_none: bool = False) -> Any:
        """Its name."""
        return _standard_default().get_start_method(allow_none)

    def get_all_start_methods(self) -> list[str]:
        """Those of this platform, the default first."""
        methods: list[str] = _standard_default().get_all_start_methods()
        return methods


def _standard_default() -> Any:
    return standard._default_context


def cpu_count_for_pools() -> int:
    """How many workers a pool has by default: what the standard library of the running Python takes, or all the CPUs of
    the cluster that is used."""
    if head_address() is not None:
        from distpool.runtime.session import cluster_cpus

        return cluster_cpus() or 1
    count = getattr(os, "process_cpu_count", os.cpu_count)()
    return count or 1


def active_children() -> list[Any]:
    """All live children of this process: the standard library's, and the workers of distpool's pools."""
    import sys

    children: list[Any] = list(process.active_children())
    session = sys.modules.get("distpool.runtime.session")
    return children if session is None else [*children, *session.live_handles()]


_contexts: dict[str, Any] = {
    "fork": ForkContext(),
    "spawn": SpawnContext(),
    "forkserver": ForkServerContext(),
}
default_context = DefaultContext()
get_context = default_context.get_context
