"""Options of calls and of workers: what `with_options` and others take, and what they say of what they cannot take."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from importlib import import_module
from typing import Any

import msgspec

from distpool.logic.calls import NO_OPTIONS, CallOptions
from distpool.quantities import DURATION_FORMS, duration_s


def merged(known: CallOptions, given: dict[str, Any], also: Collection[str] = ()) -> CallOptions:
    """`known` with what `with_options` was given. `also`: other options that it takes. Raises TypeError or ValueError
    that name what is valid."""
    check_names(given, [*CALL_OPTIONS, *also], "with_options")
    fields = {"timeout": "timeout_s"}
    return msgspec.structs.replace(
        known, **{fields.get(name, name): CALL_OPTIONS[name](value) for name, value in given.items()}
    )


def check_names(given: Iterable[str], valid: Collection[str], whose: str) -> None:
    """Raises TypeError for a name that is not valid."""
    for name in given:
        if name not in valid:
            difflib: Any = import_module("difflib")  # here, as only a mistake needs it
            elsewhere = [_NAMES_ELSEWHERE[name]] if _NAMES_ELSEWHERE.get(name) in valid else []
            close = elsewhere or difflib.get_close_matches(name, valid, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"{whose} has no option {name!r}; its options are {', '.join(valid)}{hint}")


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


CALL_OPTIONS: dict[str, Callable[[object], Any]] = {"timeout": _timeout_s, "retries": _retries, "priority": _priority}

_NAMES_ELSEWHERE = {
    "max_retries": "retries",
    "num_retries": "retries",
    "timeout_s": "timeout",
    "retries": "max_task_retries",
    "max_task_retries": "retries",
    "max_restarts": "retries",
}
"""What other libraries, or tasks and actors, call some of the options."""

__all__ = ["CALL_OPTIONS", "NO_OPTIONS", "CallOptions", "check_names", "check_repeatable", "merged"]
