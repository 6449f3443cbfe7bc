"""In an async actor's worker: calls of methods that are generators, async or not, on its event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from distpool.runtime.own_way_up import way_up
from distpool.runtime.yielding import Items, close, iterator_of


class YieldingOnLoop:
    """As `Yielding`, of a method that runs on an event loop, also of one that gives an async iterator. Other calls run
    between two items."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    async def __call__(self, stream: int, limit: int, /, *args: Any, **kwargs: Any) -> int:
        items = Items(stream, limit)
        made = self._function(*args, **kwargs)
        if inspect.isawaitable(made):
            made = await made
        iterator = made if isinstance(made, AsyncIterator) else _asynchronous(iterator_of(made, self._function))
        try:
            async for value in iterator:
                items.tell(value)
                del value
                if not items.is_room() and not items.are_wanted(await way_up().ask_async(items.request)):
                    break
        finally:
            if inspect.isasyncgen(iterator):
                await iterator.aclose()
        return items.count


async def _asynchronous(iterator: Iterator[Any]) -> AsyncIterator[Any]:
    try:
        for value in iterator:
            yield value
            await asyncio.sleep(0)
    finally:
        close(iterator)
