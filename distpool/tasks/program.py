"""The tasks of this program: groups of workers, one for each shape of what calls need, and the way of a call to them.

    f.remote(x, ref) ── pickled ──► Task ──► (waits for ref) ──► Workers of the shape ──► worker: f(x, value)
    TaskRef ──► Promise ◄── outcome

It begins with the first task and ends with `distpool.shutdown`, or the program: what has not ended by then is dropped.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec

from distpool.config import SETTINGS
from distpool.context import cpu_count_for_pools, get_context
from distpool.interrupts import deferred
from distpool.logic.group_plan import GroupPlan
from distpool.logic.promises import Promise
from distpool.logic.streams import ONE, STREAM
from distpool.objects.generators import ObjectRefGenerator, OwnStream
from distpool.objects.promises import TaskRef, is_above, promise_for
from distpool.objects.refs import FROM_ABOVE
from distpool.placing import WorkerNeeds, native_threads, workers_that_fit
from distpool.protocol.resources import UNIT, Shape
from distpool.runtime.ending import ENDING
from distpool.runtime.launch_plan import LaunchPlan
from distpool.runtime.session import open_workers
from distpool.runtime.start_methods import check_may_have_children, start_method_prefix
from distpool.runtime.workers import Workers
from distpool.runtime.yielding import returning
from distpool.tasks.arguments import with_stand_ins
from distpool.tasks.calls import Prepared, RepeatedTask, Task, WaitingTask, hand_in
from distpool.tasks.children import CHILDREN
from distpool.tasks.lineage import remember
from distpool.tasks.options import TaskOptions

if TYPE_CHECKING:
    from distpool.tasks.functions import RemoteFunction

Refs = TaskRef | list[TaskRef] | ObjectRefGenerator | None

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
        workers = self._workers_for(options.shape)
        arguments = workers.arguments
        returns = options.returns
        function_id = function._ids.get((arguments.number, returns))
        if function_id is None:
            function_id = function._ids[arguments.number, returns] = arguments.function_of(function, returns)
        needed: list[Promise] = []
        name = function._name
        promises, refs, args = promises_of(workers, name, returns, options.ahead, args)
        args, kwargs = with_stand_ins(args, kwargs, needed)
        inline = None if function_id else returning(function.__wrapped__, returns)
        pickled = arguments.pickle_arguments(function_id, inline, args, kwargs)
        task = _task(workers, options, promises)
        if not needed and type(task) is Task and not options.call.retries:
            workers.hand_in_call(function_id, pickled, task, options.call, name)
            workers.poke()
            return refs
        _hand_in(task, Prepared(function_id, pickled, options.call, name), needed)
        return refs

    def start(
        self, promises: tuple[Promise, ...], options: Any, call: Prepared, needed: list[Promise], depth: int
    ) -> None:
        """The same for a call that a worker has started, of a function or an actor's method. Raises RuntimeError at the
        interpreter's end."""
        if not isinstance(options, TaskOptions):
            options.start(promises, call, needed, depth)
            return
        call.options = msgspec.structs.replace(options.call, depth=depth)
        _hand_in(_task(self._workers_for(options.shape), options, promises), call, needed)

    def _workers_for(self, shape: Shape) -> Workers:
        workers = self._workers.get(shape)
        if workers is None or not workers.is_open() or ENDING:
            return self._opened(shape)
        return workers

    def _opened(self, shape: Shape) -> Workers:
        """A group of workers for this shape that takes calls."""
        if ENDING:
            raise RuntimeError("no task can be started any more: the interpreter is ending")
        start_method = get_context().get_start_method()
        check_may_have_children(start_method)
        size = _most_workers(shape)

        def own(workers: Workers) -> None:
            known = self._workers.get(shape)
            if known is not None and known.is_open():
                workers.close()  # another thread was as quick
            else:
                self._workers[shape] = workers

        open_workers(
            GroupPlan(
                size,
                on_demand=True,
                shape=shape,
                idle_limit_s=SETTINGS.idle_limit_s,
                idle_yield_s=SETTINGS.idle_yield_s,
                turn_s=SETTINGS.turn_s,
                replaces_waiting=True,
            ),
            LaunchPlan(
                start_method,
                size,
                f"{start_method_prefix(start_method)}Task",
                False,
                None,
                (),
                extended_results=True,
                threads=native_threads(shape, default_cpus=UNIT),
            ),
            own,
        )
        return self._workers[shape]


def _most_workers(shape: Shape) -> int:
    """As many as there may be room for."""
    if not shape.cpus and not shape.gpus:
        return _WORKERS_FOR_NO_CPU
    return cpu_count_for_pools() if shape.place is not None else workers_that_fit(WorkerNeeds(shape, False))


def promises_of(
    workers: Workers, name: str, returns: int, ahead: int, args: tuple[Any, ...]
) -> tuple[tuple[Promise, ...], Refs, tuple[Any, ...]]:
    """Of a call of that name, the refs that it gives, and its arguments, which for a stream are more."""
    if returns == ONE:
        promise = promise_for(name)
        return (promise,), TaskRef(promise), args
    if returns == STREAM:
        completion, holder = promise_for(name), promise_for(name)
        stream = OwnStream(completion, holder, partial(give_up, workers.post))
        stream.workers = workers
        refs = ObjectRefGenerator(TaskRef(completion), TaskRef(holder), stream)
        return (completion,), refs, (holder.number, ahead, *args)
    promises = tuple(promise_for(name, position) for position in range(returns)) or (promise_for(name),)
    return promises, [TaskRef(promise) for promise in promises] if returns else None, args


def give_up(post: Callable[..., None], stream: OwnStream) -> None:
    """Nobody has its handle any more: have its call ended by whoever holds the loop. It may be called at any place."""
    post(_abandon, stream)


def _abandon(stream: OwnStream) -> None:
    stream.abandon()
    CHILDREN.cancel(stream.completion, force=False, recursive=True)


def _task(workers: Workers, options: TaskOptions, promises: tuple[Promise, ...]) -> Task:
    """What makes their values."""
    if options.retried:
        task: Task = RepeatedTask(workers, promises, retried=options.retried, retries_left=options.call.retries)
    else:
        task = Task(workers, promises)
    for promise in promises:
        promise.call = task
    return task


def _hand_in(task: Task, call: Prepared, needed: list[Promise]) -> None:
    """Have it run when what it needs is there."""
    remember(task, call, needed)
    if isinstance(task, RepeatedTask):
        call.options = msgspec.structs.replace(call.options, retries=0)
        task.call = call
    if needed:
        WaitingTask(task, call, needed, task.workers.arguments.dump).begin()
    else:
        hand_in(task, call)


def cancel(ref: TaskRef | ObjectRefGenerator, *, force: bool = False, recursive: bool = True) -> None:
    """See that a task does not run, or not on: `get` of its refs raises TaskCancelled from now on.

    One that has begun gets a KeyboardInterrupt; with `force` its worker is ended. With `recursive` the same befalls
    the tasks that it has started, or starts before it ends, and theirs. One that has ended is left as it is, and so is
    what it has started. Raises TypeError for what is no ref of a task.
    """
    for name, value in (("force", force), ("recursive", recursive)):
        if not isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be True or False")
    if isinstance(ref, ObjectRefGenerator):
        ref = ref.completed()
    if not isinstance(ref, TaskRef):
        remedy = {"ActorHandle": ": distpool.kill ends an actor", "list": ": cancel them one after another"}
        text = f"{ref!r}, a {type(ref).__name__}{remedy.get(type(ref).__name__, '')}"
        raise TypeError(f"cancel takes the ref of a task, or a generator, not {text}")
    cancel_promise(ref.known(), force=force, recursive=recursive)


def cancel_promise(promise: Promise, *, force: bool, recursive: bool) -> None:
    """See `cancel`."""
    if is_above(promise):
        program().cancel(promise, force=force, recursive=recursive)
        return
    with deferred():  # or it would be told as cancelled, and run on
        CHILDREN.cancel(promise, force=force, recursive=recursive)


_program: list[Any] = []
_own: list[Program] = []


def program() -> Any:
    """What runs the tasks that this process starts: its own `Program`, or in a worker what stands for the one above."""
    if not _program:
        _program.append(import_module("distpool.tasks.above").ProgramAbove() if FROM_ABOVE else own_program())
    return _program[0]


def own_program() -> Program:
    """What runs the tasks that workers of this process start. In a worker, those of the pools that it has made."""
    if not _own:
        _own.append(Program())
    return _own[0]


def submit(function: RemoteFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Refs:
    """See `Program.submit`."""
    refs: Refs = (_program[0] if _program else program()).submit(function, args, kwargs)
    return refs


os.register_at_fork(after_in_child=_program.clear)
os.register_at_fork(after_in_child=_own.clear)
