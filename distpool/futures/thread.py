"""`concurrent.futures.thread`: the standard library's own objects."""

from __future__ import annotations

from concurrent.futures import thread as _standard
from concurrent.futures.thread import BrokenThreadPool, ThreadPoolExecutor
from typing import Any


def __getattr__(name: str) -> Any:
    """What the standard module has beside these names."""
    return getattr(_standard, name)


__all__ = ["BrokenThreadPool", "ThreadPoolExecutor"]
