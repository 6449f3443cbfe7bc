"""`Queue`: a queue that lives in an actor, for many producers and consumers."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterable, Mapping
from typing import Any

from distpool.actors.actor_class import actor_class
from distpool.actors.handle import kill
from distpool.actors.options import ActorOptions, merged_actor_options
from distpool.api import get


class Empty(queue.Empty):
    """The queue has no item, or had none in time."""


class Full(queue.Full):
    """The queue has no room, or had none in time."""


class Queue:
    """A queue of items in the order in which they were put, in an actor of its own.

    `maxsize`: it has room for so many; 0 is any number. `actor_options`: of its actor, as `options` takes them; with a
    name and lifetime="detached" it outlives its handles. Raises TypeError and ValueError that list what is valid.
    """

    def __init__(self, maxsize: int = 0, actor_options: Mapping[str, Any] | None = None) -> None:
        if isinstance(maxsize, bool) or not isinstance(maxsize, int):
            raise TypeError(f"maxsize is {maxsize!r}, a {type(maxsize).__name__}; it must be an int, 0 for no limit")
        merged_actor_options(ActorOptions(), actor_options or {})
        self.maxsize = maxsize
        self.actor = actor_class(_QueueActor, actor_options or {}).remote(maxsize)

    def __len__(self) -> int:
        return self.size()

    def size(self) -> int:
        """How many items it has."""
        return get(self.actor.qsize.remote())  # type: ignore[no-any-return]

    def qsize(self) -> int:
        """How many items it has."""
        return self.size()

    def empty(self) -> bool:
        """It has no item."""
        return self.size() == 0

    def full(self) -> bool:
        """It has no room."""
        return 0 < self.maxsize <= self.size()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an item. Raises Full when there is no room: at once without `block`, or after `timeout` seconds."""
        get(self.actor.put.remote(item, _limit_s(timeout) if block else 0.0))

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """As `put`, for an event loop."""
        await self.actor.put.remote(item, _limit_s(timeout) if block else 0.0)

    def put_nowait(self, item: Any) -> None:
        """Put an item, or raise Full."""
        self.put(item, block=False)

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Put all of these items, or none and raise Full."""
        if not isinstance(items, Iterable):
            raise TypeError(f"items is {items!r}, a {type(items).__name__}; it must be a list of items")
        get(self.actor.put_batch.remote(list(items)))

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the first item. Raises Empty when there is none: at once without `block`, or after `timeout` seconds."""
        return get(self.actor.get.remote(_limit_s(timeout) if block else 0.0))

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """As `get`, for an event loop."""
        return await self.actor.get.remote(_limit_s(timeout) if block else 0.0)

    def get_nowait(self) -> Any:
        """Take the first item, or raise Empty."""
        return self.get(block=False)

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Take so many items, or none and raise Empty."""
        if isinstance(num_items, bool) or not isinstance(num_items, int):
            raise TypeError(f"num_items is {num_items!r}, a {type(num_items).__name__}; it must be an int")
        if num_items < 0:
            raise ValueError(f"num_items is {num_items}; it must be at least 0")
        return get(self.actor.get_batch.remote(num_items))  # type: ignore[no-any-return]

    def shutdown(self, force: bool = False, grace_period_s: float = 5) -> None:
        """End its actor, and with it all items: after the calls that it has, for at most `grace_period_s` seconds, or
        with `force` at once."""
        if not force:
            try:
                self.actor.__ray_terminate__.remote().exception(grace_period_s)
            except TimeoutError:
                pass
        kill(self.actor)


def _limit_s(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout is {timeout!r}, a {type(timeout).__name__}; it must be a number of seconds, or None")
    if not timeout >= 0:
        raise ValueError(f"timeout is {timeout!r}; it must be at least 0")
    return float(timeout)


class _QueueActor:
    """Where the items are."""

    def __init__(self, maxsize: int) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue(maxsize)

    def qsize(self) -> int:
        return self._queue.qsize()

    async def put(self, item: Any, limit_s: float | None) -> None:
        if limit_s == 0.0:
            self._put_nowait(item)
            return
        try:
            await asyncio.wait_for(self._queue.put(item), limit_s)
        except TimeoutError:
            raise Full(f"after {limit_s:g} s there was no room: it has {self._queue.qsize()} items") from None

    async def get(self, limit_s: float | None) -> Any:
        if limit_s == 0.0:
            return self._get_nowait()
        try:
            return await asyncio.wait_for(self._queue.get(), limit_s)
        except TimeoutError:
            raise Empty(f"after {limit_s:g} s there was no item") from None

    def put_batch(self, items: list[Any]) -> None:
        room = self._queue.maxsize - self._queue.qsize()
        if self._queue.maxsize > 0 and room < len(items):
            raise Full(f"there is room for {room} items, and not for {len(items)}")
        for item in items:
            self._put_nowait(item)

    def get_batch(self, count: int) -> list[Any]:
        if self._queue.qsize() < count:
            raise Empty(f"there are {self._queue.qsize()} items, and not {count}")
        return [self._get_nowait() for _ in range(count)]

    def _put_nowait(self, item: Any) -> None:
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            raise Full(f"there is no room: it has {self._queue.qsize()} items") from None

    def _get_nowait(self) -> Any:
        try:
            return self._queue.get_nowait()
        except asyncio.QueueEmpty:
            raise Empty("there is no item") from None
