"""Options of remote functions, and what is said of a value that they cannot take."""

from __future__ import annotations

from typing import Any

import msgspec

from distpool.config import SETTINGS
from distpool.logic.streams import ONE, STREAM
from distpool.options import CALL_OPTIONS, NO_OPTIONS, CallOptions, check_names, merged
from distpool.placing import SHAPE_OPTIONS, shape_of
from distpool.protocol.resources import ONE_CPU, Shape

AHEAD = "generator_backpressure_num_objects"


class TaskOptions(msgspec.Struct, frozen=True):
    """What a remote function's calls are to have. `returns`: how many values, or `ONE`, or `STREAM`; `ahead`: how many
    of a stream may wait to be taken, any number below 0. `retried`: the kinds of exception after which a call runs
    again, if `call.retries` allow it; `name`: of the calls in messages, empty for that of the function."""

    call: CallOptions = NO_OPTIONS
    shape: Shape = ONE_CPU
    returns: int = ONE
    retried: tuple[type[BaseException], ...] = ()
    name: str = ""
    ahead: int = SETTINGS.items_ahead_limit


def task_options(given: dict[str, Any], *, is_generator: bool = False) -> TaskOptions:
    """Of a remote function that was given these; `is_generator`: it is one, and streams if nothing else is said. Raises
    TypeError or ValueError that name what is valid."""
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
    returns = checked.get("num_returns", STREAM if is_generator else ONE)
    if AHEAD in checked and returns != STREAM:
        raise ValueError(not_streaming(given[AHEAD]))
    options = TaskOptions(call, shape, returns, retried, checked.get("name", ""))
    return msgspec.structs.replace(options, ahead=checked[AHEAD]) if AHEAD in checked else options


def checked_returns(value: object) -> int:
    """What num_returns= says. Raises TypeError and ValueError."""
    form = (
        "an int of at least 0: so many refs, of the values of the tuple or list that the function returns; or "
        '"streaming", for a generator whose items come one by one'
    )
    if value == "streaming":
        return STREAM
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"num_returns is {value!r}, a {type(value).__name__}; it must be {form}")
    if value < 0:
        raise ValueError(f"num_returns is {value}; it must be {form}")
    return ONE if value == 1 else value


def checked_ahead(value: object) -> int:
    """What generator_backpressure_num_objects= says. Raises TypeError and ValueError."""
    form = "an int of at least 1: so many items may wait to be taken before the generator is paused; or -1: any number"
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{AHEAD} is {value!r}, a {type(value).__name__}; it must be {form}")
    if value < 1 and value != -1:
        raise ValueError(f"{AHEAD} is {value}; it must be {form}")
    return value


def not_streaming(ahead: object) -> str:
    """Why it makes no sense."""
    return (
        f"{AHEAD} is {ahead}, but the call gives no items one by one: it is for generators, with "
        'num_returns="streaming" or without num_returns'
    )


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


_CHECKS: dict[str, Any] = {
    "num_returns": checked_returns,
    AHEAD: checked_ahead,
    "retry_exceptions": _retried,
    "name": _name,
}
