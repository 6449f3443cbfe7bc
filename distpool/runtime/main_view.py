"""What a group's workers have of this process's `__main__`: decides what travels by name and what by value."""

from __future__ import annotations

import sys
import weakref
from typing import Any, Protocol


class MainView(Protocol):
    """See `distpool.serialization.pickling.MainView`."""

    complete: bool

    def has(self, value: object) -> bool: ...


class ImportedMain:
    """The workers import `__main__` from its file; or cannot, as there is none (a notebook, `python -c`)."""

    def __init__(self, *, importable: bool) -> None:
        self.complete = importable

    def has(self, value: object) -> bool:
        return self.complete


class InheritedMain:
    """Forked workers have what `__main__` had at that moment. What a notebook defines later goes by value."""

    def __init__(self, *, importable: bool) -> None:
        self.complete = importable
        self._names = {name: _weakly(value) for name, value in vars(sys.modules["__main__"]).items()}

    def has(self, value: Any) -> bool:
        name = value.__qualname__.partition(".")[0]
        now = vars(sys.modules["__main__"]).get(name)
        before = self._names.get(name)
        return now is not None and before is not None and before() is now


def _weakly(value: Any) -> weakref.ref[Any] | None:
    """What `__main__` drops is not kept. Functions and classes, which are what is asked for, can be referred to so."""
    try:
        return weakref.ref(value)
    except TypeError:
        return None


class CallersMain:
    """The other way round: what a worker's `__main__` defines by name, its caller's does too."""

    complete = True

    def has(self, value: object) -> bool:
        return True


def view_of_main(start_method: str) -> MainView:
    """The view of workers that are being started now."""
    main = sys.modules["__main__"]
    importable = getattr(main, "__spec__", None) is not None or hasattr(main, "__file__")
    if start_method == "fork":
        return InheritedMain(importable=importable)
    return ImportedMain(importable=importable)
