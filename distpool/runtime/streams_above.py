"""In a worker: generators of its program, whose items are asked for one by one by the way up."""

from __future__ import annotations

from typing import Any

from distpool.objects.generators import NOTHING, ObjectRefGenerator, until_ended
from distpool.objects.promises import TaskRef, end, promise_for, wait_passively
from distpool.protocol.messages import Message
from distpool.protocol.upcalls import AwaitItem, ItemTold, RequestRefused
from distpool.runtime.own_way_up import way_up
from distpool.runtime.promises_above import AwaitedPromise, above
from distpool.runtime.yielding import answer_to
from distpool.serialization.remote_errors import decode_failure


class StreamAbove:
    """Of a call that the program runs. One thread or coroutine at a time takes its items."""

    def __init__(self, number: int, name: str) -> None:
        self._number = number
        self._name = name
        self._place = 0
        self._is_asked = False
        self._ahead: _Ahead | None = None

    def next(self) -> TaskRef | None:
        """See `Source`. Raises RuntimeError while another thread waits for the next."""
        self._begin()
        try:
            if self._ahead is None:
                return self._take(_ref_of(answer_to(self._request), self._name))
            wait_passively(self._ahead.promise, None)
            return self._take_ahead(self._ahead)
        finally:
            self._is_asked = False

    async def next_async(self) -> TaskRef | None:
        """See `Source`. Raises RuntimeError while another coroutine waits for the next."""
        self._begin()
        try:
            if self._ahead is None:
                return self._take(_ref_of(await way_up().ask_async(self._request), self._name))
            await until_ended(self._ahead.promise)
            return self._take_ahead(self._ahead)
        finally:
            self._is_asked = False

    def front(self) -> TaskRef:
        """See `Source`: the next item is asked for, and kept here until it is taken. Raises RuntimeError while a thread
        waits for it."""
        self._begin()
        try:
            ahead = self._ahead
            if ahead is None:
                ahead = _Ahead(self._name)
                place = self._place
                ahead.promise.request = way_up().ask_later(
                    lambda number: AwaitItem(number, self._number, place, ahead=True), ahead.arrive
                )
                self._ahead = ahead
        finally:
            self._is_asked = False
        return TaskRef(ahead.promise)

    def _begin(self) -> None:
        if self._is_asked:
            raise RuntimeError(
                f"the next item of {self._name} is being waited for already: in a worker, one thread or coroutine at a "
                "time takes the items of a generator"
            )
        self._is_asked = True

    def _request(self, number: int) -> Message:
        return AwaitItem(number, self._number, self._place)

    def _take_ahead(self, ahead: _Ahead) -> TaskRef | None:
        self._ahead = None
        if ahead.failure:
            raise decode_failure(ahead.failure)[0]
        return self._take(ahead.ref)

    def _take(self, ref: TaskRef | None) -> TaskRef | None:
        if ref is not None:
            self._place += 1
        return ref


class _Ahead:
    """An item that was asked for and is taken later. Its promise ends when the program has answered."""

    def __init__(self, name: str) -> None:
        self.promise = AwaitedPromise(promise_for(name).number, name, above())
        self.ref: TaskRef | None = None
        self.failure = b""

    def arrive(self, told: Message) -> None:
        """On any thread. The ref is made at once: the program keeps the item for this worker from now on."""
        if isinstance(told, RequestRefused):
            self.failure = told.failure
        else:
            self.ref = _ref_of(told, self.promise.name)
        end(self.promise, NOTHING)


def _ref_of(told: Any, name: str) -> TaskRef | None:
    """What the program has answered; None: there is no such item."""
    assert isinstance(told, ItemTold)
    return None if told.outcome is None else above().told(told.promise, name, told.outcome)


def generator_above(completion: TaskRef, holder: TaskRef) -> ObjectRefGenerator:
    """The handle of a call that this worker has started."""
    return ObjectRefGenerator(completion, holder, StreamAbove(holder.id, completion.known().name))
