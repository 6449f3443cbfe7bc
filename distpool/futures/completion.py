"""`as_completed` and `wait`, where the thread that waits runs the runtime's loop meanwhile."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, Future, TimeoutError
from concurrent.futures._base import DoneAndNotDoneFutures
from typing import Any

from distpool.runtime.locks import Event
from distpool.runtime.workers import Workers

_ENDED = ("CANCELLED_AND_NOTIFIED", "FINISHED")


def as_completed(fs: Iterable[Future[Any]], timeout: float | None = None) -> Iterator[Future[Any]]:
    """Each of the futures, once, as soon as it has ended; they may be of any executors, and refs too.

    Raises TimeoutError when not all have ended `timeout` seconds after the first was asked for.
    """
    ends_at = None if timeout is None else time.monotonic() + timeout
    pending: set[Any] = set(fs)
    del fs  # nothing here keeps a future that was given away
    total = len(pending)
    waiter = _Waiter()
    try:
        ended = waiter.watch(pending)
        pending.difference_update(ended)
        while ended:
            yield ended.pop()
        workers = _workers_of(pending)
        arrived = waiter.arrived
        while pending:
            if not waiter.wait(workers, ends_at):
                raise TimeoutError(f"{len(pending)} (of {total}) futures unfinished")
            while arrived:
                pending.remove(arrived[0])
                # With its lock: whoever tells of its end goes through all who wait for it.
                waiter.leave((arrived[0],))
                yield arrived.popleft()
    finally:
        waiter.leave(pending)


def wait(
    fs: Iterable[Future[Any]], timeout: float | None = None, return_when: str = ALL_COMPLETED
) -> DoneAndNotDoneFutures[Any]:
    """Wait until all of the futures, or the first, or the first with an exception, have ended; see `return_when`.

    Gives two sets, `done` and `not_done`; after `timeout` seconds as they are then. Raises ValueError when
    `return_when` is none of ALL_COMPLETED, FIRST_COMPLETED and FIRST_EXCEPTION.
    """
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        raise ValueError(
            f"Invalid return condition: {return_when!r}; it must be {ALL_COMPLETED}, {FIRST_COMPLETED} or "
            f"{FIRST_EXCEPTION}"
        )
    ends_at = None if timeout is None else time.monotonic() + timeout
    futures: set[Any] = set(fs)
    waiter = _Waiter()
    try:
        done = set(waiter.watch(futures))
        pending = futures - done
        newly: Iterable[Any] = done
        workers = _workers_of(pending)
        while pending and not _is_enough(newly, return_when) and waiter.wait(workers, ends_at):
            newly = [waiter.arrived.popleft() for _ in range(len(waiter.arrived))]
            done.update(newly)
            pending.difference_update(newly)
    finally:
        waiter.leave(futures)
    return DoneAndNotDoneFutures(done, pending)


def _is_enough(ended: Iterable[Any], return_when: str) -> bool:
    """Whether one of those that have ended is what is waited for."""
    if return_when == ALL_COMPLETED:
        return False
    return any(return_when == FIRST_COMPLETED or future._exception is not None for future in ended)


def _workers_of(futures: Iterable[Any]) -> Workers | None:
    """One of those who run them, if all are run here: they have one loop. None for those of a worker's program, too."""
    all_workers = {getattr(future, "_workers", None) for future in futures}
    return next(iter(all_workers), None) if all(isinstance(each, Workers) for each in all_workers) else None


class _Waiter:
    """What standard futures tell of their end, with less to do for each than the standard library's."""

    def __init__(self) -> None:
        self.arrived: deque[Any] = deque()
        self._has_come = Event()
        self._waits = False

    def watch(self, futures: Iterable[Any]) -> list[Any]:
        """Be told of their end; gives those that have ended."""
        ended = []
        for future in futures:
            with future._condition:
                if future._state in _ENDED:
                    ended.append(future)
                else:
                    future._waiters.append(self)
        return ended

    def leave(self, futures: Iterable[Any]) -> None:
        """Be told no more."""
        for future in futures:
            with future._condition:
                if self in future._waiters:
                    future._waiters.remove(self)

    def add_result(self, future: Any) -> None:
        self.arrived.append(future)
        if self._waits:
            self._has_come.set()

    add_exception = add_cancelled = add_result

    def wait(self, workers: Workers | None, ends_at: float | None) -> bool:
        """Until some have come; False when the time is up. `workers` run all of the futures."""
        while not self.arrived:
            remaining_s = None if ends_at is None else ends_at - time.monotonic()
            if remaining_s is not None and remaining_s < 0:
                return False
            if workers is None:
                self._wait_passively(remaining_s)
            else:
                workers.wait(self._has_some, remaining_s, self._wait_passively)
        return True

    def _has_some(self) -> bool:
        return bool(self.arrived)

    def _wait_passively(self, timeout: float | None) -> None:
        self._waits = True
        if not self.arrived:  # looked at after the flag is set, as the flag is after something has come
            self._has_come.wait(timeout)
        self._waits = False
        self._has_come.clear()
