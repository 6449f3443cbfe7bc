"""`ActorPool`: calls spread over actors, one at a time for each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from distpool.actors.handle import ActorHandle
from distpool.api import wait
from distpool.objects.promises import TaskRef

Submit = Callable[[Any, Any], TaskRef]
"""Calls a method of the actor that it is given, with the value: `lambda actor, value: actor.run.remote(value)`."""


class ActorPool:
    """Spreads calls over `actors`: each has one at a time, and those that find none free wait here.

    For one thread. `submit` starts calls, `get_next` and `get_next_unordered` give their results; `map` and
    `map_unordered` do both.
    """

    def __init__(self, actors: Iterable[Any]) -> None:
        """Raises TypeError for what is no handle."""
        if not isinstance(actors, Iterable):
            raise TypeError(f"actors is {actors!r}, a {type(actors).__name__}; it must be a list of handles of actors")
        self._idle: deque[Any] = deque(map(_checked, actors))
        self._waiting: deque[tuple[int, Submit, Any]] = deque()
        self._running: dict[TaskRef, tuple[int, Any]] = {}
        self._ended: dict[int, TaskRef] = {}
        """Calls that have ended, and whose result nobody has asked for, by their number."""
        self._submitted = 0
        self._next = 0

    def submit(self, fn: Submit, value: Any) -> None:
        """Have `fn(actor, value)` called with the next free actor."""
        self._waiting.append((self._submitted, fn, value))
        self._submitted += 1
        self._start()

    def map(self, fn: Submit, values: Iterable[Any]) -> Iterator[Any]:
        """The results, in the order of `values`. What was submitted before is waited for, and its results dropped."""
        return self._map(fn, values, self.get_next)

    def map_unordered(self, fn: Submit, values: Iterable[Any]) -> Iterator[Any]:
        """The results, each as soon as it is there; otherwise as `map`."""
        return self._map(fn, values, self.get_next_unordered)

    def has_next(self) -> bool:
        """There are results that nobody has asked for."""
        return bool(self._waiting or self._running or self._ended)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The result of the call that was submitted first of those that nobody has asked for.

        Raises what the call raised; StopIteration when there is none; TimeoutError after `timeout` seconds, after which
        the same call is the next again, or with `ignore_if_timedout` that after it.
        """
        number = self._first()
        while number not in self._ended:
            if not self._wait(timeout):
                if ignore_if_timedout:
                    self._next = number + 1
                raise TimeoutError(f"after {timeout} s call {number} has no result")
        self._next = number + 1
        return self._ended.pop(number).result()

    def get_next_unordered(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The result of any call that has ended, the first that is there.

        Raises as `get_next`; `ignore_if_timedout` changes nothing, as no call is waited for in particular.
        """
        if not self.has_next():
            raise StopIteration("no call was submitted whose result nobody has asked for")
        while not self._ended:
            if not self._wait(timeout):
                raise TimeoutError(f"after {timeout} s no call has a result")
        return self._ended.pop(min(self._ended)).result()

    def has_free(self) -> bool:
        """Some actor has nothing to do."""
        return bool(self._idle) and not self._waiting

    def pop_idle(self) -> Any | None:
        """Take an actor that has nothing to do out of the pool; None: there is none."""
        return self._idle.popleft() if self.has_free() else None

    def push(self, actor: Any) -> None:
        """Add an actor. Raises ValueError for one that is in the pool, and TypeError for what is no handle."""
        if _checked(actor) in self._idle or any(actor == busy for _, busy in self._running.values()):
            raise ValueError(f"{actor!r} is in the pool already")
        self._idle.append(actor)
        self._start()

    def _map(self, fn: Submit, values: Iterable[Any], get_next: Callable[[], Any]) -> Iterator[Any]:
        while self._waiting or self._running:
            self._wait(None)
        self._ended.clear()
        self._next = self._submitted
        for value in values:
            self.submit(fn, value)

        def results() -> Iterator[Any]:
            while self.has_next():
                yield get_next()

        return results()

    def _first(self) -> int:
        pending = [number for number, _ in self._running.values()]
        pending += [number for number, _, _ in self._waiting]
        numbers = [number for number in (*pending, *self._ended) if number >= self._next]
        if not numbers:
            raise StopIteration("no call was submitted whose result nobody has asked for")
        return min(numbers)

    def _start(self) -> None:
        while self._waiting and self._idle:
            number, fn, value = self._waiting.popleft()
            actor = self._idle.popleft()
            try:
                ref = fn(actor, value)
            except BaseException:
                self._idle.appendleft(actor)
                raise
            if not isinstance(ref, TaskRef):
                self._idle.appendleft(actor)
                raise TypeError(f"the function gave {ref!r}, a {type(ref).__name__}; it must give the ref of a call")
            self._running[ref] = number, actor

    def _wait(self, timeout: float | None) -> bool:
        """Until some running call has ended."""
        if not self._running:
            raise ValueError("calls wait and the pool has no actor: add one with push")
        ended: list[Any] = wait(list(self._running), timeout=timeout)[0]
        for ref in ended:
            number, actor = self._running.pop(ref)
            self._ended[number] = ref
            self._idle.append(actor)
        self._start()
        return bool(ended)


def _checked(actor: Any) -> Any:
    if not isinstance(actor, ActorHandle):
        raise TypeError(f"an actor of the pool is {actor!r}, a {type(actor).__name__}; it must be a handle of one")
    return actor
