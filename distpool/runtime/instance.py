"""The actor that this worker is: its constructor's call makes it, and the calls of its methods find it.

A method travels once, as its name; where that is unpickled it becomes the bound method, so that a call of it costs what
one of a function does.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from distpool.base_errors import ExitActor
from distpool.logic.streams import ONE, STREAM
from distpool.runtime.yielding import returning
from distpool.runtime.yielding_on_loop import YieldingOnLoop
from distpool.serialization.functions import SeveralReturns

_instance: list[Any] = []
_loops: list[asyncio.AbstractEventLoop] = []


class Traits(NamedTuple):
    """Of an actor's class. `is_async`: it has async methods, and all run on one event loop. `limits`: of each
    concurrency group; None where calls run one at a time."""

    is_async: bool = False
    limits: dict[str, int] | None = None


class Method(NamedTuple):
    """A method by its name. `group`: where it runs, if its calls run beside each other; None: on the main thread.
    `returns`: its value is to be so many, or see `returning`."""

    name: str
    group: str | None = None
    returns: int = ONE

    def __reduce__(self) -> Any:
        return bound, (self.name, self.group, self.returns)


class BesideMethod(NamedTuple):
    """A bound method whose calls run beside others, in this group."""

    function: Callable[..., Any]
    group: str


MADE_OF = ("the class", "its traits")
"""What the first arguments of `construct` are, in messages."""


def construct(actor_class: Any, traits: Any, /, *args: Any, **kwargs: Any) -> None:
    """Make the instance: the first call of an actor's worker."""
    traits = Traits(*traits)
    _traits.append(traits)
    if traits.is_async:
        # On its loop, where it may make what belongs to one.
        made = asyncio.run_coroutine_threadsafe(_made(partial(actor_class, *args, **kwargs)), event_loop()).result()
    else:
        made = actor_class(*args, **kwargs)
    _instance.append(made)


def bound(name: str, group: str | None, returns: int) -> Any:
    """In the worker: the method of this name."""
    instance = _instance[0]
    function = partial(_BUILT_IN[name], instance) if name in _BUILT_IN else getattr(instance, name)
    if returns == STREAM and _traits[0].is_async:
        function = YieldingOnLoop(function)
    elif returns == STREAM:
        function = returning(function, returns)
    elif returns >= 0:
        function = _returning(function, returns)
    return function if group is None else BesideMethod(function, group)


def is_actor() -> bool:
    """This process is an actor's worker."""
    return bool(_traits)


def traits() -> Traits:
    """Of the actor that this is."""
    return _traits[0]


def event_loop() -> asyncio.AbstractEventLoop:
    """That of an async actor; it runs on a thread of its own."""
    if not _loops:
        loop = asyncio.new_event_loop()
        threading.Thread(target=_run, args=(loop,), name="distpool-actor", daemon=True).start()
        _loops.append(loop)
    return _loops[0]


def exit_actor() -> None:
    """In a method: end this actor. Calls that were sent before are answered; this one, and those after it, raise
    ActorDied, and the actor is not started again.

    Raises TypeError where no actor runs.
    """
    if not is_actor():
        raise TypeError("exit_actor was called outside of an actor: it is for an actor's own methods")
    raise ExitActor


def _returning(function: Callable[..., Any], returns: int) -> Callable[..., Any]:
    several = SeveralReturns(function, returns)
    if not inspect.iscoroutinefunction(function):
        return several

    async def run(*args: Any, **kwargs: Any) -> Any:
        return several.checked(await function(*args, **kwargs))

    return run


async def _made(make: Callable[[], Any]) -> Any:
    return make()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def _ready(instance: Any) -> bool:
    return True


def _call(instance: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(instance, *args, **kwargs)


def _terminate(instance: Any) -> None:
    raise ExitActor


_traits: list[Traits] = []
_BUILT_IN: dict[str, Callable[..., Any]] = {
    "__ray_ready__": _ready,
    "__ray_call__": _call,
    "__ray_terminate__": _terminate,
}
"""Methods that every actor has."""

BUILT_IN = frozenset(_BUILT_IN)
