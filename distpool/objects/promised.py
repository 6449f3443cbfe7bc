"""Arguments that are the values of promises: they travel beside the pickle of the others, which has stand-ins.

pickled at f.remote(ref, 2):  ((Promised(0), 2), {})
sent when the value is there: load_with_values(that pickle, [the value's pickle])
"""

from __future__ import annotations

import pickle
import threading
from typing import Any

_NOT_OPENED = object()


class Promised:
    """The stand-in: value `position` of those beside the pickle."""

    __slots__ = ("_position",)

    def __init__(self, position: int) -> None:
        self._position = position

    def __reduce__(self) -> Any:
        return promised_value, (self._position,)


class WithValues:
    """Pickles as the call, with the values beside it: (pickle, item of what it gives, or -1)."""

    __slots__ = ("_arguments",)

    def __init__(self, pickled: bytes, values: list[tuple[bytes, int]]) -> None:
        self._arguments = (pickled, values)

    def __reduce__(self) -> Any:
        return load_with_values, self._arguments


class _Beside(threading.local):
    values: list[tuple[bytes, int]] = []  # noqa: RUF012 (replaced, not changed)
    opened: list[Any] = []  # noqa: RUF012


_beside = _Beside()


def load_with_values(pickled: bytes, values: list[tuple[bytes, int]]) -> Any:
    """Where the call is opened."""
    before = _beside.values, _beside.opened
    _beside.values, _beside.opened = values, [_NOT_OPENED] * len(values)
    try:
        return pickle.loads(pickled)
    finally:
        _beside.values, _beside.opened = before


def promised_value(position: int) -> Any:
    """One ref is one value within a call, like any object."""
    opened = _beside.opened
    if opened[position] is _NOT_OPENED:
        opened[position] = open_value(*_beside.values[position])
    return opened[position]


def open_value(pickled: bytes, item: int) -> Any:
    value = pickle.loads(pickled)
    return value if item < 0 else value[item]
