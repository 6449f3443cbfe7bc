"""In a worker: generators of its program, whose items are asked for one by one by the way up."""

from __future__ import annotations

from typing import Any

from distpool.objects.generators import ObjectRefGenerator
from distpool.objects.promises import TaskRef
from distpool.protocol.messages import Message
from distpool.protocol.upcalls import AwaitItem, ItemTold
from distpool.runtime.own_way_up import way_up
from distpool.runtime.promises_above import above
from distpool.runtime.yielding import answer_to


class StreamAbove:
    """Of a call that the program runs. One thread or coroutine at a time takes its items."""

    def __init__(self, number: int, name: str) -> None:
        self._number = number
        self._name = name
        self._place = 0
        self._is_asked = False

    def next(self) -> TaskRef | None:
        """See `Source`. Raises RuntimeError while another thread waits for the next."""
        self._begin()
        try:
            return self._take(answer_to(self._request))
        finally:
            self._is_asked = False

    async def next_async(self) -> TaskRef | None:
        """See `Source`. Raises RuntimeError while another coroutine waits for the next."""
        self._begin()
        try:
            return self._take(await way_up().ask_async(self._request))
        finally:
            self._is_asked = False

    def _begin(self) -> None:
        if self._is_asked:
            raise RuntimeError(
                f"the next item of {self._name} is being waited for already: in a worker, one thread or coroutine at a "
                "time takes the items of a generator"
            )
        self._is_asked = True

    def _request(self, number: int) -> Message:
        return AwaitItem(number, self._number, self._place)

    def _take(self, told: Any) -> TaskRef | None:
        assert isinstance(told, ItemTold)
        if told.outcome is None:
            return None
        self._place += 1
        return above().told(told.promise, self._name, told.outcome)


def generator_above(completion: TaskRef, holder: TaskRef) -> ObjectRefGenerator:
    """The handle of a call that this worker has started."""
    return ObjectRefGenerator(completion, holder, StreamAbove(holder.id, completion.known().name))
