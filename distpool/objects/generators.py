"""`ObjectRefGenerator`, the handle of a generator's call, with a ref for each of its items when it is there.

    f.remote() ──► ObjectRefGenerator ── next ──► OwnStream ──► Stream (logic) ──► TaskRef of an item
                                                    ▲
    worker: StreamItems ── arrived ─────────────────┘ ◄── ended: the promise of the call itself

A generator is kept by a promise that never ends, its holder: when nobody has that any more, the call ends too.
"""

from __future__ import annotations

import os
import pickle
import weakref
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from distpool.logic.calls import Outcome
from distpool.logic.promises import Promise
from distpool.logic.streams import NOBODY, Stream, Told
from distpool.objects.promises import LOCK, PROMISES, TaskRef, end, promise_for, wait_for
from distpool.protocol.messages import OutcomeKind
from distpool.serialization.remote_errors import encode_failure

if TYPE_CHECKING:
    import asyncio

_VALUE = int(OutcomeKind.VALUE)
_ERROR = int(OutcomeKind.ERROR)
NOTHING = (_VALUE, pickle.dumps(None, 5))


class Source(Protocol):
    """What gives the refs of a generator's items, in this process."""

    def next(self) -> TaskRef | None:
        """Waits for it; None: there are no more."""
        ...

    async def next_async(self) -> TaskRef | None: ...

    def front(self) -> TaskRef | None:
        """What ends when `next` need not wait any more, and takes nothing; None: it need not."""
        ...


class ObjectRefGenerator:
    """What a remote generator returns: iterate over it, with `for` or `async for`, to get a ref for each of its items.

    Each step waits until the next item is there, and not for the value: `distpool.get(ref)` gives that. An exception of
    the generator is the last item: `get` of its ref raises it. When the handle is gone, the call ends, as by
    `distpool.cancel(handle)`. It stays in the process that has made the call.
    """

    __slots__ = ("__weakref__", "_completion", "_holder", "_is_finished", "_source")

    def __init__(self, completion: TaskRef, holder: TaskRef, source: Source) -> None:
        """`completion`: of the call; `holder`: what keeps it going."""
        self._completion = completion
        self._holder = holder
        self._source = source
        self._is_finished = False

    def __iter__(self) -> ObjectRefGenerator:
        return self

    def __next__(self) -> TaskRef:
        ref = None if self._is_finished else self._source.next()
        if ref is None:
            self._is_finished = True
            raise StopIteration
        return ref

    def __aiter__(self) -> ObjectRefGenerator:
        return self

    async def __anext__(self) -> TaskRef:
        ref = None if self._is_finished else await self._source.next_async()
        if ref is None:
            self._is_finished = True
            raise StopAsyncIteration
        return ref

    def completed(self) -> TaskRef:
        """A ref of the call itself: its value is how many items there were; it raises what the generator raised."""
        return self._completion

    def is_finished(self) -> bool:
        """All refs were taken: a further step has said that there are no more."""
        return self._is_finished

    def _front(self) -> TaskRef | None:
        """For who waits for the next item and does not take it: what ends when it is there, or it is known that there
        is none; None: that is known."""
        return None if self._is_finished else self._source.front()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be sent to another process: take its refs here and pass those on, or start the generator "
            "where its items are needed"
        )

    def __repr__(self) -> str:
        return f"<ObjectRefGenerator of {self._completion.known().name}>"


class OwnStream:
    """Of a call that this process runs: where its items arrive, and who takes them. Any thread may call any method."""

    def __init__(self, completion: Promise, holder: Promise, give_up: Callable[[OwnStream], None]) -> None:
        """`completion`: of the call. `holder`: when it is gone, `give_up` is called, at any place, to have the call
        ended."""
        self.workers: Any = None
        """Whose loop a thread of this process runs that waits for an item."""
        self.completion = completion
        self._stream = Stream(self._place)
        holder.call = self
        PROMISES.publish(holder)
        weakref.finalize(holder, _abandon, self, give_up, os.getpid()).atexit = False
        with LOCK:
            completion.watch(self)

    def _place(self) -> Promise:
        promise = promise_for(self.completion.name)
        promise.call = self
        return promise

    # From its call --------------------------------------------------------------------------------------------------

    def arrive(self, first: int, outcomes: list[Outcome]) -> list[tuple[Promise, Outcome]]:
        """Items have come: the promises that are to end so, at rest. Raises ValueError when one is missing."""
        with LOCK:
            places = [(self._stream.arrive(place), outcome) for place, outcome in enumerate(outcomes, first)]
        return [(promise, outcome) for promise, outcome in places if promise is not None]

    def ended(self, promise: Promise) -> None:
        """As a watcher: the call has ended."""
        outcome: Any = promise.outcome
        if outcome[0] == _VALUE:
            outcome = self._checked(pickle.loads(outcome[1]))
        with LOCK:
            if not self._stream.is_going():
                return
            last = self._stream.end(has_failed=outcome is not NOTHING)
            told = self._stream.give_up_waiting()
        end(last, outcome, promise.cause)
        _tell(told, NOBODY)

    def _checked(self, count: int) -> Outcome:
        """How its items end when it has given so many."""
        arrived = self._stream.arrived
        if count == arrived:
            return NOTHING
        text = f"{self.completion.name} gave {count} items, and {arrived} had come of it"
        if count < arrived:
            text += ": it was run again, and gave fewer than before"
        return _ERROR, encode_failure(RuntimeError(text))

    def abandon(self) -> None:
        """Nobody takes any more."""
        with LOCK:
            self._stream.abandon()
            told = self._stream.give_up_waiting()
        _tell(told, NOBODY)

    # For who takes its items ----------------------------------------------------------------------------------------

    def next(self) -> TaskRef | None:
        """See `Source`."""
        while True:
            place, promise = self._front()
            if promise is None:
                return None
            wait_for(promise, None)
            if self._is_taken(place):
                return TaskRef(promise)

    async def next_async(self) -> TaskRef | None:
        """See `Source`."""
        while True:
            place, promise = self._front()
            if promise is None:
                return None
            await until_ended(promise)
            if self._is_taken(place):
                return TaskRef(promise)

    def front(self) -> TaskRef | None:
        """See `Source`."""
        _, promise = self._front()
        return None if promise is None else TaskRef(promise)

    def _front(self) -> tuple[int, Promise | None]:
        """The place that is to be taken next, and its promise; None: there are no more."""
        with LOCK:
            place = self._stream.taken
            return place, self._stream.look(place)

    def _is_taken(self, place: int) -> bool:
        """By this thread; False: another was as quick, or it was the end."""
        stream = self._stream
        with LOCK:
            if stream.taken != place or stream.is_over(place):
                return False
            told = stream.take(place)
            stream.look(place + 1)  # the item is the ref's alone
        _tell(told, stream.taken)
        return True

    def look(self, place: int) -> Promise | None:
        """The promise of that place, for a worker that takes them; None: there is no such item, and none will come.
        Raises ValueError when it cannot ask for that."""
        with LOCK:
            return self._stream.look(place)

    def take(self, place: int) -> None:
        """The item of that place is somebody's."""
        with LOCK:
            told = self._stream.take(place)
        _tell(told, self._stream.taken)

    def when_taken(self, count: int, told: Told) -> bool:
        """Have it told when so many were taken, or nobody takes any more; False: that is so by now, as `taken` says."""
        with LOCK:
            return self._stream.when_taken(count, told)

    def taken(self) -> int:
        """How many were taken; `NOBODY`, when nobody takes any more."""
        with LOCK:
            return self._stream.taken if self._stream.is_going() else NOBODY


def _tell(told: list[Told], count: int) -> None:
    for each in told:
        each(count)


def _abandon(stream: OwnStream, give_up: Callable[[OwnStream], None], pid: int) -> None:
    """The holder is gone. In the child of a fork the call is not its own."""
    if os.getpid() == pid:
        give_up(stream)


async def until_ended(promise: Promise) -> None:
    """For a coroutine, without running the loop of the workers: another thread does."""
    loop = import_module("asyncio").get_running_loop()  # whoever has no coroutines need not have it
    waker = _LoopWaker(loop)
    with LOCK:
        is_pending = promise.watch(waker)
    if not is_pending:
        return
    try:
        await waker.future
    finally:
        with LOCK:
            promise.unwatch(waker)


class _LoopWaker:
    """Wakes a coroutine."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[None] = loop.create_future()
        self._loop = loop

    def ended(self, promise: Promise) -> None:
        try:
            self._loop.call_soon_threadsafe(self._set)
        except RuntimeError:
            pass  # The event loop is closed: nobody waits any more.

    def _set(self) -> None:
        if not self.future.done():
            self.future.set_result(None)
