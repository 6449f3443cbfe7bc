"""Conditions and events that Ctrl-C cannot leave locked.

Python runs a signal's handler after any call of a function. The standard ones take their lock in a function of their
own, so an interrupt can come between the lock and the block that would release it; whoever comes next waits for ever.
Here the lock is taken by the `with` statement itself, and an interrupt waits for as long as a wait has given it back.
"""

from __future__ import annotations

import _thread
import threading
import time
from collections import deque
from typing import Any

from distpool.interrupts import Deferral

_RLock: Any = _thread.RLock


class Condition(_RLock, threading.Condition):  # type: ignore[misc]
    """A condition that is its own lock. A burst of futures makes many: there is nothing in it until somebody waits."""

    _waiters: Any = ()

    __init__ = object.__init__

    def wait(self, timeout: float | None = None) -> bool:
        """See `threading.Condition.wait`. Ctrl-C ends it when the lock is held again, as who has taken it expects."""
        if not self._is_owned():
            raise RuntimeError("cannot wait on un-acquired lock")
        ends_at = None if timeout is None else time.monotonic() + timeout
        while True:
            remaining_s = -1.0 if ends_at is None else max(0.0, ends_at - time.monotonic())
            if self._wait_once(remaining_s):
                return True
            if ends_at is not None and time.monotonic() >= ends_at:
                return False
            # A handler of Ctrl-C has run, and did not raise.

    def _wait_once(self, timeout_s: float) -> bool:
        """Until the end of the time or Ctrl-C: whether it was notified. -1: without end."""
        woken = Wakeup()
        deferral = Deferral(woken.set, lambda: False)
        handler = deferral.begin()
        try:
            if not self._waiters:
                self._waiters = deque()
            self._waiters.append(woken)
            state = self._release_save()
            try:
                woken.wait(timeout_s)
            finally:
                self._acquire_restore(state)
                was_notified = woken not in self._waiters
                if not was_notified:
                    self._waiters.remove(woken)
            return was_notified
        finally:
            deferral.end(handler)


class Event(threading.Event):
    """See `threading.Event`."""

    def __init__(self) -> None:
        self._cond: Any = Condition()
        self._flag = False


class Wakeup:
    """An event for one thread, which is clear again when that has waited for it; what a condition has for each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:
            pass  # It is set already.

    release = set

    def clear(self) -> None:
        self._lock.acquire(blocking=False)

    def wait(self, timeout: float = -1.0) -> bool:
        """Until it is set, at most `timeout` seconds: whether it was."""
        return self._lock.acquire(timeout=timeout)
