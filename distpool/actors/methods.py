"""The methods of an actor, as they are called through its handle."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgspec

from distpool.actors.options import ActorOptions, MethodOptions, concurrency, merged_method_options
from distpool.logic.actor_plan import DEFAULT_GROUP, ActorCallOptions
from distpool.logic.promises import Promise
from distpool.logic.streams import STREAM
from distpool.protocol.messages import CallMode
from distpool.runtime.instance import BUILT_IN, Method, Traits
from distpool.tasks.arguments import with_stand_ins
from distpool.tasks.calls import Prepared, Task
from distpool.tasks.options import not_streaming
from distpool.tasks.parameters import Parameters, parameters_of
from distpool.tasks.program import promises_of

if TYPE_CHECKING:
    from distpool.actors.foreign import ForeignLife
    from distpool.actors.life import Life

Function = TypeVar("Function", bound=Callable[..., Any])

_MARK = "__distpool_method__"


def method(*args: Any, **options: Any) -> Callable[[Function], Function]:
    """Decorate a method of an actor's class with options for its calls.

    `num_returns`: how many refs a call gives, of the values of the tuple or list that the method returns; 0: None;
    "streaming", and without a word for a generator, async or not: an `ObjectRefGenerator` of its items.
    `generator_backpressure_num_objects`: how many of those may wait to be taken, 32 by default; -1: any number.
    `concurrency_group`: the group of `concurrency_groups` that it runs in. `max_task_retries`: how often a call may run
    again after the death of the actor's worker, instead of what the class says; -1 is always. Raises TypeError and
    ValueError that list what is valid.
    """
    if args or not options:
        raise TypeError("method takes options by their names, and decorates with them: @distpool.method(num_returns=2)")
    checked = merged_method_options(MethodOptions(), options)

    def mark(function: Function) -> Function:
        setattr(function, _MARK, checked)
        return function

    return mark


class ClassPlan(msgspec.Struct, frozen=True, dict=True):
    """What calls need to know of an actor's class. `methods`: with the options that they were decorated with.
    `parameters`: of those methods of which they are known.

    Each handle that is sent has it. So it is encoded once, and decoded once where many arrive.
    """

    name: str
    methods: dict[str, MethodOptions]
    is_async: bool
    parameters: dict[str, Parameters]

    @cached_property
    def _encoded(self) -> bytes:
        return msgspec.msgpack.encode(self)

    def __reduce__(self) -> Any:
        return _class_plan, (self._encoded,)


@lru_cache(maxsize=256)
def _class_plan(encoded: bytes) -> ClassPlan:
    return msgspec.msgpack.decode(encoded, type=ClassPlan)


def plan_of(actor_class: type) -> ClassPlan:
    """Of a class: all of its functions are methods that can be called."""
    methods = {}
    parameters = {}
    is_async = False
    for name in dir(actor_class):
        function = getattr(actor_class, name, None)
        if not inspect.isroutine(function) or (name.startswith("__") and name != "__call__"):
            continue
        methods[name] = _options_of(function, f"{actor_class.__qualname__}.{name}")
        is_static = isinstance(inspect.getattr_static(actor_class, name), staticmethod)
        found = parameters_of(function, is_method=not (is_static or inspect.ismethod(function)))
        if found is not None:
            parameters[name] = found
        is_async = is_async or inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    methods.update((name, MethodOptions()) for name in BUILT_IN)
    return ClassPlan(actor_class.__qualname__, methods, is_async, parameters)


def _options_of(function: Any, name: str) -> MethodOptions:
    """Those that it was decorated with; a generator streams, if they do not say otherwise."""
    options: MethodOptions = getattr(function, _MARK, MethodOptions())
    if options.num_returns is not None:
        return options
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return msgspec.structs.replace(options, num_returns=STREAM)
    if options.ahead != MethodOptions().ahead:
        raise ValueError(f"{name}: {not_streaming(options.ahead)}")
    return options


def traits_of(plan: ClassPlan, options: ActorOptions) -> Traits:
    """Raises ValueError for a method in a concurrency group that the actor does not have."""
    limits = concurrency(options, is_async=plan.is_async)
    for name, of_method in plan.methods.items():
        check_group(of_method.concurrency_group, limits, f"{plan.name}.{name}")
    return Traits(plan.is_async, limits)


def check_group(group: str | None, limits: dict[str, int] | None, what: str) -> None:
    if group is None or group in (limits or {}):
        return
    known = [name for name in limits or {} if name != DEFAULT_GROUP]
    close = get_close_matches(group, known, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    named = f"it has {', '.join(map(repr, known))}" if known else "it has none; name them with concurrency_groups="
    raise ValueError(f"concurrency_group of {what} is {group!r}, which its actor does not have: {named}{hint}")


class ActorMethod:
    """A method of one actor: `remote` calls it there."""

    __slots__ = ("_call_options", "_function", "_life", "_mode", "_name", "_options", "_parameters", "_returns")

    def __init__(self, life: Life | ForeignLife, name: str, options: MethodOptions) -> None:
        self._life = life
        self._name = f"{life.class_plan.name}.{name}"
        self._options = options
        self._parameters = life.class_plan.parameters.get(name)
        limits = life.traits.limits
        group = options.concurrency_group or DEFAULT_GROUP
        self._mode = CallMode.CALL if limits is None else CallMode.BESIDE
        self._returns = options.returns
        method = Method(name, None if limits is None else group, self._returns)
        self._function = life.workers.arguments.function_named(method, self._name)
        retries = life.options.max_task_retries if options.max_task_retries is None else options.max_task_retries
        self._call_options = ActorCallOptions(retries=retries, concurrency_group=group)

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call it: a ref of the result; a list of refs with `num_returns` above 1, None with 0, and an
        `ObjectRefGenerator` of a generator.

        Calls of one actor begin in the order in which this program makes them; an argument that is a ref arrives as its
        value, and later calls wait for that too. `get` of the result raises what the method raises; ActorDied when the
        actor is dead, or dies before that; and ActorUnavailable when its worker dies while it runs the call, and is
        started again. Raises TypeError when the method does not take such arguments, and what pickling raises, with the
        argument that cannot be pickled in the message.
        """
        if self._parameters is not None:
            self._parameters.check(self._name, args, kwargs)
        workers = self._life.workers
        needed: list[Promise] = []
        promises, refs, args = promises_of(workers, self._name, self._returns, self._options.ahead, args)
        args, kwargs = with_stand_ins(args, kwargs, needed)
        pickled = workers.arguments.pickle_arguments(self._function, None, args, kwargs)
        task = Task(workers, promises)
        for promise in promises:
            promise.call = task
        self.hand_in(task, pickled, needed)
        return refs

    def hand_in(self, task: Task, pickled: Any, needed: list[Promise]) -> None:
        """Have it called with these pickled arguments, in its turn, and when the values of `needed` are there."""
        turns = self._life.turns
        if not needed and not turns.are_waiting:
            task.workers.hand_in_call(self._function, pickled, task, self._call_options, "", self._mode)
            task.workers.poke()
        else:
            turns.add(task, Prepared(self._function, pickled, self._call_options, ""), needed, self._mode)

    def options(self, **options: Any) -> ActorMethod:
        """The same with other options; see `method`."""
        merged = merged_method_options(self._options, options)
        check_group(merged.concurrency_group, self._life.traits.limits, self._name)
        return ActorMethod(self._life, self._name.rpartition(".")[2], merged)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = self._name.rpartition(".")[2]
        raise TypeError(
            f"an actor's methods run in its worker: call {name}.remote(...), which gives a ref of the result"
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot be sent to another process: send the handle of its actor, and call it there")

    def __repr__(self) -> str:
        return f"<ActorMethod {self._name} of {self._life!r}>"
