"""Sizes and durations as people write them: "2GiB", "30%", "500ms"."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

_UNITS_S = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
DURATION_FORMS = (
    'a number of seconds above 0, or a text such as "500ms", "30s", "1.5min", "2h" or "1d" (one number, one unit)'
)

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?)\s*(%|[a-z]*)")
_SIZE_FORMS = "a number of bytes, or one with a unit such as '512MiB', '4GB', '1.5GiB'"
_SHARE_FORM = ", or a share of the memory as '30%'"


def duration_s(value: object, name: str, forms: str = DURATION_FORMS) -> float:
    """In seconds. Raises TypeError or ValueError that names the value as `name` and lists the accepted forms."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value)
        if match is not None and match[2] in _UNITS_S and float(match[1]) > 0:
            return float(match[1]) * _UNITS_S[match[2]]
        raise ValueError(f"{name} is {value!r}; it must be {forms}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be {forms}")
    if not value > 0 or math.isinf(value):
        raise ValueError(f"{name} is {value!r}; it must be {forms}")
    return float(value)


def size_bytes(value: object, name: str, *, smallest: int, whole: Callable[[], int] | None = None) -> int:
    """In bytes. `smallest`: that is accepted; `whole`: of what a size may be a share, if it may.

    Raises TypeError or ValueError that names the value as `name` and lists the accepted forms.
    """
    forms = _SIZE_FORMS if whole is None else _SIZE_FORMS + _SHARE_FORM
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be {forms}")
    size = value if isinstance(value, int) else _parsed_size(value, whole)
    if size is None:
        raise ValueError(f"{name} is {value!r}; it must be {forms}")
    if size < smallest:
        raise ValueError(f"{name} is {value!r}, {size} bytes; it must be at least {smallest} bytes: {forms}")
    return size


def _parsed_size(text: str, whole: Callable[[], int] | None) -> int | None:
    """None: it has another form."""
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None:
        return None
    number, unit = float(match[1]), match[2]
    if unit == "%" and whole is not None:
        return int(whole() * number / 100) if 0 < number <= 100 else None
    return int(number * _UNITS[unit]) if unit in _UNITS else None
