"""`multiprocessing.dummy.connection`: the standard library's own objects."""

from __future__ import annotations

from importlib import import_module
from multiprocessing.dummy.connection import *  # noqa: F403
from typing import Any

_standard = import_module("multiprocessing.dummy.connection")


def __getattr__(name: str) -> Any:
    """What the standard module has beside its public names."""
    return getattr(_standard, name)
