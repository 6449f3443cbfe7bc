"""`distpool.remote` and the remote functions that it makes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any, NoReturn

from distpool.serialization.functions import is_found, name_of
from distpool.tasks.options import TaskOptions, task_options
from distpool.tasks.parameters import Parameters, parameters_of


def remote(*args: Any, **options: Any) -> Any:
    """A function whose calls run in workers, beside each other: `f.remote(x)` gives a ref at once.

    As a decorator, `@distpool.remote` or `@distpool.remote(num_cpus=2, retries=3)`, or called with a function.

    `num_cpus`: that a call needs, 1 by default; `num_gpus`, `memory` and what else says what a worker needs: see
    `distpool.placing.shape_of`. `num_returns`: how many refs it gives, of the values of the tuple or list that the
    function returns; 0: None; "streaming", and without a word for a generator: an `ObjectRefGenerator`, which gives
    refs of its items while it runs. `generator_backpressure_num_objects`: how many of those may wait to be taken before
    the generator is paused, 32 by default; -1: any number. `retries`: how often a call may run again after the death of
    its worker, 0 by default, and with `retry_exceptions` (True, or a list of types) after an exception. `timeout`: how
    long it may run, in seconds or as "500ms", "1.5min"; then its worker is ended and `get` raises CallTimeout.
    `priority`: calls with a higher one go first. `name`: of the calls in messages. Raises TypeError and ValueError that
    list what is valid.
    """
    if len(args) == 1 and not options:
        return _made(args[0], {})
    if args:
        raise TypeError(
            "remote takes one function and nothing else, or options by their names: "
            "@distpool.remote, @distpool.remote(num_cpus=2) or distpool.remote(num_cpus=2)(f)"
        )
    if not options:
        raise TypeError("remote() has no options and no function: write @distpool.remote, or give options")
    return functools.partial(_made, options=options)


def _made(function: Any, options: dict[str, Any]) -> Any:
    if isinstance(function, RemoteFunction):
        raise TypeError(f"{function!r} is remote already; {name_of(function)}.options(...) changes its options")
    if isinstance(function, type):
        return import_module("distpool.actors").actor_class(function, options)
    if hasattr(type(function), "remote"):  # an actor's class, or a method of an actor
        raise TypeError(f"{function!r} is remote already: call it by its remote(...)")
    if not callable(function):
        raise TypeError(f"remote takes a function or a class, not {function!r}, a {type(function).__name__}")
    if inspect.iscoroutinefunction(function):
        raise TypeError(
            f"remote takes a plain function, and {name_of(function)} is a coroutine: in a plain one, "
            "`asyncio.run` runs it"
        )
    if inspect.isasyncgenfunction(function):
        raise TypeError(
            f"remote takes a plain function, and {name_of(function)} is an async generator: make it a plain one, or a "
            "method of an actor"
        )
    return RemoteFunction(function, options)


class RemoteFunction:
    """A function whose calls run in workers. It can be pickled, and keeps the name, text and signature of the function,
    which is its `__wrapped__`."""

    __wrapped__: Callable[..., Any]
    __qualname__: str

    def __init__(
        self, function: Callable[..., Any], options: dict[str, Any], ids: Any = None, parameters: Any = None
    ) -> None:
        """Raises TypeError and ValueError for options."""
        functools.update_wrapper(self, function)
        if "__qualname__" not in self.__dict__:  # a partial function, or an object that can be called
            self.__qualname__ = name_of(function)
        self._options: TaskOptions = task_options(options, is_generator=inspect.isgeneratorfunction(function))
        self._given = options
        # By the number of a group's arguments and of the values: a function is pickled once for each.
        self._ids: dict[tuple[int, int], Any] = {} if ids is None else ids
        self._name = self._options.name or name_of(function)
        # Looked at with the first call.
        self._parameters: list[Parameters | None] = [] if parameters is None else parameters

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call it in a worker: a ref at once; a list of refs with `num_returns` above 1, None with 0, and an
        `ObjectRefGenerator` of a generator.

        An argument that is a ref arrives as its value, and the call waits until that is there. Raises TypeError when
        the function does not take such arguments, and what pickling raises, with the argument that cannot be pickled in
        the message.
        """
        parameters = (self._parameters or self._look_at_parameters())[0]
        if parameters is not None:
            parameters.check(self.__qualname__, args, kwargs)
        return (_submit or _import_submit())[0](self, args, kwargs)

    def options(self, **options: Any) -> RemoteFunction:
        """The same function with other options for the calls that are made through the result; see `remote`."""
        return RemoteFunction(self.__wrapped__, {**self._given, **options}, self._ids, self._parameters)

    def _look_at_parameters(self) -> list[Parameters | None]:
        self._parameters[:] = [parameters_of(self.__wrapped__)]
        return self._parameters

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        name = self.__qualname__
        raise TypeError(
            f"{name} is a remote function and cannot be called like this: write {name}.remote(...) for a call in a "
            f"worker, or {name}.__wrapped__(...) for one here"
        )

    def __get__(self, instance: object, owner: type | None = None) -> RemoteFunction:
        """In a class it stays what it is: nothing would bind an instance to it."""
        return self

    def __reduce__(self) -> Any:
        if self.__module__ != "__main__" and is_found(self):
            return self.__qualname__  # by its name, like a function
        return RemoteFunction, (self.__wrapped__, self._given)

    def __repr__(self) -> str:
        return f"<RemoteFunction {self.__module__}.{self.__qualname__}>"


_submit: list[Callable[[RemoteFunction, tuple[Any, ...], dict[str, Any]], Any]] = []


def _import_submit() -> list[Callable[[RemoteFunction, tuple[Any, ...], dict[str, Any]], Any]]:
    """With the first call: a worker that imports a module of remote functions need not have the runtime."""
    _submit[:] = [import_module("distpool.tasks.program").submit]
    return _submit
