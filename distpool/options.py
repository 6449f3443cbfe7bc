"""Options of single calls: what `with_options` takes, and what it says of a value that it cannot take."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import msgspec

from distpool.logic.calls import NO_OPTIONS, CallOptions
from distpool.quantities import DURATION_FORMS, duration_s


def merged(known: CallOptions, given: dict[str, Any]) -> CallOptions:
    """`known` with what `with_options` was given. Raises TypeError or ValueError that name what is valid."""
    checks = {"timeout": _timeout_s, "retries": _retries, "priority": _priority}
    for name in given:
        if name not in checks:
            difflib: Any = import_module("difflib")  # here, as only a mistake needs it
            close = difflib.get_close_matches(name, checks, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"with_options has no option {name!r}; its options are {', '.join(checks)}{hint}")
    fields = {"timeout": "timeout_s"}
    return msgspec.structs.replace(
        known, **{fields.get(name, name): checks[name](value) for name, value in given.items()}
    )


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


__all__ = ["NO_OPTIONS", "CallOptions", "check_repeatable", "merged"]
