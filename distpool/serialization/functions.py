"""Functions that are pickled once and sent to each worker once.

Only what pickles as a name is shared by all calls: a bound method, a partial or an object with `__call__` may change
between two calls, so it travels with each call, as it does with the standard library.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterator
from importlib import import_module
from operator import attrgetter
from typing import Any

from distpool.ids import INLINE_FUNCTION, FunctionId
from distpool.protocol.messages import FunctionBlob
from distpool.serialization.buffers import Parts, extended_parts, standard_parts
from distpool.serialization.pickling import PICKLE_ERRORS, MainView, blame, describe, standard_dumps


class FunctionTable:
    """The functions that one group's workers have or will get."""

    def __init__(self, main: MainView, ids: Iterator[int], publish: Callable[[FunctionBlob], None]) -> None:
        self._main = main
        self._ids = ids
        self._publish = publish
        self._by_name: dict[object, FunctionId] = {}
        self._by_blob: dict[bytes, FunctionId] = {}

    def named(self, function: object) -> FunctionId:
        """The id of a function that the worker finds by its name, or INLINE_FUNCTION: it must travel with the call."""
        try:
            known = self._by_name.get(function)
        except Exception:  # not hashable, so surely an object with state
            return INLINE_FUNCTION
        if known is not None:
            return known
        if not pickles_as_name(function) or (_is_of_main(function) and not self._main.has(function)):
            return INLINE_FUNCTION
        try:
            blob = standard_dumps(function)
        except PICKLE_ERRORS:
            return INLINE_FUNCTION
        self._by_name[function] = function_id = self._add(blob, name_of(function), fresh=False)
        return function_id

    def made(self, function: Any, name: str) -> FunctionId:
        """The id of what a worker makes of this pickle, once; `function` is hashable."""
        function_id = self._by_name.get(function)
        if function_id is None:
            self._by_name[function] = function_id = self._add(standard_dumps(function), name, fresh=False)
        return function_id

    def wrapped(self, wrapper: Any, adapt: Callable[[Any], Any] | None) -> FunctionId:
        """The id of the function that `wrapper` stands for in its module and has as `__wrapped__`, or of what `adapt`
        makes of it. INLINE_FUNCTION: it is large. Raises pickle's error.

        It is pickled once: what a function has in its closure stays as it was then.
        """
        function = wrapper.__wrapped__
        if adapt is None:
            function_id = self.named(function)
            if function_id != INLINE_FUNCTION:
                return function_id
        # One of `__main__` may stand where workers do not run it, as below `if __name__ == "__main__"`.
        if is_found(wrapper) and not _is_of_main(wrapper):
            function = ByName(wrapper.__module__, wrapper.__qualname__)
        elif adapt is None:
            return self.any(function)
        try:
            blob = extended_parts(function if adapt is None else adapt(function), self._main)
        except PICKLE_ERRORS as error:
            raise blame(error, [("the function", function)], self._main) from None
        if type(blob) is not bytes:
            return INLINE_FUNCTION
        known = self._by_blob.get(blob)
        if known is None:
            known = self._by_blob[blob] = self._add(blob, name_of(wrapper), fresh=False)
        return known

    def any(self, function: object) -> FunctionId:
        """The id of any function, for calls whose items travel without it; INLINE_FUNCTION for one that is large, as it
        has large values with it, of which not every version is to be kept. Raises pickle's error."""
        function_id = self.named(function)
        if function_id != INLINE_FUNCTION:
            return function_id
        fresh = not isinstance(function, types.FunctionType)
        blob: bytes | Parts
        try:
            blob = standard_parts(function) if fresh and self._main.complete else extended_parts(function, self._main)
        except PICKLE_ERRORS as error:
            try:
                blob = extended_parts(function, self._main)
            except PICKLE_ERRORS:
                raise blame(error, [("the function", function)], self._main) from None
        if type(blob) is not bytes:
            return INLINE_FUNCTION
        known = self._by_blob.get(blob)
        if known is None:
            known = self._by_blob[blob] = self._add(blob, name_of(function), fresh=fresh)
        return known

    def _add(self, blob: bytes, name: str, *, fresh: bool) -> FunctionId:
        function_id = FunctionId(next(self._ids))
        self._publish(FunctionBlob(function_id, blob, fresh, name))
        return function_id


class ByName:
    """In a pickle: the function that what is found by this name in its module stands for."""

    def __init__(self, module: str, name: str) -> None:
        self._place = (module, name)

    def __reduce__(self) -> Any:
        return find_wrapped, self._place


def find_wrapped(module: str, name: str) -> Any:
    """In the worker. Raises AttributeError where it is not found."""
    return attrgetter(f"{name}.__wrapped__")(import_module(module))


def is_found(wrapper: Any) -> bool:
    """Its module has it under its name."""
    try:
        return attrgetter(wrapper.__qualname__)(sys.modules[wrapper.__module__]) is wrapper
    except (AttributeError, KeyError):
        return False


def several_returns(function: Any, returns: int) -> Any:
    """A function whose value has to be so many; below 0: one of any kind."""
    return function if returns < 0 else SeveralReturns(function, returns)


class SeveralReturns:
    """In the worker: a function whose value has to be a tuple or list of so many; for none it does not matter."""

    def __init__(self, function: Any, returns: int) -> None:
        self._function = function
        self._returns = returns

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.checked(self._function(*args, **kwargs))

    def checked(self, value: Any) -> Any:
        """What the function has returned. Raises TypeError and ValueError."""
        if self._returns == 0:
            return None
        what = f"{name_of(self._function)} was to return num_returns={self._returns} values"
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"{what} as a tuple or list, and returned {describe(value)}")
        if len(value) != self._returns:
            raise ValueError(f"{what}, and returned {len(value)}")
        return value


def pickles_as_name(function: Any) -> bool:
    """Functions, classes and built-ins of modules; not methods bound to an object."""
    if isinstance(function, types.BuiltinFunctionType):
        return function.__self__ is None or isinstance(function.__self__, types.ModuleType)
    return isinstance(function, (types.FunctionType, type))


def name_of(function: object) -> str:
    """What a call of it is called in messages."""
    name = getattr(function, "__qualname__", None)
    if isinstance(name, str):
        return name
    return name_of(function.func) if isinstance(function, functools.partial) else type(function).__qualname__


def _is_of_main(function: Any) -> bool:
    return getattr(function, "__module__", None) == "__main__"
