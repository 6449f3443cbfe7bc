"""Tasks on their way: each is the sink of its bundle, and may have to wait for the values of others first."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import msgspec

from distpool.logic.calls import CallOptions, Outcome
from distpool.logic.dependencies import Dependencies
from distpool.logic.promises import Promise
from distpool.objects.promises import LOCK, end
from distpool.protocol.messages import OutcomeKind
from distpool.runtime.workers import Workers
from distpool.serialization.remote_errors import decode_failure, encode_failure

_ERROR = int(OutcomeKind.ERROR)
_LOST = int(OutcomeKind.LOST)
_STORED = int(OutcomeKind.STORED)


class Task(msgspec.Struct, gc=False, eq=False):
    """One task, until it has ended. `promises`: of its values, one or more. `lineage`: how they are made again; None:
    they are not, and so are brought to the program."""

    workers: Workers
    promises: tuple[Promise, ...]
    lineage: Any = None

    def begin(self) -> bool:
        """As a sink: it is about to be sent. With several values all are cancelled, or none."""
        return self.promises[0].outcome is None

    def put_back(self) -> None:
        """As a sink: it waits again, and is asked for `begin` again."""

    def deliver(self, first: int, outcomes: list[Outcome]) -> None:
        """As a sink: it has ended."""
        self.finish(outcomes[0])

    def finish(self, outcome: Outcome) -> None:
        """It has this outcome, unless that is a value which is lost by now and has to be made again."""
        lineage = self.lineage
        if lineage is not None and outcome[0] == _STORED and getattr(outcome[1], "is_lost", False):
            with LOCK:
                task = lineage.make_again(self.promises)
            lineage.hand_in([task])
        else:
            self.end(outcome)

    def end(self, outcome: Outcome, cause: str = "") -> bool:
        """Whether that is news: it may have been cancelled before."""
        is_news = False
        for promise in self.promises:
            is_news = end(promise, outcome, cause) or is_news
        return is_news


class Prepared(msgspec.Struct, gc=False, eq=False):
    """What a task's call consists of; `name`: of the function, where its id does not tell it."""

    function: Any
    pickled: Any
    options: CallOptions
    name: str


def hand_in(task: Any, call: Prepared) -> None:
    """Have it sent to a worker."""
    task.workers.hand_in_call(call.function, call.pickled, task, call.options, call.name)
    task.workers.poke()


class RepeatedTask(Task):
    """One that may run again after exceptions of some kinds. It counts deaths too, which its group then does not."""

    retried: tuple[type[BaseException], ...] = ()
    retries_left: int = 0
    call: Prepared | None = None

    def deliver(self, first: int, outcomes: list[Outcome]) -> None:
        """As a sink: a run has ended."""
        call = self.call
        if call is not None and self.retries_left > 0 and self.begin() and self._may_repeat(outcomes[0]):
            self.retries_left -= 1
            hand_in(self, call)
            return
        self.call = None
        self.finish(outcomes[0])

    def _may_repeat(self, outcome: Outcome) -> bool:
        kind, payload = outcome
        if kind == _LOST:
            return True
        return kind == _ERROR and isinstance(decode_failure(payload)[0], self.retried)


class WaitingTask:
    """A task that waits for the values of others, which its arguments name."""

    def __init__(
        self, task: Any, call: Prepared, needed: list[Promise], dump: Any, hand_in: Callable[..., None] = hand_in
    ) -> None:
        self._task = task
        self._call = call
        self._hand_in = hand_in
        self._dump = dump
        self._dependencies = Dependencies(needed)

    def begin(self) -> None:
        """Have it run when they are there."""
        with LOCK:
            is_decided = self._dependencies.watch(self)
        if is_decided:
            self._look()

    def ended(self, promise: Promise) -> None:
        """One of them has ended."""
        with LOCK:
            is_decided = self._dependencies.ended(promise, self)
        if is_decided:
            self._look()

    def _look(self) -> None:
        """All have ended, or one has failed. A value that was there may be lost by now, and is made again then."""
        needed = self._dependencies.needed
        with LOCK:
            is_lost = self._dependencies.failed is None and any(promise.outcome is None for promise in needed)
            if is_lost:
                self._dependencies = Dependencies(needed)
            elif self._task.lineage is not None:
                self._task.lineage.is_sent(needed)
        if is_lost:
            self.begin()
        else:
            self._go()

    def _go(self) -> None:
        task, failed = self._task, self._dependencies.failed
        if failed is not None:
            task.end(failed.outcome, failed.cause or failed.name)
        elif task.begin():
            from distpool.objects.claims import beside

            try:
                self._call.pickled = beside(self._call.pickled, self._dependencies.needed, self._dump)
            except Exception as error:  # no room in the store, say: it is the task's
                traceback.clear_frames(error.__traceback__)
                task.end((OutcomeKind.ERROR, encode_failure(error)))
                return
            self._hand_in(task, self._call)
