"""`TaskRef`, the handle of a value that a call will make, and the promises of this process behind such handles.

    f.remote() ──► Promise ◄── TaskRef (get, wait, await, an argument of another call)
                      ▲
    outcome ── end ───┘──► watchers: who waits, whose arguments need it

One lock guards all promises. It is held for single steps; whoever is told of an end is told without it.
"""

from __future__ import annotations

import _thread
import os
import pickle
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterable
from functools import partial
from importlib import import_module
from itertools import count
from typing import TYPE_CHECKING, Any, NoReturn

from distpool.base_errors import InvalidRef, ObjectLost
from distpool.ids import ObjectId, StoreId
from distpool.interrupts import deferred
from distpool.logic.calls import Outcome
from distpool.logic.promises import Promise, Promises, Watcher
from distpool.objects.bringing import when_here
from distpool.objects.refs import FROM_ABOVE, ObjectRef, note
from distpool.objects.stores import reading
from distpool.objects.waiters import LOCK as LOCK
from distpool.objects.waiters import Moment, Waiters, seen_state
from distpool.protocol.messages import OutcomeKind
from distpool.store.create import is_own, own_memory

if TYPE_CHECKING:
    from concurrent.futures import Future

PROMISES = Promises()
"""Those of this process that were pickled by number."""

_numbers = count(1)
_VALUE = int(OutcomeKind.VALUE)
_CANCELLED = int(OutcomeKind.CANCELLED)
_TERMINATED = int(OutcomeKind.TERMINATED)


def promise_for(name: str, position: int = -1) -> Promise:
    """A new one; `name`: of its call."""
    return Promise(next(_numbers), name, None, position)


def number_apart() -> None:
    """In a worker that runs calls of workers of its own, which may have refs of its program too: from now on its
    promises have numbers that those have not."""
    global _numbers
    _numbers = count(int.from_bytes(os.urandom(5), "little") << 22 | 1 << 62)


def end(promise: Promise, outcome: Outcome, cause: str = "") -> bool:
    """It has this outcome, unless it had one before (False)."""
    with LOCK:
        watchers = promise.end(outcome, cause)
    if watchers:
        _tell(promise, watchers)
    return watchers is not None


class _Telling(threading.local):
    """Whom this thread has yet to tell: a call that fails with another fails those that need it, and so on."""

    waiting: deque[tuple[Promise, list[Watcher]]] | None = None


_telling = _Telling()


def _tell(promise: Promise, watchers: list[Watcher]) -> None:
    if _telling.waiting is not None:
        _telling.waiting.append((promise, watchers))
        return
    waiting = _telling.waiting = deque([(promise, watchers)])
    try:
        with deferred():
            while waiting:
                ended, told = waiting.popleft()
                for watcher in told:
                    try:
                        watcher.ended(ended)
                    except BaseException:  # it is a callback's: the others are to be told all the same
                        traceback.print_exc()
    finally:
        _telling.waiting = None


class TaskRef(ObjectRef):
    """The handle of a value that a task will make: what `remote` returns. Pass it like any value, or wait for it.

    `distpool.get(ref)`, `ref.result()` and `await ref` give the value, each time a new copy, or raise what the task
    raised. `concurrent.futures.wait` and `as_completed` take refs as they take futures. An argument of a task or of a
    pool's call that is a ref itself arrives as the value; one inside another value stays a ref. The value is kept for
    as long as anybody has a ref.
    """

    __slots__ = ()
    # `_hold` is the promise: None where the ref was released, or nothing is known of it.
    offset = size = home_pid = 0

    def __init__(self, promise: Promise) -> None:
        self.store_id = own_memory()[0]
        self.id = ObjectId(promise.number)
        self._hold = promise

    # As a future ----------------------------------------------------------------------------------------------------

    def done(self) -> bool:
        """The task has ended."""
        return self.known().outcome is not None

    def cancelled(self) -> bool:
        """The task was cancelled."""
        outcome = self.known().outcome
        return outcome is not None and outcome[0] == _CANCELLED

    def result(self, timeout: float | None = None) -> Any:
        """The value, or what the task raised; TimeoutError after `timeout` seconds."""
        if timeout is None:
            return value_of(self.ended())
        ends_at = time.monotonic() + timeout
        promise = self.ended(timeout)
        if not import_module("distpool.objects.arrivals").is_here_by(promise, ends_at):
            raise TimeoutError(f"after {timeout} s the value of {self!r} has not arrived from its node")
        return value_of(promise)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the task raised, or None; TimeoutError after `timeout` seconds."""
        promise = self.ended(timeout)
        return opened(promise)[1] if promise.has_failed() else None  # type: ignore[return-value]

    def future(self) -> Future[Any]:
        """A `concurrent.futures.Future` of the value."""
        from concurrent.futures import Future

        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        promise, watcher = self.known(), _Filler(future)
        with LOCK:
            is_pending = promise.watch(watcher)
        if not is_pending:
            watcher.ended(promise)
        return future

    @property
    def _condition(self) -> Moment:
        return Moment(self)

    @property
    def _state(self) -> str:
        seen = seen_state(self.id)
        return seen or ("PENDING" if self.known().outcome is None else "FINISHED")

    @property
    def _waiters(self) -> Waiters:
        return Waiters(self, self.known())

    @property
    def _workers(self) -> Any:
        """Whose loop a thread runs that waits; None: it has ended."""
        call = self.known().call
        return None if call is None else call.workers

    def ended(self, timeout: float | None = None) -> Promise:
        """The promise, when it has ended. Raises TimeoutError after `timeout` seconds."""
        promise = self.known()
        if promise.outcome is None and not wait_for(promise, timeout):
            raise TimeoutError(f"after {timeout} s {self!r} has not ended")
        return promise

    # Otherwise ------------------------------------------------------------------------------------------------------

    def known(self) -> Promise:
        """Raises ObjectLost and InvalidRef where nothing is known of it."""
        promise = self._hold
        if promise is None:
            self._refuse()
        return promise  # type: ignore[no-any-return]

    def _refuse(self) -> NoReturn:
        if self.store_id == own_memory()[0]:
            raise ObjectLost(
                f"the value of task {self.id} is gone: this ref was released, or its last ref was dropped before this "
                "one arrived. Keep a ref for as long as the value is needed."
            )
        raise InvalidRef(
            f"task {self.id} belongs to another process than {os.getpid()}, which cannot ask for its value: pass the "
            "ref itself as an argument, and it arrives as the value"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskRef) and (self.store_id, self.id) == (other.store_id, other.id)

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        promise = self._hold
        if promise is None:
            return f"<TaskRef {self.id}, gone or of another process>"
        state = "pending" if promise.outcome is None else "failed" if promise.has_failed() else "done"
        return f"<TaskRef {self.id} of {promise.name}, {state}>"

    def __reduce__(self) -> Any:
        note(self)
        if self._hold is not None:
            PROMISES.publish(self._hold)
        return restore_task_ref, (self.store_id, self.id)


def restore_task_ref(store_id: StoreId, number: ObjectId) -> TaskRef:
    """Where a ref arrives: with its promise, if that is of this process and somebody has kept it."""
    ref = TaskRef.__new__(TaskRef)
    ref.store_id, ref.id = store_id, number
    if is_own(store_id):
        ref._hold = PROMISES.find(number)
    else:
        ref._hold = FROM_ABOVE[0](number) if FROM_ABOVE else None
    return ref


# Values ---------------------------------------------------------------------------------------------------------------


def opened(promise: Promise) -> tuple[bool, object]:
    """(True, value) or (False, exception) of a promise that has ended, new each time."""
    while True:
        outcome: Any = promise.outcome
        if outcome is None:  # its value is lost, and made again
            if not wait_for(promise, None):
                return False, ObjectLost(f"the value of {promise.name} is lost, and not made again")
            continue
        is_value, value = _opened(promise, outcome)
        if is_value or not isinstance(value, ObjectLost) or not _has_moved(promise, outcome):
            return is_value, value


def _has_moved(promise: Promise, outcome: Any) -> bool:
    """Its value could not be had from where it lay: whether there is another by now, or will be."""
    has_moved = getattr(outcome[1], "has_moved", None)
    return has_moved is not None and has_moved(promise)


def _opened(promise: Promise, outcome: Any) -> tuple[bool, object]:
    kind = outcome[0]
    # What the program needs, and no worker that only passes refs on.
    if kind == _CANCELLED:
        error = import_module("distpool.errors").TaskCancelled(f"{promise.cause or promise.name} was cancelled")
    elif kind == _TERMINATED:
        text = f"{promise.name} had not ended when the program ended its tasks, by distpool.shutdown or its own end"
        error = import_module("distpool.errors").PoolTerminated(text)
    else:
        traceback_class = import_module("concurrent.futures.process")._RemoteTraceback
        is_value, value = import_module("distpool.objects.outcomes").open_outcome(outcome, traceback_class)
        if is_value:
            return True, value if promise.position < 0 else value[promise.position]
        error = value
    if promise.cause:
        error.add_note(f"{promise.name} was not run, as it needed the value of {promise.cause}, which failed so")
    return False, error


def value_of(promise: Promise, *, readonly: bool = False) -> Any:
    """Of a promise that has ended; raises what its call raised. `readonly`: see `get`."""
    outcome: Any = promise.outcome
    if outcome is not None and outcome[0] == _VALUE:
        value = pickle.loads(outcome[1])
        return value if promise.position < 0 else value[promise.position]
    if readonly:
        with reading(readonly=True):
            is_value, value = opened(promise)
    else:
        is_value, value = opened(promise)
    if is_value:
        return value
    try:
        raise value  # type: ignore[misc]
    finally:
        del value  # it refers to this frame


# Waiting --------------------------------------------------------------------------------------------------------------


def wait_for(promise: Promise, timeout: float | None) -> bool:
    """Wait for its end, at most `timeout` seconds: whether it has come."""
    if is_above(promise):
        fetch([promise], 1, timeout)
        return promise.outcome is not None
    ends_at = None if timeout is None else time.monotonic() + timeout

    def has_ended() -> bool:
        return promise.outcome is not None

    while True:
        call = promise.call
        if call is None:
            if has_ended() or promise.call is None:
                return has_ended()
            continue  # its value was lost in this moment
        remaining_s = None if ends_at is None else ends_at - time.monotonic()
        if remaining_s is not None and remaining_s < 0:
            return has_ended()
        call.workers.wait(has_ended, remaining_s, partial(wait_passively, promise))


def wait_passively(promise: Promise, timeout: float | None) -> None:
    """Wait for its end, at most `timeout` seconds, which others bring about."""
    waker = _Waker()
    with LOCK:
        is_pending = promise.watch(waker)
    if is_pending:
        try:
            waker.wait(timeout)
        finally:
            with LOCK:
                promise.unwatch(waker)


def is_above(promise: Promise) -> bool:
    """It is pending, and this is a worker whose program runs its call."""
    return bool(FROM_ABOVE) and hasattr(promise.call, "fetch")


def fetch(promises: list[Promise], count: int, timeout: float | None) -> None:
    """In a worker: ask the program for promises that were above when the caller looked, in one go, and wait at most so
    long until so many of them have ended."""
    call = next((call for promise in promises if (call := promise.call) is not None), None)
    if call is not None:
        call.fetch(promises, count, timeout)


def await_tasks(values: Iterable[Any]) -> None:
    """Wait for those of the values that are refs of tasks: where a lock is taken next that callbacks may want."""
    for value in values:
        if type(value) is TaskRef:
            value.ended()


class _Waker:
    """Wakes one thread. A plain lock, which an interrupt cannot leave half taken."""

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def ended(self, promise: Promise) -> None:
        self._lock.release()

    def wait(self, timeout: float | None) -> None:
        self._lock.acquire(timeout=-1 if timeout is None else min(timeout, _thread.TIMEOUT_MAX))


class _Filler:
    """Fills a future."""

    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def ended(self, promise: Promise) -> None:
        """What lies on a node is brought first. This thread may have others to tell meanwhile."""
        when_here(promise, self._fill)

    def _fill(self, promise: Promise) -> None:
        with LOCK:
            if promise.watch(self):
                return  # its value was lost on the way, and is made again
        is_value, result = opened(promise)
        if is_value:
            self._future.set_result(result)
        else:
            self._future.set_exception(result)  # type: ignore[arg-type]


os.register_at_fork(after_in_child=PROMISES.leave_to_parent)
