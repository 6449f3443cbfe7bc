"""Values to pickles: by reference whatever the worker can import or has inherited, by value only what it cannot.

The standard pickler (with the reducers that multiprocessing registers) comes first. What it refuses is pickled by
value; such functions still use the worker's own module for their globals, so that an initializer's globals are seen.
"""

from __future__ import annotations

import copyreg
import pickle
import sys
import types
from collections import ChainMap
from collections.abc import Callable, Iterable
from importlib import import_module
from multiprocessing.reduction import ForkingPickler
from typing import Any, Protocol

from distpool.serialization.reducers import merged_reducers

SCALARS = frozenset({int, float, bool, type(None), complex})
"""Types whose pickles are small, run no user code and cannot fail."""

SHORT_TEXT = 256
PICKLE_ERRORS = (pickle.PicklingError, AttributeError, TypeError)
_PROTOCOL = 5

Write = Callable[[bytes], object]
"""Takes a pickle, in one piece or several."""

Leave = Callable[[pickle.PickleBuffer], bool]
"""Told of each buffer; False says that it leaves the pickle."""


class MainView(Protocol):
    """What a worker's `__main__` has of this process's."""

    complete: bool
    """Everything that `__main__` defines can be found there by its name: it is a file that the worker imports."""

    def has(self, value: object) -> bool:
        """Whether this function or class of `__main__` can be found there by its name."""
        ...


def is_scalar(value: object) -> bool:
    """Whether a value may travel among others in one pickle."""
    kind = type(value)
    return kind in SCALARS or (kind is str and len(value) <= SHORT_TEXT)  # type: ignore[arg-type]


class _File:
    """What a pickler writes to."""

    __slots__ = ("write",)

    def __init__(self, write: Write) -> None:
        self.write = write


class StandardPickler(pickle.Pickler):
    """The C pickler with multiprocessing's reducers, as ForkingPickler, but without a ChainMap's slow look-ups."""

    def __init__(self, file: Any, leave: Leave | None = None) -> None:
        super().__init__(file, _PROTOCOL, buffer_callback=leave)
        update_reducers(self)


_merged: tuple[tuple[int, int, bool, bool], dict[type, Any]] = ((0, 0, False, False), {})


def update_reducers(pickler: pickle.Pickler) -> None:
    """Give it the reducers that are registered by now."""
    global _merged
    extra = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
    registered = (len(copyreg.dispatch_table), len(extra), "numpy" in sys.modules, "torch" in sys.modules)
    if registered != _merged[0]:
        _merged = registered, merged_reducers()
    pickler.dispatch_table = _merged[1]


def standard_pickler(write: Write, leave: Leave | None = None) -> pickle.Pickler:
    return StandardPickler(_File(write), leave)


def standard_dumps(value: object) -> bytes:
    """Pickle as multiprocessing does. Raises what pickle raises."""
    pieces: list[bytes] = []
    standard_pickler(pieces.append).dump(value)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def extended_pickler(write: Write, main: MainView, leave: Leave | None = None) -> pickle.Pickler:
    return _by_value_pickler()(_File(write), main, leave)


def extended_dumps(value: object, main: MainView) -> bytes:
    """Pickle, by value what the worker could not find. Raises what cloudpickle raises."""
    pieces: list[bytes] = []
    extended_pickler(pieces.append, main).dump(value)
    return b"".join(pieces)


def blame(error: Exception, parts: Iterable[tuple[str, object]], main: MainView) -> Exception:
    """The same kind of error, whose message names which of `parts` (name, value) cannot be pickled, and what in it."""
    if type(error) not in PICKLE_ERRORS:
        return error  # an error of the value's own says more than we could
    for name, value in parts:
        if _failure(value, main) is not None:
            path, culprit = find_unpicklable(value, main)
            where = f"its part {path} is" if path else "it is"
            # What came first may have been of something else, which travels by value.
            reason = _failure(culprit, main) or error
            return type(error)(f"{reason}; {name} cannot be pickled: {where} {describe(culprit)}")
    return error


def named_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any], leading: tuple[str, ...] = ()
) -> list[tuple[str, object]]:
    """The arguments of a call, as `blame` takes them. `leading`: what the first of them are, which no user has
    written."""
    named: list[tuple[str, object]] = [
        (f"argument {position}", value) for position, value in enumerate(args[len(leading) :])
    ]
    named += [(f"argument {name!r}", value) for name, value in kwargs.items()]
    return [*named, *zip(leading, args, strict=False)]


def describe(value: object) -> str:
    """What a value is, in a line that its own `repr` cannot spoil."""
    try:
        text = repr(value)
    except Exception:
        text = object.__repr__(value)
    return f"a {type(value).__qualname__}: {text if len(text) <= 80 else text[:77] + '...'}"


def find_unpicklable(value: object, main: MainView, limit: int = 200) -> tuple[str, object]:
    """The way to the innermost part that cannot be pickled, like `[0].lock`, and it. Looks at `limit` parts."""
    path = ""
    on_the_way = {id(value)}
    while True:
        for step, part in _parts(value):
            limit -= 1
            if limit <= 0:
                return path, value
            if id(part) not in on_the_way and _failure(part, main) is not None:
                path, value = path + step, part
                on_the_way.add(id(part))
                break
        else:
            return path, value


def _parts(value: object) -> list[tuple[str, object]]:
    if isinstance(value, dict):
        return [(f"[{describe_key(key)}]", part) for key, part in list(value.items())[:100]]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [(f"[{position}]", part) for position, part in enumerate(list(value)[:100])]
    if isinstance(value, types.FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        return [(f".<closure>.{name}", cell.cell_contents) for name, cell in cells if cell != types.CellType()]
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, (dict, types.MappingProxyType)):
        return [(f".{name}", part) for name, part in list(attributes.items())[:100]]
    return []


def describe_key(key: object) -> str:
    try:
        return repr(key)
    except Exception:
        return object.__repr__(key)


def _failure(value: object, main: MainView) -> Exception | None:
    """Why it cannot be pickled, also by value; None: it can. Without multiprocessing's reducers: to pickle a connection
    by them starts a thread that serves it."""
    try:
        pickle.dumps(value, _PROTOCOL)
    except Exception:
        try:
            extended_dumps(value, main)
        except Exception as error:
            return error
    return None


# By value -------------------------------------------------------------------------------------------------------------

_MakePickler = Callable[[Any, MainView, Leave | None], pickle.Pickler]
_pickler_class: list[_MakePickler] = []


def _by_value_pickler() -> _MakePickler:
    """The class is made at first use: cloudpickle takes 20 ms to import, and most programs never need it."""
    if not _pickler_class:
        _pickler_class.append(_make_by_value_pickler())
    return _pickler_class[0]


def _make_by_value_pickler() -> _MakePickler:
    cloudpickle = import_module("cloudpickle")
    base: Any = cloudpickle.Pickler

    class ByValuePickler(base):  # type: ignore[misc]
        """cloudpickle, but by reference what the worker has, and with the worker's module as a function's globals."""

        def __init__(self, file: Any, main: MainView, leave: Leave | None) -> None:
            # First, as it is looked up there.
            self.dispatch_table = ChainMap(merged_reducers(), base.dispatch_table)
            super().__init__(file, _PROTOCOL, leave)
            self._main = main

        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, (types.FunctionType, type)):
                if _is_found_by_name(value) and (value.__module__ != "__main__" or self._main.has(value)):
                    return NotImplemented
                if isinstance(value, types.FunctionType) and _module_of(value) is not None:
                    return _reduce_function(value, super().reducer_override(value))
            return super().reducer_override(value)

    return ByValuePickler


def _is_found_by_name(value: Any) -> bool:
    found: Any = sys.modules.get(value.__module__ or "")
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value


def _module_of(function: types.FunctionType) -> str | None:
    """The module whose dictionary are the function's globals, if it is one that can be imported again."""
    module = sys.modules.get(function.__module__ or "")
    return function.__module__ if module is not None and module.__dict__ is function.__globals__ else None


def _reduce_function(function: types.FunctionType, reduced: Any) -> Any:
    """cloudpickle's way to rebuild `function`, but on the dictionary of its own module.

    The globals that it names travel too, for a worker whose module lacks them (those under a main guard, say).
    """
    _, (code, _, name, defaults, closure), (attributes, slots), *_ = reduced
    named = {key: value for key, value in slots["__globals__"].items() if _travels(value)}
    state = (attributes, {**slots, "__globals__": named})
    return (rebuild_function, (code, function.__module__, name, defaults, closure), state, None, None, restore_function)


def _travels(value: object) -> bool:
    if isinstance(value, (types.ModuleType, types.FunctionType, type)) or hasattr(value, "__wrapped__"):
        return True
    try:
        standard_dumps(value)
    except Exception:
        return False
    return True


def rebuild_function(code: types.CodeType, module: str, name: str, defaults: Any, closure: Any) -> types.FunctionType:
    """In the worker: a function that was sent by value, with its module's dictionary as its globals."""
    return types.FunctionType(code, globals_of(module), name, defaults, closure)


def globals_of(name: str) -> dict[str, Any]:
    """The globals of a module's functions. For a `__main__` that was imported again they are not the module's own
    dictionary: `multiprocessing.spawn` runs the file elsewhere and copies what it defined."""
    namespace = import_module(name).__dict__
    if name == "__main__":
        for value in namespace.values():
            if isinstance(value, types.FunctionType) and value.__module__ == "__mp_main__":
                return value.__globals__
    return namespace


def restore_function(function: types.FunctionType, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """In the worker: the function's attributes and closure; globals only where the module lacks them."""
    attributes, slots = state
    function.__dict__.update(attributes)
    for key, value in slots.pop("__globals__").items():
        function.__globals__.setdefault(key, value)
    slots.pop("_cloudpickle_submodules", None)
    for cell, sent in zip(function.__closure__ or (), slots.pop("__closure__") or (), strict=True):
        try:
            cell.cell_contents = sent.cell_contents
        except ValueError:  # an empty cell stays empty
            continue
    for key, value in slots.items():
        setattr(function, key, value)
