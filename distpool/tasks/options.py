"""Options of remote functions, and what is said of a value that they cannot take."""

from __future__ import annotations

from typing import Any

import msgspec

from distpool.options import CALL_OPTIONS, NO_OPTIONS, CallOptions, check_names, merged
from distpool.placing import SHAPE_OPTIONS, shape_of
from distpool.protocol.resources import ONE_CPU, Shape


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
    check_names(given, [*CALL_OPTIONS, *_CHECKS, *SHAPE_OPTIONS], "remote")
    shape = shape_of(whose="remote", **{name: value for name, value in given.items() if name in SHAPE_OPTIONS})
    call = merged(NO_OPTIONS, {name: value for name, value in given.items() if name in CALL_OPTIONS})
    checked = {name: _CHECKS[name](value) for name, value in given.items() if name in _CHECKS}
    retried = checked.get("retry_exceptions", ())
    if retried and not call.retries:
        raise ValueError(
            f"retry_exceptions is {given['retry_exceptions']!r}, but retries is 0: say how often a call may run again, "
            "with retries=3, say"
        )
    return TaskOptions(call, shape, checked.get("num_returns", -1), retried, checked.get("name", ""))


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


_CHECKS: dict[str, Any] = {"num_returns": _returns, "retry_exceptions": _retried, "name": _name}
