"""`multiprocessing.process`: the standard library's own objects."""

from __future__ import annotations

from importlib import import_module
from multiprocessing.process import *  # noqa: F403
from typing import Any

from distpool.context import active_children as active_children  # with the workers of distpool's pools

_standard = import_module("multiprocessing.process")


def __getattr__(name: str) -> Any:
    """What the standard module has beside its public names."""
    return getattr(_standard, name)
