"""In a worker: promises of its program. Their outcomes are asked for by the way up, and the program is told which the
worker keeps.

    TaskRef ──► PromiseAbove ── fetch, watch ──► UpLane ──► program
    end of a call ── settle: refs that stay ──► result ──► flush: refs that are gone

What a call has kept is said before its result, and what it has dropped after it, as the result may name it.
"""

from __future__ import annotations

import gc
import os
import pickle
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import msgspec

from distpool.ids import ObjectId, StoreId
from distpool.logic.promises import Promise, Watcher
from distpool.objects.promises import PROMISES, TaskRef, end, value_of
from distpool.objects.stores import CALLS_ABOVE, Attached, attached_store, current
from distpool.protocol.messages import OutcomeKind
from distpool.protocol.store import StoredResult
from distpool.protocol.upcalls import AwaitPromises, KeepPromises, PromiseOutcome, PromisesTold, WaitsFor
from distpool.runtime.own_way_up import results_written_to, store_above, way_up

_STORED = int(OutcomeKind.STORED)
_NUMBERS_OF_A_BASE = 1 << 20
_DROPPED_LIMIT = 500
"""So many are told of in the middle of a call: it may start calls for hours."""


class AwaitedPromise(Promise):
    """One whose end the program tells of. While somebody watches it, its worker counts as one that waits.

    `request`: the number of the request for its end; 0: there was none.
    """

    request: int = 0

    def watch(self, watcher: Watcher) -> bool:
        """See `Promise.watch`. The program is asked with the first that watches."""
        was_watched = bool(self.watchers)
        is_pending = super().watch(watcher)
        if is_pending and not was_watched:
            if self.request:
                way_up().tell(WaitsFor(self.request, True))
            else:
                self.request = above().subscribe(self)
        return is_pending

    def unwatch(self, watcher: Watcher) -> None:
        """See `Promise.unwatch`. With the last that watches the worker goes on."""
        was_watched = bool(self.watchers)
        super().unwatch(watcher)
        if was_watched and not self.watchers and self.request:
            way_up().tell(WaitsFor(self.request, False))


class PromiseAbove(AwaitedPromise):
    """One of the program's."""

    def moved_from(self, store_id: StoreId, patience_s: float) -> FetchedValue | None:
        """Its value could not be had from that store. Where it is when it is made again; None: nothing is known of its
        loss after `patience_s`, or it is in the program too. Raises what the call has raised."""
        numbers = [self.number]
        told = way_up().ask(lambda number: AwaitPromises(number, numbers, 1, store_id), patience_s)
        if told is None:  # if it is known by now, that it is there again is waited for
            told = way_up().ask(lambda number: AwaitPromises(number, numbers, 1))
        outcome = told.outcomes[0]
        if outcome.kind == _STORED:
            stored = msgspec.msgpack.decode(outcome.payload, type=StoredResult)
            is_same = any(store == store_id for store, _ in stored.foreign)
            return None if is_same else FetchedValue(stored.pickled, stored.named)
        ended = Promise(self.number, self.name, None, -1, (outcome.kind, outcome.payload), outcome.cause)
        if ended.has_failed():
            value_of(ended)
        return FetchedValue(outcome.payload, [])


class Above:
    """Those that this worker has refs to. Any thread may call any method."""

    def __init__(self, program: StoreId, attached: Attached) -> None:
        """`program`: the store of the process that owns them."""
        self.program = program
        self.workers = self
        """What waits for any of them, in the place of those who run the calls."""
        self._attached = attached
        self._base = 0
        self._count = count(_NUMBERS_OF_A_BASE)
        # What came with arguments or values, and is not known to be kept by this worker.
        self._arrived: dict[int, weakref.ref[Promise]] = {}
        # What the program is to keep for this worker until it says otherwise.
        self._kept: dict[int, weakref.ref[Promise]] = {}
        self._dropped: deque[int] = deque()
        # Those of actors, which take room for as long as they are kept.
        self._actors: set[int] = set()
        self._is_urgent = False
        # Held while it is told what was dropped; re-entrant, as a finalizer may ask for relief.
        self._telling = threading.RLock()

    # Refs -----------------------------------------------------------------------------------------------------------

    def new(self, name: str, position: int = -1) -> TaskRef:
        """Of a call that this worker is about to submit, which tells the program to keep it."""
        promise = PromiseAbove(self._new_number(), name, self, position)
        self._note(promise, self._kept)
        return self._ref(promise)

    def told(self, number: int, name: str, outcome: PromiseOutcome) -> TaskRef:
        """Of one that the program keeps for this worker since it has told of it."""
        promise = PROMISES.find(number)
        if promise is None:
            promise = PromiseAbove(number, name, self)
            self._note(promise, self._kept)
        _end(promise, outcome)
        return self._ref(promise)

    def find(self, number: int) -> Promise:
        """Of a ref that has arrived here: whoever has sent it keeps it, for now."""
        promise = PROMISES.find(number)
        if promise is None:
            promise = PromiseAbove(number, f"task {number}", self)
            with self._telling:
                # One that was dropped, and of which that was not told, is kept for this worker still.
                is_kept = number in self._dropped
                if is_kept:
                    self._dropped.remove(number)
                self._note(promise, self._kept if is_kept else self._arrived)
        return promise

    def is_of_actor(self, number: int) -> None:
        """What keeps an actor is told of as soon as it is dropped."""
        self._actors.add(number)

    def _ref(self, promise: Promise) -> TaskRef:
        ref = TaskRef.__new__(TaskRef)
        ref.store_id, ref.id, ref._hold = self.program, ObjectId(promise.number), promise
        return ref

    def _note(self, promise: Promise, among: dict[int, weakref.ref[Promise]]) -> None:
        number = promise.number
        PROMISES.publish(promise)
        among[number] = weakref.ref(promise, lambda _: self._gone(number))
        self._attached.news.add(CALLS_ABOVE)

    def _gone(self, number: int) -> None:
        """The last ref is dropped; it may be called at any place."""
        if self._arrived.pop(number, None) is None and self._kept.pop(number, None) is not None:
            self._dropped.append(number)
            self._attached.dropped.append(CALLS_ABOVE)
            self._is_urgent = self._is_urgent or number in self._actors
        self._actors.discard(number)

    def _new_number(self) -> int:
        """That no other process has: of 2^43 bases, one for each million of calls of a worker."""
        number = next(self._count)
        if number >= _NUMBERS_OF_A_BASE:
            self._base = (int.from_bytes(os.urandom(5), "little") | 1 << 42) * _NUMBERS_OF_A_BASE
            self._count = count(1)
            number = 0
        return self._base + number

    def settle(self) -> None:
        """At the end of a call, before its result is told: what came with it and stays is kept."""
        if not self._arrived:
            return
        gc.collect(1)  # a call leaves cycles behind, of closures for instance
        kept = list(self._arrived)
        for number in kept:
            found = self._arrived.pop(number, None)
            if found is not None and found() is not None:
                self._kept[number] = found
        kept = [number for number in kept if number in self._kept]
        if kept:
            way_up().tell(KeepPromises(kept, []))

    def flush(self) -> None:
        """After the result was told: what is not kept any more."""
        self._tell_dropped(in_call=False)

    def _tell_dropped(self, *, in_call: bool) -> None:
        self._is_urgent = False
        with self._telling:
            dropped = []
            while self._dropped:
                dropped.append(self._dropped.popleft())
            if dropped:
                way_up().tell(KeepPromises([], dropped, results_written_to(in_call=in_call)))

    def relieve(self) -> None:
        """In the middle of a long call: what it has dropped its result cannot name."""
        if self._is_urgent or len(self._dropped) > _DROPPED_LIMIT:
            self._attached.relieve(self._settle_and_flush)

    def _settle_and_flush(self) -> None:
        self.settle()
        self._tell_dropped(in_call=True)

    # Outcomes -------------------------------------------------------------------------------------------------------

    def fetch(self, promises: Sequence[Promise], count: int, timeout_s: float | None) -> None:
        """Wait until so many have an outcome, at most so long."""
        pending = [promise for promise in promises if promise.outcome is None]
        count -= len(promises) - len(pending)
        if count > 0:
            self.relieve()
            numbers = [promise.number for promise in pending]
            told = way_up().ask(lambda number: AwaitPromises(number, numbers, count), timeout_s)
            if told is not None:
                _take(pending, told)

    def subscribe(self, promise: Promise) -> int:
        """Have it end when the program says so, whoever waits for that and however. The number of the request."""
        numbers = [promise.number]
        return way_up().ask_later(lambda number: AwaitPromises(number, numbers, 1), lambda told: _take([promise], told))

    def wait(
        self, is_done: Callable[[], bool], timeout_s: float | None, passively: Callable[[float | None], Any]
    ) -> bool:
        """For something that watches some of them."""
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        while not is_done():
            remaining_s = None if ends_at is None else ends_at - time.monotonic()
            if remaining_s is not None and remaining_s <= 0:
                return False
            passively(remaining_s)
        return True


def _take(promises: Sequence[Promise], told: Any) -> None:
    if not isinstance(told, PromisesTold):  # the request is refused
        for promise in promises:
            end(promise, (OutcomeKind.ERROR, told.failure))
        return
    for position, outcome in zip(told.ready, told.outcomes, strict=True):
        _end(promises[position], outcome)


def _end(promise: Promise, outcome: PromiseOutcome) -> None:
    promise.position = outcome.item
    payload: Any = outcome.payload
    if outcome.kind == _STORED:
        stored = msgspec.msgpack.decode(payload, type=StoredResult)
        payload = FetchedValue(stored.pickled, stored.named)
    end(promise, (outcome.kind, payload), outcome.cause)


class FetchedValue:
    """A value that needs objects of a store. The program keeps them for as long as this worker keeps the promise."""

    holds = (None,)
    """In place of those of a `StoredValue`: none is of this process's own store."""

    def __init__(self, pickled: bytes, objects: list[ObjectId]) -> None:
        self._pickled = pickled
        self._objects = objects

    def load(self) -> Any:
        """Raises ObjectLost and StoreFull."""
        store: Any = current()
        for object_id in self._objects:
            store.have(object_id)
        return pickle.loads(self._pickled)


# The worker's own -----------------------------------------------------------------------------------------------------

_above: list[Above] = []


def above() -> Above:
    """Of this worker. Raises RuntimeError in a process that is none."""
    if not _above:
        attached = attached_store()
        made = Above(store_above(), attached)
        attached.on_settle, attached.on_flush = made.settle, made.flush
        _above.append(made)
    return _above[0]


os.register_at_fork(after_in_child=_above.clear)
