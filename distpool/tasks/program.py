"""The tasks of this program: groups of workers, one for each shape of what calls need, and the way of a call to them.

    f.remote(x, ref) ── pickled ──► Task ──► (waits for ref) ──► Workers of the shape ──► worker: f(x, value)
    TaskRef ──► Promise ◄── outcome

It begins with the first task and ends with `distpool.shutdown`, or the program: what has not ended by then is dropped.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from distpool.config import SETTINGS
from distpool.context import cpu_count_for_pools, get_context
from distpool.interrupts import deferred
from distpool.logic.group_plan import GroupPlan
from distpool.logic.promises import Promise
from distpool.objects.promised import Promised
from distpool.objects.promises import TaskRef, promise_for
from distpool.options import TaskOptions
from distpool.protocol.messages import OutcomeKind
from distpool.protocol.resources import UNIT, Shape
from distpool.runtime.launcher import LaunchPlan
from distpool.runtime.session import ENDING, open_workers
from distpool.runtime.start_methods import check_may_have_children, start_method_prefix
from distpool.runtime.workers import Workers
from distpool.serialization.functions import several_returns
from distpool.tasks.calls import Prepared, RepeatedTask, Task, WaitingTask, hand_in

if TYPE_CHECKING:
    from distpool.tasks.functions import RemoteFunction

Refs = TaskRef | list[TaskRef] | None

_WORKERS_FOR_NO_CPU = 64
"""The most workers for tasks that need no CPU."""


class Program:
    """The tasks of this process. Any thread may call any method."""

    def __init__(self) -> None:
        # By one step of the dictionary each: no lock is held while workers are opened, which callbacks do too.
        self._workers: dict[Shape, Workers] = {}

    def submit(self, function: RemoteFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Refs:
        """Have it called in a worker. Raises what pickling raises, StoreFull, RuntimeError at the interpreter's end."""
        options = function._options
        workers = self._workers.get(options.shape)
        if workers is None or not workers.is_open() or ENDING:
            workers = self._opened(options.shape)
        arguments = workers.arguments
        returns = options.returns
        function_id = function._ids.get((arguments.number, returns))
        if function_id is None:
            function_id = function._ids[arguments.number, returns] = arguments.function_of(function, returns)
        needed: list[Promise] = []
        if TaskRef in map(type, args) or TaskRef in map(type, kwargs.values()):
            args, kwargs = with_stand_ins(args, kwargs, needed)
        inline = None if function_id else several_returns(function.__wrapped__, returns)
        pickled = arguments.pickle_arguments(function_id, inline, args, kwargs)
        name = function._name
        task, refs = _task(workers, options, name, returns)
        if not needed and type(task) is Task:
            workers.hand_in_call(function_id, pickled, task, options.call, name)
            workers.poke()
            return refs
        call = Prepared(function_id, pickled, options.call, name)
        if isinstance(task, RepeatedTask):
            call.options = msgspec.structs.replace(options.call, retries=0)
            task.call = call
        if needed:
            WaitingTask(task, call, needed, arguments.dump).begin()
        else:
            hand_in(task, call)
        return refs

    def _opened(self, shape: Shape) -> Workers:
        """A group of workers for this shape that takes calls."""
        if ENDING:
            raise RuntimeError("no task can be started any more: the interpreter is ending")
        start_method = get_context().get_start_method()
        check_may_have_children(start_method)
        cpus = cpu_count_for_pools()
        size = max(1, cpus * UNIT // shape.cpus) if shape.cpus else _WORKERS_FOR_NO_CPU

        def own(workers: Workers) -> None:
            known = self._workers.get(shape)
            if known is not None and known.is_open():
                workers.close()  # another thread was as quick
            else:
                self._workers[shape] = workers

        open_workers(
            GroupPlan(size, on_demand=True, idle_limit_s=SETTINGS.idle_limit_s, idle_yield_s=SETTINGS.idle_yield_s),
            LaunchPlan(
                start_method, size, f"{start_method_prefix(start_method)}Task", False, None, (), extended_results=True
            ),
            own,
        )
        return self._workers[shape]


def _task(workers: Workers, options: TaskOptions, name: str, returns: int) -> tuple[Task, Refs]:
    """The task and its refs."""
    if returns < 0:
        promise = promise_for(name)
        promises: tuple[Promise, ...] = (promise,)
        refs: Refs = TaskRef(promise)
    else:
        promises = tuple(promise_for(name, position) for position in range(returns)) or (promise_for(name),)
        refs = [TaskRef(promise) for promise in promises] if returns else None
    if options.retried:
        task: Task = RepeatedTask(workers, promises, options.retried, options.call.retries)
    else:
        task = Task(workers, promises)
    for promise in promises:
        promise.call = task
    return task, refs


def with_stand_ins(
    args: tuple[Any, ...], kwargs: dict[str, Any], needed: list[Promise]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with stand-ins for the refs of tasks, whose promises are added to `needed`."""
    stand_ins: dict[Promise, Promised] = {}

    def stand_in(value: Any) -> Any:
        if type(value) is not TaskRef:
            return value
        promise = value.known()
        if promise not in stand_ins:
            stand_ins[promise] = Promised(len(needed))
            needed.append(promise)
        return stand_ins[promise]

    return tuple(map(stand_in, args)), {name: stand_in(value) for name, value in kwargs.items()}


def cancel(ref: TaskRef, *, force: bool = False, recursive: bool = True) -> None:
    """See that a task does not run, or not on: `get` of its refs raises TaskCancelled from now on.

    One that has begun gets a KeyboardInterrupt; with `force` its worker is ended. `recursive`: what it has started is
    cancelled too. One that has ended is left as it is. Raises TypeError for what is no ref of a task.
    """
    if not isinstance(ref, TaskRef):
        raise TypeError(f"cancel takes the ref of a task, not {ref!r}, a {type(ref).__name__}")
    task = ref.known().call
    with deferred():  # or it would be told as cancelled, and run on
        if task is not None and task.end((OutcomeKind.CANCELLED, b"")):
            task.workers.cancel(task, force=force)


_program: list[Program] = []


def program() -> Program:
    """That of this process."""
    if not _program:
        _program.append(Program())
    return _program[0]


def submit(function: RemoteFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Refs:
    """See `Program.submit`."""
    return (_program[0] if _program else program()).submit(function, args, kwargs)


os.register_at_fork(after_in_child=_program.clear)
