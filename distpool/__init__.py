"""distpool: the multiprocessing namespace on a runtime of its own.

`import distpool as multiprocessing`, or `from distpool import Pool`; `distpool.futures` is `concurrent.futures`. What
distpool does not build itself is the standard library's own object.
"""

from __future__ import annotations

import sys
from importlib import import_module
from multiprocessing import (
    AuthenticationError,
    BufferTooShort,
    ProcessError,
    TimeoutError,
    current_process,
    parent_process,
)
from multiprocessing import reducer as reducer
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any

from distpool.base_errors import CallTimeout, DistpoolError, InvalidRef, ObjectLost, StoreFull
from distpool.context import Process, active_children, default_context

if _TYPE_CHECKING:
    from distpool.actors import exit_actor, get_actor, kill, method
    from distpool.api import (
        as_completed,
        configure_store,
        get,
        init,
        is_initialized,
        put,
        release,
        shutdown,
        store_stats,
        wait,
    )
    from distpool.errors import (
        ActorDied,
        ActorUnavailable,
        NodeLost,
        OutOfMemory,
        PoolBroken,
        PoolTerminated,
        ResourcesUnavailable,
        TaskCancelled,
        WorkerDied,
    )
    from distpool.objects.generators import ObjectRefGenerator
    from distpool.objects.promises import TaskRef
    from distpool.objects.refs import ObjectRef
    from distpool.objects.stats import StoreStats
    from distpool.placement_groups import PlacementGroup, placement_group, remove_placement_group
    from distpool.placing import NodeAffinity
    from distpool.resources import available_resources, cluster_resources, nodes
    from distpool.runtime.worker_devices import get_gpu_ids
    from distpool.tasks import RemoteFunction, remote
    from distpool.tasks.program import cancel

# Bound methods of the default context, as in the standard library.
Array = default_context.Array
Barrier = default_context.Barrier
BoundedSemaphore = default_context.BoundedSemaphore
Condition = default_context.Condition
Event = default_context.Event
JoinableQueue = default_context.JoinableQueue
Lock = default_context.Lock
Manager = default_context.Manager
Pipe = default_context.Pipe
Pool = default_context.Pool
Queue = default_context.Queue
RLock = default_context.RLock
RawArray = default_context.RawArray
RawValue = default_context.RawValue
Semaphore = default_context.Semaphore
SimpleQueue = default_context.SimpleQueue
Value = default_context.Value
allow_connection_pickling = default_context.allow_connection_pickling
cpu_count = default_context.cpu_count
freeze_support = default_context.freeze_support
get_all_start_methods = default_context.get_all_start_methods
get_context = default_context.get_context
get_logger = default_context.get_logger
get_start_method = default_context.get_start_method
log_to_stderr = default_context.log_to_stderr
set_executable = default_context.set_executable
set_forkserver_preload = default_context.set_forkserver_preload
set_start_method = default_context.set_start_method

SUBDEBUG = 5
SUBWARNING = 25

_SUBMODULES = frozenset(
    {
        "connection",
        "dummy",
        "errors",
        "futures",
        "managers",
        "pool",
        "process",
        "queues",
        "shared_memory",
        "sharedctypes",
        "synchronize",
    }
)
_HOMES = {
    "NodeAffinity": "distpool.placing",
    "ObjectRef": "distpool.objects.refs",
    "StoreStats": "distpool.objects.stats",
    "as_completed": "distpool.api",
    "available_resources": "distpool.resources",
    "cluster_resources": "distpool.resources",
    "configure_store": "distpool.api",
    "get": "distpool.api",
    "get_current_placement_group": "distpool.runtime_context",
    "get_gpu_ids": "distpool.runtime.worker_devices",
    "get_runtime_context": "distpool.runtime_context",
    "init": "distpool.api",
    "is_initialized": "distpool.api",
    "nodes": "distpool.resources",
    "placement_group": "distpool.placement_groups",
    "remove_placement_group": "distpool.placement_groups",
    "put": "distpool.api",
    "release": "distpool.api",
    "shutdown": "distpool.api",
    "store_stats": "distpool.api",
    "wait": "distpool.api",
    "RemoteFunction": "distpool.tasks",
    "ObjectRefGenerator": "distpool.objects.generators",
    "TaskRef": "distpool.objects.promises",
    "cancel": "distpool.tasks.program",
    "remote": "distpool.tasks",
    "exit_actor": "distpool.actors",
    "get_actor": "distpool.actors",
    "kill": "distpool.actors",
    "method": "distpool.actors",
    "ActorDied": "distpool.errors",
    "ActorUnavailable": "distpool.errors",
    "Executor": "distpool.futures.process",
    "NodeLost": "distpool.errors",
    "OutOfMemory": "distpool.errors",
    "PlacementGroup": "distpool.placement_groups",
    "PoolBroken": "distpool.errors",
    "PoolTerminated": "distpool.errors",
    "TaskCancelled": "distpool.errors",
    "ResourcesUnavailable": "distpool.errors",
    "WorkerDied": "distpool.errors",
}


def __getattr__(name: str) -> Any:
    """What is imported at first use: `import distpool` is as light as `import multiprocessing`, in workers too."""
    if name in _SUBMODULES:
        return _imported(f"distpool.{name}")
    if name in _HOMES:
        value = globals()[name] = getattr(_imported(_HOMES[name]), name)
        return value
    raise AttributeError(f"module 'distpool' has no attribute {name!r}")


def _imported(name: str) -> Any:
    from distpool.interrupts import deferred

    with deferred():  # see there what an interrupt does in an import
        return import_module(name)


if "__main__" in sys.modules:
    # As the standard library does: `__main__` has the name under which children import it again.
    sys.modules["__mp_main__"] = sys.modules["__main__"]

__all__ = [
    "ActorDied",
    "ActorUnavailable",
    "Array",
    "AuthenticationError",
    "Barrier",
    "BoundedSemaphore",
    "BufferTooShort",
    "CallTimeout",
    "Condition",
    "DistpoolError",
    "Event",
    "Executor",
    "InvalidRef",
    "JoinableQueue",
    "Lock",
    "Manager",
    "NodeAffinity",
    "NodeLost",
    "ObjectLost",
    "ObjectRef",
    "ObjectRefGenerator",
    "OutOfMemory",
    "Pipe",
    "PlacementGroup",
    "Pool",
    "PoolBroken",
    "PoolTerminated",
    "Process",
    "ProcessError",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "RemoteFunction",
    "ResourcesUnavailable",
    "Semaphore",
    "SimpleQueue",
    "StoreFull",
    "StoreStats",
    "TaskCancelled",
    "TaskRef",
    "TimeoutError",
    "Value",
    "WorkerDied",
    "active_children",
    "allow_connection_pickling",
    "as_completed",
    "available_resources",
    "cancel",
    "cluster_resources",
    "configure_store",
    "cpu_count",
    "current_process",
    "exit_actor",
    "freeze_support",
    "get",
    "get_actor",
    "get_all_start_methods",
    "get_context",
    "get_current_placement_group",
    "get_gpu_ids",
    "get_logger",
    "get_runtime_context",
    "get_start_method",
    "init",
    "is_initialized",
    "kill",
    "log_to_stderr",
    "nodes",
    "method",
    "parent_process",
    "placement_group",
    "put",
    "reducer",
    "release",
    "remote",
    "remove_placement_group",
    "set_executable",
    "set_forkserver_preload",
    "set_start_method",
    "shutdown",
    "store_stats",
    "wait",
]
