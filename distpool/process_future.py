"""The process pool's futures: standard ones, but a thread that waits for one runs the runtime's loop meanwhile."""

from __future__ import annotations

import pickle
from concurrent import futures as standard
from concurrent.futures import CancelledError, InvalidStateError
from concurrent.futures import process as standard_process
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any

from distpool.logic.calls import Outcome
from distpool.objects.outcomes import open_outcome
from distpool.protocol.messages import OutcomeKind
from distpool.runtime.locks import Condition
from distpool.runtime.workers import Workers

RemoteTraceback: type[Exception] = standard_process._RemoteTraceback
_ENDED = ("CANCELLED", "CANCELLED_AND_NOTIFIED", "FINISHED")
_VALUE = int(OutcomeKind.VALUE)
_STORED = int(OutcomeKind.STORED)
_BREAKING = frozenset({OutcomeKind.BROKEN, OutcomeKind.TERMINATED})


class Future(standard.Future[Any]):
    """What `ProcessPoolExecutor.submit` returns."""

    def __init__(self, workers: Workers | None = None) -> None:
        # What the standard class sets, with a lighter condition; a test compares the two.
        self._condition = Condition()
        self._state = "PENDING"
        self._result = None
        self._exception = None
        self._waiters: list[Any] = []
        self._done_callbacks: list[Any] = []
        self._workers = workers

    def result(self, timeout: float | None = None) -> Any:
        """The call's value; raises its exception, CancelledError, or TimeoutError after `timeout` seconds."""
        if self._state == "FINISHED" and self._exception is None:
            return self._result
        return super().result(self._wait(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The call's exception or None; raises CancelledError, or TimeoutError after `timeout` seconds."""
        return super().exception(self._wait(timeout))

    def begin(self) -> bool:
        """As a sink: the call is about to be sent."""
        with self._condition:
            if self._state == "PENDING":
                self._state = "RUNNING"
                return True
        return self.set_running_or_notify_cancel()

    def put_back(self) -> None:
        """As a sink: the call waits again."""
        with self._condition:
            if self._state == "RUNNING":
                self._state = "PENDING"

    def deliver(self, first: int, outcomes: list[Outcome]) -> None:
        """As a sink: the call has ended."""
        workers, self._workers = self._workers, None
        if self._state in _ENDED:
            return  # cancelled, or resolved by its user
        kind, payload = outcomes[0]
        if kind != _VALUE and kind != _STORED:
            self._end_without_value(outcomes[0], workers)
            return
        try:
            value = pickle.loads(payload) if kind == _VALUE else payload.load()  # type: ignore[attr-defined]
        except BaseException as failure:  # what it raises belongs to whoever waits for the result
            self._reject(failure, workers)
            return
        # What `set_result` does, without what it does for nothing.
        condition: Any = self._condition
        with condition:
            if self._state in _ENDED:
                return
            self._result = value
            self._state = "FINISHED"
            for waiter in self._waiters:
                waiter.add_result(self)
            if condition._waiters:
                condition.notify_all()
        if self._done_callbacks:
            self._invoke_callbacks()  # type: ignore[attr-defined]

    def _end_without_value(self, outcome: Outcome, workers: Workers | None) -> None:
        kind, payload = outcome
        if kind == OutcomeKind.CANCELLED:
            if self.cancel():
                self.set_running_or_notify_cancel()
                return
            error: Any = CancelledError()
        elif kind in _BREAKING and workers is not None and workers.breaks:
            error = BrokenProcessPool(payload.decode(errors="replace"))
        else:
            _, error = open_outcome(outcome, RemoteTraceback)
        self._fail(error)

    def _reject(self, failure: BaseException, workers: Workers | None) -> None:
        """A result cannot be unpickled. As in the standard library, that breaks a pool that can break."""
        if workers is not None and workers.breaks:
            text = f"a result could not be unpickled: {failure!r}"
            workers.break_down(text)
            failure = BrokenProcessPool(text)
        self._fail(failure)

    def _fail(self, error: BaseException) -> None:
        with suppress(InvalidStateError):  # its user may resolve it in this very moment
            self.set_exception(error)

    def _is_ended(self) -> bool:
        return self._state in _ENDED

    def _wait(self, timeout: float | None) -> float | None:
        """Run the loop until the future has ended; what remains of the time is up to the standard library."""
        workers = self._workers
        if workers is None or self._state in _ENDED:
            return timeout
        workers.wait(self._is_ended, timeout, self._wait_passively)
        return timeout if timeout is None else 0

    def _wait_passively(self, timeout: float | None) -> None:
        with self._condition:
            self._condition.wait_for(self._is_ended, timeout)
