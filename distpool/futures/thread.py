"""`concurrent.futures.thread`: the standard library's own objects."""

from __future__ import annotations

from concurrent.futures.thread import BrokenThreadPool, ThreadPoolExecutor

__all__ = ["BrokenThreadPool", "ThreadPoolExecutor"]
