"""What a task's ref has in place of a future's insides, for `concurrent.futures.wait` and `as_completed`."""

from __future__ import annotations

import _thread
import os
import threading
from typing import TYPE_CHECKING, Any

from distpool.logic.promises import Promise

if TYPE_CHECKING:
    from distpool.objects.promises import TaskRef

LOCK: Any = _thread.RLock()
"""Of all promises. It is taken by the `with` statement itself, so that Ctrl-C cannot leave it locked."""


class _Seen(threading.local):
    def __init__(self) -> None:
        self.states: dict[int, str] = {}


_seen = _Seen()


def seen_state(number: int) -> str | None:
    """Of the ref of that task, if this thread has acquired its condition."""
    return _seen.states.get(number)


class Moment:
    """What a ref has in place of a future's condition: until it is released, this thread sees the state that the ref
    had when it was acquired. So nothing is locked that an interrupt between the two could leave locked."""

    def __init__(self, ref: TaskRef) -> None:
        self._ref = ref

    def acquire(self) -> bool:
        _seen.states.pop(self._ref.id, None)
        _seen.states[self._ref.id] = self._ref._state
        return True

    def release(self) -> None:
        _seen.states.pop(self._ref.id, None)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Waiters:
    """What a ref has in place of a future's list of those who wait for it."""

    def __init__(self, ref: TaskRef, promise: Promise) -> None:
        self._ref = ref
        self._promise = promise

    def append(self, waiter: Any) -> None:
        """Have it told of the end, also of one since it has looked; not if it has seen that."""
        watcher = _Waiter(waiter, self._ref)
        with LOCK:
            is_pending = self._promise.watch(watcher)
        if not is_pending and self._ref._state == "PENDING":
            watcher.ended(self._promise)

    def remove(self, waiter: Any) -> None:
        """It may have been told already."""
        with LOCK:
            self._promise.unwatch(_Waiter(waiter, self._ref))

    def __contains__(self, waiter: Any) -> bool:
        return _Waiter(waiter, self._ref) in (self._promise.watchers or ())


class _Waiter:
    """Who waits as for a future: `wait` and `as_completed` of the standard library, and ours."""

    def __init__(self, waiter: Any, ref: TaskRef) -> None:
        self._waiter = waiter
        self._ref = ref

    def ended(self, promise: Promise) -> None:
        if promise.has_failed():
            self._waiter.add_exception(self._ref)
        else:
            self._waiter.add_result(self._ref)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Waiter) and (self._waiter, self._ref) == (other._waiter, other._ref)

    __hash__ = None  # type: ignore[assignment]


os.register_at_fork(after_in_child=LOCK._at_fork_reinit)
