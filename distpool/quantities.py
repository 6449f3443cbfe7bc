"""Sizes, durations and amounts as people write them: "2GiB", "30%", "500ms", 0.25, {"tpu": 2}."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

_UNITS_S = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*"
DURATION_FORMS = (
    'a number of seconds above 0, or a text such as "500ms", "30s", "1.5min", "2h" or "1d" (one number, one unit)'
)

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_SIZE = r"([0-9]+(?:\.[0-9]*)?)\s*(%|[a-z]*)"
_SIZE_FORMS = "a number of bytes, or one with a unit such as '512MiB', '4GB', '1.5GiB'"
_SHARE_FORM = ", or a share of the memory as '30%'"


def duration_s(value: object, name: str, forms: str = DURATION_FORMS) -> float:
    """In seconds. Raises TypeError or ValueError that names the value as `name` and lists the accepted forms."""
    if isinstance(value, str):
        match = re.fullmatch(_DURATION, value)
        if match is not None and match[2] in _UNITS_S and float(match[1]) > 0:
            return float(match[1]) * _UNITS_S[match[2]]
        raise ValueError(f"{name} is {value!r}; it must be {forms}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be {forms}")
    if not value > 0 or math.isinf(value):
        raise ValueError(f"{name} is {value!r}; it must be {forms}")
    return float(value)


def check_timeout(value: Any) -> None:
    """Of something that is waited for. Raises TypeError or ValueError unless it is a number of seconds, or None."""
    if value is None:
        return
    forms = "a number of seconds of at least 0, or None for no limit"
    if isinstance(value, bool) or not isinstance(value, (int, float, import_module("numbers").Real)):
        raise TypeError(f"timeout is {value!r}, a {type(value).__name__}; it must be {forms}")
    if not value >= 0:
        raise ValueError(f"timeout is {value!r}; it must be {forms}")


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
    match = re.fullmatch(_SIZE, text.strip().lower())
    if match is None:
        return None
    number, unit = float(match[1]), match[2]
    if unit == "%" and whole is not None:
        return int(whole() * number / 100) if 0 < number <= 100 else None
    return int(number * _UNITS[unit]) if unit in _UNITS else None


PARTS_OF_ONE = 10_000
_AMOUNT_FORMS = "a number of at least 0, of at most four decimals"


def parts_of_one(value: object, name: str, forms: str = _AMOUNT_FORMS) -> int:
    """An amount in ten-thousandths, exactly. Raises TypeError or ValueError that names the value as `name`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be {forms}")
    if not 0 <= value < _LARGEST_AMOUNT:
        raise ValueError(f"{name} is {value!r}; it must be {forms}")
    parts = round(value * PARTS_OF_ONE)
    if abs(value * PARTS_OF_ONE - parts) > _ROUNDING * max(1.0, parts):
        raise ValueError(f"{name} is {value!r}; it must be {forms}")
    return parts


_LARGEST_AMOUNT = 10**12
_ROUNDING = 1e-9


def amounts(value: object, name: str) -> dict[str, int]:
    """Amounts of things by their names, in ten-thousandths. Raises TypeError or ValueError."""
    return {
        key: parts_of_one(amount, f"{name}[{key!r}]")
        for key, amount in _table(value, name, 'a dict such as {"tpu": 2}').items()
    }


def texts(value: object, name: str) -> dict[str, str]:
    """Texts by their names. Raises TypeError or ValueError."""
    found = _table(value, name, 'a dict such as {"zone": "eu"}')
    for key, text in found.items():
        if not isinstance(text, str):
            raise TypeError(f"{name}[{key!r}] is {text!r}, a {type(text).__name__}; it must be a str")
    return found


def from_json(value: object, name: str) -> object:
    """What a text means, as environment variables and arguments of commands have it; anything else as it is."""
    if not isinstance(value, str):
        return value
    json: Any = import_module("json")  # here, as few need it
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"{name} is {value!r}, which is no JSON: {error}") from None


def _table(value: object, name: str, forms: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be {forms}")
    for key in value:
        if not isinstance(key, str) or not key or not key.isprintable():
            raise ValueError(f"{name} has the name {key!r}; names are texts that can be printed: {forms}")
    return dict(value)
