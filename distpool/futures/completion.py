"""`as_completed`, where the thread that waits runs the runtime's loop meanwhile."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, TimeoutError
from typing import Any

from distpool.process_future import Future as ProcessFuture
from distpool.runtime.locks import Event
from distpool.runtime.session import Workers

_ENDED = ("CANCELLED_AND_NOTIFIED", "FINISHED")


def as_completed(fs: Iterable[Future[Any]], timeout: float | None = None) -> Iterator[Future[Any]]:
    """Each of the futures, once, as soon as it has ended; they may be of any executors.

    Raises TimeoutError when not all have ended `timeout` seconds after the first was asked for.
    """
    ends_at = None if timeout is None else time.monotonic() + timeout
    pending: set[Any] = set(fs)
    del fs  # nothing here keeps a future that was given away
    total = len(pending)
    waiter = _Waiter()
    ended = [future for future in pending if not waiter.waits_for(future)]
    pending.difference_update(ended)
    try:
        while ended:
            yield ended.pop()
        workers = _workers_of(pending)
        arrived = waiter.arrived
        while pending:
            if not arrived:
                remaining = None if ends_at is None else ends_at - time.monotonic()
                if remaining is not None and remaining < 0:
                    raise TimeoutError(f"{len(pending)} (of {total}) futures unfinished")
                if workers is None:
                    waiter.wait(remaining)
                else:
                    workers.wait(waiter.has_some, remaining, waiter.wait)
            while arrived:
                pending.remove(arrived[0])
                arrived[0]._waiters.remove(waiter)
                yield arrived.popleft()
    finally:
        for future in pending:
            with future._condition:
                future._waiters.remove(waiter)


def _workers_of(futures: Iterable[Any]) -> Workers | None:
    """Those who run all of them: then no other loop is waited for."""
    all_workers = {future._workers if isinstance(future, ProcessFuture) else None for future in futures}
    return all_workers.pop() if len(all_workers) == 1 else None


class _Waiter:
    """What standard futures tell of their end, with less to do for each than the standard library's."""

    def __init__(self) -> None:
        self.arrived: deque[Any] = deque()
        self._has_come = Event()
        self._waits = False

    def waits_for(self, future: Any) -> bool:
        """Be told of its end; False when it has ended."""
        with future._condition:
            if future._state in _ENDED:
                return False
            future._waiters.append(self)
        return True

    def add_result(self, future: Any) -> None:
        self.arrived.append(future)
        if self._waits:
            self._has_come.set()

    add_exception = add_cancelled = add_result

    def has_some(self) -> bool:
        return bool(self.arrived)

    def wait(self, timeout: float | None) -> None:
        """Until something has come, at most `timeout` seconds."""
        self._waits = True
        if not self.arrived:  # looked at after the flag is set, as the flag is after something has come
            self._has_come.wait(timeout)
        self._waits = False
        self._has_come.clear()
