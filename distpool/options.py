"""Options of calls: what `with_options` and `remote` take, and what they say of a value that they cannot take."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import msgspec

from distpool.logic.calls import NO_OPTIONS, CallOptions
from distpool.protocol.resources import ONE_CPU, UNIT, Shape
from distpool.quantities import DURATION_FORMS, duration_s


def merged(known: CallOptions, given: dict[str, Any]) -> CallOptions:
    """`known` with what `with_options` was given. Raises TypeError or ValueError that name what is valid."""
    _check_names("with_options", given, _CALL_OPTIONS)
    fields = {"timeout": "timeout_s"}
    return msgspec.structs.replace(
        known, **{fields.get(name, name): _CALL_OPTIONS[name](value) for name, value in given.items()}
    )


class TaskOptions(msgspec.Struct, frozen=True):
    """What a remote function's calls are to have. `returns`: how many values; below 0: one, which is what the function
    returns. `retried`: the kinds of exception after which a call runs again, if `call.retries` allow it; `name`: of the
    calls in messages, empty for that of the function."""

    call: CallOptions = NO_OPTIONS
    shape: Shape = ONE_CPU
    returns: int = -1
    retried: tuple[type[BaseException], ...] = ()
    name: str = ""


def task_options(given: dict[str, Any]) -> TaskOptions:
    """Of a remote function that was given these. Raises TypeError or ValueError that name what is valid."""
    shape_options = inspect.signature(shape_of).parameters
    checks = {**_CALL_OPTIONS, "num_returns": _returns, "retry_exceptions": _retried, "name": _name}
    _check_names("remote", given, [*checks, *shape_options])
    shape = shape_of(**{name: value for name, value in given.items() if name in shape_options})
    checked = {name: checks[name](value) for name, value in given.items() if name in checks}
    retried = checked.get("retry_exceptions", ())
    if retried and not checked.get("retries"):
        raise ValueError(
            f"retry_exceptions is {given['retry_exceptions']!r}, but retries is {checked.get('retries', 0)}: say how "
            "often a call may run again, with retries=3, say"
        )
    call = merged(NO_OPTIONS, {name: value for name, value in given.items() if name in _CALL_OPTIONS})
    return TaskOptions(call, shape, checked.get("num_returns", -1), retried, checked.get("name", ""))


def shape_of(*, num_cpus: float = 1) -> Shape:
    """What one worker needs. Raises TypeError or ValueError that name what is valid."""
    form = "a number of at least 0, such as 1, 0.5 or 2"
    if isinstance(num_cpus, bool) or not isinstance(num_cpus, (int, float)):
        raise TypeError(f"num_cpus is {num_cpus!r}, a {type(num_cpus).__name__}; it must be {form}")
    if not 0 <= num_cpus < math.inf:
        raise ValueError(f"num_cpus is {num_cpus!r}; it must be {form}")
    return Shape(cpus=round(num_cpus * UNIT))


def _check_names(taker: str, given: Iterable[str], options: Iterable[str]) -> None:
    """Raises TypeError for a name that is none of these."""
    known = list(options)
    for name in given:
        if name not in known:
            difflib: Any = import_module("difflib")  # here, as only a mistake needs it
            close = [_NAMES_ELSEWHERE[name]] if name in _NAMES_ELSEWHERE else difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close and close[0] in known else ""
            raise TypeError(f"{taker} has no option {name!r}; its options are {', '.join(known)}{hint}")


def check_repeatable(options: CallOptions, named: Iterable[tuple[str, object]]) -> None:
    """Raises TypeError if one of these arguments (name, value) lasts for one run only, and the call may have more."""
    if not options.retries:
        return
    for name, value in named:
        if hasattr(type(value), "__next__"):
            raise TypeError(
                f"{name} is an iterator (a {type(value).__qualname__}), which the first run of the call consumes, so "
                "that the call cannot be repeated: pass a list, or leave out retries"
            )


def _timeout_s(value: object) -> float | None:
    return None if value is None else duration_s(value, "timeout", f"{DURATION_FORMS}, or None for no limit")


def _retries(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"retries is {value!r}, a {type(value).__name__}; it must be an int of at least 0")
    if value < 0:
        raise ValueError(f"retries is {value}; it must be at least 0, and 0 never runs a call again")
    return value


def _priority(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"priority is {value!r}, a {type(value).__name__}; it must be an int, and higher ones go first")
    return value


def _returns(value: object) -> int:
    form = "an int of at least 0: so many refs, of the values of the tuple or list that the function returns"
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"num_returns is {value!r}, a {type(value).__name__}; it must be {form}")
    if value < 0:
        raise ValueError(f"num_returns is {value}; it must be {form}")
    return -1 if value == 1 else value


def _retried(value: object) -> tuple[type[BaseException], ...]:
    form = "True, False, or a list of exception types, such as [OSError]"
    if isinstance(value, bool):
        return (Exception,) if value else ()
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"retry_exceptions is {value!r}, a {type(value).__name__}; it must be {form}")
    for kind in value:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"retry_exceptions has {kind!r}, which is no type of exception; it must be {form}")
    return tuple(value)


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"name is {value!r}, a {type(value).__name__}; it must be a str")
    return value


_CALL_OPTIONS: dict[str, Callable[[object], Any]] = {"timeout": _timeout_s, "retries": _retries, "priority": _priority}

_NAMES_ELSEWHERE = {"max_retries": "retries", "num_retries": "retries", "timeout_s": "timeout"}
"""What other libraries call some of the options."""

__all__ = ["NO_OPTIONS", "CallOptions", "TaskOptions", "check_repeatable", "merged", "shape_of", "task_options"]
