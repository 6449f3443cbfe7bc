"""What workers wait for at their program: outcomes of promises, items of generators, and that items are taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from distpool.ids import LeaseId, StoreId
from distpool.logic.promises import Promise
from distpool.logic.streams import NOBODY
from distpool.objects.generators import OwnStream
from distpool.objects.promises import LOCK, PROMISES
from distpool.protocol.messages import Message
from distpool.protocol.upcalls import AwaitItem, ItemTold, PromiseOutcome, PromisesTold, TakenTold

OutcomeOf = Callable[[LeaseId, Promise], PromiseOutcome]
"""What a worker is told of a promise that has ended."""


class Answering(Protocol):
    """Who answers them."""

    def post_answer(self, request: Request) -> None:
        """On any thread: it can be answered."""
        ...


class Request:
    """A worker waits for so many promises. It watches those that are pending."""

    def __init__(self, served: Answering, lease: LeaseId, number: int, promises: list[Promise], count: int) -> None:
        self.lease = lease
        self.number = number
        self.promises = promises
        self.count = count
        self.missing = 0
        self.not_in = StoreId(0)
        """A value that lies in that store is none, as its worker could not have it from there."""
        self.is_waited_for = True
        """Its worker does nothing else."""
        self.is_counted = False
        """Its worker is known to wait."""
        self._served = served

    def watch(self) -> bool:
        """Be told of those that are pending, until there are enough; False: there are. The lock of all promises is
        held."""
        pending = [promise for promise in self.promises if not self._has(promise)]
        self.missing = self.count - (len(self.promises) - len(pending))
        if self.missing <= 0:
            return False
        for promise in pending:
            if not promise.watch(self):
                doubted: Any = promise.outcome
                doubted[1].doubts.setdefault(promise.number, []).append(self)
        return True

    def _has(self, promise: Promise) -> bool:
        """It has an outcome that counts."""
        outcome: Any = promise.outcome
        return outcome is not None and (not self.not_in or getattr(outcome[1], "store_id", None) != self.not_in)

    def ended(self, promise: Promise) -> None:
        """On any thread."""
        with LOCK:
            self.missing -= 1
            is_ready = self.missing == 0
        if is_ready:
            self._served.post_answer(self)

    def answer(self, outcome_of: OutcomeOf) -> Message:
        ready = [position for position, promise in enumerate(self.promises) if self._has(promise)]
        return PromisesTold(self.number, ready, [outcome_of(self.lease, self.promises[at]) for at in ready])


class ItemRequest(Request):
    """A worker waits for an item of a generator. `promise`: its own; None: there is no such item."""

    def __init__(
        self, served: Answering, lease: LeaseId, asked: AwaitItem, stream: OwnStream, promise: Promise | None
    ) -> None:
        super().__init__(served, lease, asked.number, [] if promise is None else [promise], promise is not None)
        self.is_waited_for = not asked.ahead
        self._stream = stream
        self._place = asked.place

    def answer(self, outcome_of: OutcomeOf) -> Message:
        if self._stream.look(self._place) is None:
            return ItemTold(self.number)
        promise = self.promises[0]
        with LOCK:
            PROMISES.publish(promise)
            PROMISES.keep(promise.number, self.lease)
        self._stream.take(self._place)
        return ItemTold(self.number, promise.number, outcome_of(self.lease, promise))


class PausedRequest(Request):
    """The call of a generator waits until enough of its items were taken."""

    def __init__(self, served: Answering, lease: LeaseId, number: int) -> None:
        super().__init__(served, lease, number, [], 0)
        self.taken: int | None = None

    def tell(self, taken: int) -> None:
        """On any thread."""
        self.taken = taken
        self._served.post_answer(self)

    def answer(self, outcome_of: OutcomeOf) -> Message:
        return TakenTold(self.number, NOBODY if self.taken is None else self.taken)
