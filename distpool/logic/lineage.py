"""How values that lie on nodes are made again when their node is lost: which calls have made them, of which values, and
how often they may run again.

A call is remembered for as long as its value, or one that was made of it, can be lost. So the values themselves are
freed as if nothing was remembered: one that is gone when it is needed is made again too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable, Iterable
from typing import Any, Protocol
from weakref import ref

from distpool.logic.calls import Outcome
from distpool.logic.promises import Promise, Watcher
from distpool.protocol.messages import OutcomeKind

_STORED = int(OutcomeKind.STORED)


class Staying(Protocol):
    """A value that lies on a node."""

    lineage: Lineage
    is_lost: bool
    doubts: dict[int, list[Watcher]]
    """By the number of a promise: who could not open the value, and is to be told when it has another."""


class Lineage(ABC):
    """How the values of one call are made. Whoever calls a method has the lock of all promises."""

    def __init__(self, promises: Iterable[Promise], needed: Iterable[Promise], retries: int) -> None:
        """`needed`: of its arguments, in their order. `retries`: how often it may run again."""
        made = list(promises)
        self.name = made[0].name
        self.retries_left = retries
        self._positions = [promise.position for promise in made]
        self._promises = [ref(promise) for promise in made]
        self._sources: list[Promise | tuple[Lineage, int]] = list(needed)
        self._value: ref[Any] | None = None

    @abstractmethod
    def new_promise(self, name: str, position: int) -> Promise:
        """Of one of its values, which nobody has any more."""

    @abstractmethod
    def new_task(self, promises: tuple[Promise, ...]) -> Any:
        """What makes these again when it is handed in."""

    @abstractmethod
    def gone(self) -> Outcome:
        """How a promise ends whose value would have to be made more often than it may."""

    def is_sent(self, needed: Iterable[Promise]) -> None:
        """These have values now. Those that can be made again need not be kept for that."""
        self._sources = [_source_of(promise) for promise in needed]

    def stays(self, value: Staying, retries_left: int) -> None:
        """Its value is this, and it may run so often again."""
        self.retries_left = retries_left
        self._value = ref(value)

    def lose(self, value: Staying) -> Any:
        """The value is lost: the task that makes it again, and for whose end its promises wait; None: nobody has any of
        them."""
        value.is_lost = True
        found = [promise for held in self._promises if (promise := held()) is not None]
        if not any(_has(promise, value) for promise in found):
            return None
        return self._reopen(value.doubts)

    def needed(self) -> tuple[list[Promise], list[Any]]:
        """The promises of its arguments, and the tasks that are to be handed in so that these get their values."""
        tasks: list[Any] = []
        needed = []
        for source in self._sources:
            if isinstance(source, Promise):
                needed.append(source)
            else:
                lineage, position = source
                needed.append(lineage._promise_of(position, tasks))
        return needed, tasks

    def make_again(self, promises: tuple[Promise, ...]) -> Any:
        """The value was lost before these promises had it: the task that makes it again."""
        self.retries_left -= 1
        task = self.new_task(promises)
        for promise in promises:
            if promise.outcome is None:  # otherwise it was cancelled
                promise.call = task
        return task

    def _promise_of(self, position: int, tasks: list[Any]) -> Promise:
        at = self._positions.index(position)
        promise = self._promises[at]()
        if promise is not None:
            return promise
        outcome = self._outcome()
        if outcome is None and self.retries_left > 0:
            tasks.append(self._reopen({}))
            return tasks[-1].promises[at]  # type: ignore[no-any-return]
        promise = self.new_promise(self.name, position)
        promise.end(self.gone() if outcome is None else outcome)
        self._promises[at] = ref(promise)
        return promise

    def _outcome(self) -> Outcome | None:
        """That its promises have; None: nobody has any of them."""
        for held in self._promises:
            promise = held()
            if promise is not None and promise.outcome is not None:
                return promise.outcome
        value = None if self._value is None else self._value()
        return None if value is None or value.is_lost else (_STORED, value)

    def _reopen(self, doubts: dict[int, list[Watcher]]) -> Any:
        """Its promises are pending once more, and those of them that are gone are there again until it has ended."""
        promises = []
        for at, position in enumerate(self._positions):
            promise = self._promises[at]()
            if promise is None:
                promise = self.new_promise(self.name, position)
                self._promises[at] = ref(promise)
            promises.append(promise)
        self.retries_left -= 1
        task = self.new_task(tuple(promises))
        for promise in promises:
            promise.reopen(task, doubts.get(promise.number, []))
        return task


class Remembered:
    """How many bytes the calls take that are remembered, within a limit. What several of them need counts once."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._bytes = 0
        self._calls: dict[Hashable, tuple[int, list[Hashable]]] = {}
        # By object: its bytes, and how many calls need it.
        self._objects: dict[Hashable, tuple[int, int]] = {}
        self._dropped: deque[Hashable] = deque()

    @property
    def bytes(self) -> int:
        self._settle()
        return self._bytes

    def keep(self, call: Hashable, size: int, objects: Iterable[tuple[Hashable, int]]) -> bool:
        """A call that takes so many bytes, and needs objects of so many; False: there is no room for it."""
        self._settle()
        if call in self._calls:
            return True
        needed = dict(objects)
        size_in_all = size + sum(bytes_ for name, bytes_ in needed.items() if name not in self._objects)
        if self._bytes + size_in_all > self._limit:
            return False
        self._bytes += size_in_all
        self._calls[call] = size, list(needed)
        for name, bytes_ in needed.items():
            known, count = self._objects.get(name, (bytes_, 0))
            self._objects[name] = known, count + 1
        return True

    def drop(self, call: Hashable) -> None:
        """It is not needed any more. It may be called at any place."""
        self._dropped.append(call)

    def _settle(self) -> None:
        while self._dropped:
            size, objects = self._calls.pop(self._dropped.popleft(), (0, []))
            self._bytes -= size
            for name in objects:
                bytes_, count = self._objects.pop(name)
                if count > 1:
                    self._objects[name] = bytes_, count - 1
                else:
                    self._bytes -= bytes_


def _has(promise: Promise, value: Staying) -> bool:
    outcome: Any = promise.outcome
    return outcome is not None and outcome[1] is value


def _source_of(promise: Promise) -> Promise | tuple[Lineage, int]:
    """What gives its value again: what has made it, where that is remembered; otherwise it is kept itself."""
    outcome: Any = promise.outcome
    lineage = None if outcome is None or outcome[0] != _STORED else getattr(outcome[1], "lineage", None)
    return promise if lineage is None else (lineage, promise.position)
