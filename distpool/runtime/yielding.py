"""In a worker: calls of generators, whose items are told one after another while they run.

generator ── item ──► outcome ── lane ──► program        (read before the result of the call: how many there were)
    ▲                                        │
    └── enough were taken ◄── way up ────────┘           (it waits while so many items wait as its window allows)
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from types import GeneratorType
from typing import Any, Protocol

from distpool.interrupts import deferred
from distpool.logic.streams import NOBODY, STREAM, Window
from distpool.protocol.messages import Message, StreamItems
from distpool.runtime.own_way_up import way_up
from distpool.serialization.functions import name_of, several_returns
from distpool.serialization.pickling import describe

WRITING = threading.RLock()
"""Held while items and outcomes are made and told: what the worker tells its store and its caller is in one order."""


class Host(Protocol):
    """The worker, as this needs it."""

    def succeeded(self, value: Any) -> tuple[int, bytes]: ...

    def send(self, message: Message) -> None: ...


_host: list[tuple[Host, Callable[[], None]]] = []


def offer(host: Host, note: Callable[[], None]) -> None:
    """In a worker: `host` tells of items, and `note` says so in the ring of results."""
    _host[:] = [(host, note)]


def returning(function: Any, returns: int) -> Any:
    """What a call runs in place of a function with so many values: `STREAM`, or see `several_returns`."""
    return Yielding(function) if returns == STREAM else several_returns(function, returns)


class Items:
    """Of one call."""

    def __init__(self, stream: int, limit: int) -> None:
        self._stream = stream
        self._window = Window(limit)

    @property
    def count(self) -> int:
        return self._window.sent

    def tell(self, value: Any) -> None:
        """The next item. One that cannot be pickled is told as the error of that."""
        host, note = _host[0]
        with deferred(), WRITING:
            outcome = host.succeeded(value)
            host.send(StreamItems(self._stream, self._window.sent, [outcome]))
            note()
            self._window.sent += 1

    def is_room(self) -> bool:
        """For the next one; else `request` asks for it."""
        return not self._window.awaited()

    def request(self, number: int) -> Message:
        from distpool.protocol.upcalls import AwaitTaken  # what few calls need

        return AwaitTaken(number, self._stream, self._window.awaited())

    def are_wanted(self, told: Any) -> bool:
        """By the answer to the request."""
        self._window.taken(told.count)
        return bool(told.count != NOBODY)


class Yielding:
    """A function that gives an iterator, as a function that tells of its items and returns how many there were."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, stream: int, limit: int, /, *args: Any, **kwargs: Any) -> int:
        """`stream`: where the items go; `limit`: how many of them may wait there."""
        items = Items(stream, limit)
        iterator = iterator_of(self._function(*args, **kwargs), self._function)
        try:
            for value in iterator:
                items.tell(value)
                del value
                if not items.is_room() and not items.are_wanted(answer_to(items.request)):
                    break
        finally:
            close(iterator)
        return items.count


def iterator_of(made: Any, function: Any) -> Iterator[Any]:
    if not isinstance(made, Iterator):
        raise TypeError(
            f'{name_of(function)} was to give its items one by one, as num_returns="streaming" says, and returned '
            f"{describe(made)}: make it a generator, or return an iterator"
        )
    return made


def close(iterator: Any) -> None:
    """So that its `finally` blocks run now."""
    if isinstance(iterator, GeneratorType):
        iterator.close()


def answer_to(request: Callable[[int], Message]) -> Any:
    """Asks again when a signal has ended the wait that was meant for another call."""
    told = None
    while told is None:
        told = way_up().ask(request)
    return told


os.register_at_fork(after_in_child=WRITING._at_fork_reinit)  # type: ignore[attr-defined]
