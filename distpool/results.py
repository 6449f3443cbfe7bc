"""What the asynchronous calls of a Pool return: results that are waited for, and iterators over results.

They are sinks of the runtime: `begin` and `deliver` run on the thread that holds the loop, all else on users' threads.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from multiprocessing import TimeoutError as PoolTimeoutError
from multiprocessing import pool as standard
from multiprocessing.pool import RemoteTraceback  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any

from distpool.logic.calls import Outcome
from distpool.objects.outcomes import open_outcome, values_of
from distpool.runtime.locks import Condition, Event
from distpool.runtime.workers import Workers

if TYPE_CHECKING:
    from distpool.progress import Progress

Callback = Callable[[Any], object]


class AsyncResult(standard.ApplyResult):  # type: ignore[type-arg]
    """The result of `apply_async`; see `multiprocessing.pool.AsyncResult`."""

    def __init__(self, pool: Any, workers: Workers, callback: Callback | None, error_callback: Callback | None) -> None:
        # Keeps the pool alive for as long as its result is waited for.
        self._pool = pool
        self._workers = workers
        self._callback = callback
        self._error_callback = error_callback
        self._is_done = False
        self._success = False
        self._value: Any = None

    def ready(self) -> bool:
        return self._is_done

    def successful(self) -> bool:
        """Raises ValueError while the call has not ended."""
        if not self._is_done:
            raise ValueError(f"{self!r} not ready")
        return self._success

    def wait(self, timeout: float | None = None) -> None:
        """At most `timeout` seconds."""
        if not self._is_done:
            self._workers.wait(self.ready, timeout, self._wait_passively)

    def get(self, timeout: float | None = None) -> Any:
        """The value; raises the call's exception, or multiprocessing.TimeoutError after `timeout` seconds."""
        self.wait(timeout)
        if not self._is_done:
            raise PoolTimeoutError
        if self._success:
            return self._value
        raise self._value

    def begin(self) -> bool:
        return True

    def put_back(self) -> None:
        """Calls of a pool cannot be cancelled."""

    def deliver(self, first: int, outcomes: list[Outcome]) -> None:
        self.resolve(*open_outcome(outcomes[0], RemoteTraceback))

    def resolve(self, success: bool, value: object) -> None:
        """The call has ended; callbacks run before anybody who waits gets the value."""
        self._success, self._value = success, value
        callback = self._callback if success else self._error_callback
        if callback is not None:
            _run_callback(callback, value)
        self._is_done = True
        self._pool = None
        event = self.__dict__.get("_event")
        if event is not None:
            event.set()

    def _wait_passively(self, timeout: float | None) -> None:
        event = self.__dict__.setdefault("_event", Event())
        if not self._is_done:
            event.wait(timeout)


class MapResult(AsyncResult):
    """The result of `map_async` and `starmap_async`: the first error counts, but only when all chunks have ended."""

    def __init__(
        self,
        pool: Any,
        workers: Workers,
        chunksize: int,
        length: int,
        callback: Callback | None,
        error_callback: Callback | None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(pool, workers, callback, error_callback)
        self._chunksize = chunksize
        self._number_left = -(-length // chunksize) if chunksize > 0 else 0
        self._length = length
        self._progress = progress
        self._success = True
        self._value = [None] * length

    def deliver(self, first: int, outcomes: list[Outcome]) -> None:
        if self._chunksize == 1 and len(outcomes) > 1:
            values = values_of(outcomes)
            if values is not None:
                self._put_all(first, values)
                return
        for position, outcome in enumerate(outcomes, first):
            self.put(position, *open_outcome(outcome, RemoteTraceback))

    def _put_all(self, first: int, values: list[Any]) -> None:
        """Many items have ended well."""
        if self._success:
            self._value[first : first + len(values)] = values
        self._end(len(values), len(values))

    def ready_if_empty(self) -> None:
        """There is nothing to wait for; no callback is called, as in the standard library."""
        self._is_done = True

    def put(self, position: int, success: bool, value: Any) -> None:
        """Chunk number `position` has ended."""
        if not success:
            if self._success:
                self._success, self._value = False, value
        elif self._success:
            if self._chunksize == 1:
                self._value[position] = value
            else:
                start = position * self._chunksize
                self._value[start : start + len(value)] = value
        self._end(1, min(self._chunksize, self._length - position * self._chunksize))

    def _end(self, chunks: int, items: int) -> None:
        self._number_left -= chunks
        if self._progress is not None:
            self._progress.advance(items)
            if self._number_left == 0:
                self._progress.close()
        if self._number_left == 0:
            self.resolve(self._success, self._value)


class IMapIterator(standard.IMapIterator):  # type: ignore[type-arg]
    """The results of `imap`, in order; it goes on after an exception."""

    def __init__(self, pool: Any, workers: Workers, chunksize: int = 1, progress: Progress | None = None) -> None:
        self._pool = pool
        self._workers = workers
        self._chunksize = chunksize
        self._progress = progress
        self._ready: deque[tuple[bool, Any]] = deque()
        self._changed = Condition()
        self._length: int | None = None
        self._arrived = 0
        self._is_complete = False
        self._ended_at: int | None = None
        self._early: dict[int, tuple[bool, Any]] = {}
        self._due = 0
        self._last: list[tuple[bool, Any]] = []

    def __iter__(self) -> Any:
        return self

    def next(self, timeout: float | None = None) -> Any:
        """The next result. Raises its exception, StopIteration after the last, or multiprocessing.TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            is_complete = self._is_complete  # looked at first: then nothing more is to come
            try:
                success, value = self._ready.popleft()
            except IndexError:
                pass
            else:
                break
            if is_complete:
                self._pool = None
                raise StopIteration
            if not self._wait(deadline):
                raise PoolTimeoutError
        if success:
            return value
        raise value

    __next__ = next

    def begin(self) -> bool:
        return True

    def put_back(self) -> None:
        """Calls of a pool cannot be cancelled."""

    def deliver(self, first: int, outcomes: list[Outcome]) -> None:
        values = values_of(outcomes)
        opened: list[tuple[bool, Any]]
        if values is None:
            opened = [open_outcome(outcome, RemoteTraceback) for outcome in outcomes]
        else:
            opened = [(True, value) for value in values]
        with self._changed:
            self._put(first, opened)
        if self._progress is not None:
            self._advance(opened)

    def end(self, length: int, error: BaseException | None = None) -> None:
        """The input has ended after `length` items, with an error in place of the next or not."""
        with self._changed:
            self._length = length
            if error is not None:
                self._ended_at = length
                self._arrange(length, [(False, error)])
            self._note_change()
        # Whoever waits may run the loop meanwhile, and would not see it there.
        if self._workers.is_owned_here():
            self._workers.look_again()
        if self._progress is not None:
            self._advance([])

    def fail(self, position: int, error: BaseException) -> None:
        """Item `position` could not be sent."""
        failed: list[tuple[bool, Any]] = [(False, error)]
        with self._changed:
            self._put(position, failed)
        if self._progress is not None:
            self._advance(failed)

    def wait_for_demand(self, sent: int, most: int) -> None:
        """The feeder: wait while more than `most` of the `sent` items have not come back."""
        with self._changed:
            self._changed.wait_for(lambda: sent - self._arrived <= most or self._workers.is_over())

    def wait_until(self, may_go_on: Callable[[], bool]) -> None:
        """The feeder: wait until it may go on, or need not."""
        with self._changed:
            self._changed.wait_for(lambda: may_go_on() or self._workers.is_over())

    def taken(self) -> int:
        """How many results, or chunks of them, have been taken."""
        with self._changed:
            return self._arrived - len(self._early) - len(self._ready)

    def notify(self) -> None:
        """A result was taken, or nobody wants any more: the feeder may look again."""
        with self._changed:
            self._changed.notify_all()

    def _advance(self, opened: list[tuple[bool, Any]]) -> None:
        progress = self._progress
        assert progress is not None
        if self._chunksize == 1:
            progress.advance(len(opened))
        else:
            progress.advance(sum(len(value) if success else self._chunksize for success, value in opened))
        if self._arrived == self._length:
            progress.close()

    def _put(self, first: int, opened: list[tuple[bool, Any]]) -> None:
        """With the lock: results have come."""
        self._arrived += len(opened)
        self._arrange(first, opened)
        self._note_change()

    def _note_change(self) -> None:
        """With the lock: results, or the end of the input, have come."""
        self._is_complete = self._arrived == self._length
        self._changed.notify_all()

    def _arrange(self, first: int, opened: list[tuple[bool, Any]]) -> None:
        unsorted = self._early
        due = self._due
        if first == due:
            self._ready.extend(opened)
            due += len(opened)
        else:
            unsorted.update(enumerate(opened, first))
        while due in unsorted:
            self._ready.append(unsorted.pop(due))
            due += 1
        self._due = due

    def _is_answered(self) -> bool:
        return bool(self._ready) or self._is_complete

    def _wait(self, deadline: float | None) -> bool:
        """Until there is a result or no more will come; False when that took too long."""
        while not self._is_answered():
            remaining_s = None if deadline is None else deadline - time.monotonic()
            if remaining_s is not None and remaining_s <= 0:
                return False
            self._workers.wait(self._is_answered, remaining_s, self._wait_passively)
        return True

    def _wait_passively(self, timeout: float | None) -> None:
        with self._changed:
            self._changed.wait_for(self._is_answered, timeout)


class IMapUnorderedIterator(IMapIterator):
    """The results of `imap_unordered`, as they come; an error of the input after all that it gave before."""

    def _arrange(self, first: int, opened: list[tuple[bool, Any]]) -> None:
        last = self._last
        if first == self._ended_at:
            last.extend(opened)
        else:
            self._ready.extend(opened)
        if self._arrived == self._ended_at:
            self._ready.extend(last)
            last.clear()


def _run_callback(callback: Callback, value: object) -> None:
    """A callback that raises is told of and harms nobody else."""
    try:
        callback(value)
    except BaseException:
        print(f"Exception in callback {callback!r}:", file=sys.stderr)
        traceback.print_exc()
