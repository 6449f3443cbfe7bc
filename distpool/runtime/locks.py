"""Conditions and events that Ctrl-C cannot leave locked.

Python runs a signal's handler after any call of a function. The standard ones take their lock in a function of their
own, so an interrupt can come between the lock and the block that would release it; whoever comes next waits for ever.
Here the lock is taken by the `with` statement itself.
"""

from __future__ import annotations

import _thread
import threading
from collections import deque
from typing import Any

_RLock: Any = _thread.RLock


class Condition(_RLock, threading.Condition):  # type: ignore[misc]
    """A condition that is its own lock. A burst of futures makes many: there is nothing in it until somebody waits."""

    _waiters: Any = ()

    __init__ = object.__init__

    def wait(self, timeout: float | None = None) -> bool:
        if not self._waiters:
            self._waiters = deque()
        return super().wait(timeout)


class Event(threading.Event):
    """See `threading.Event`."""

    def __init__(self) -> None:
        self._cond: Any = Condition()
        self._flag = False


class Wakeup:
    """An event for a single thread, which is clear again when that has waited for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:
            pass  # It is set already.

    def clear(self) -> None:
        self._lock.acquire(blocking=False)

    def wait(self, timeout: float = -1.0) -> bool:
        """Until it is set, at most `timeout` seconds: whether it was."""
        return self._lock.acquire(timeout=timeout)
