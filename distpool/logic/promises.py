"""Promises: the values that calls will make. What becomes of one, who is told of it, and who can ask for it by number.

A promise is kept by whatever refers to it in this process: refs, the call that makes it, calls that wait for it. The
table adds what is no reference of this process: a worker or a stored value that has a ref to it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol
from weakref import WeakValueDictionary

import msgspec

from distpool.logic.calls import Outcome
from distpool.protocol.messages import OutcomeKind

_HAS_VALUE = frozenset({int(OutcomeKind.VALUE), int(OutcomeKind.STORED)})


class Watcher(Protocol):
    """Who is told, once, when a promise has ended."""

    def ended(self, promise: Promise) -> None: ...


class Promise(msgspec.Struct, eq=False, weakref=True):
    """One value that a call will make. It is pending until it has an outcome, which then stays, unless the value lay on
    a node that is lost and is made again: then it is pending once more.

    `name`: of the call, for people. `call`: what makes it, until it has ended. `position`: of the value in what the
    call returns, if that is several values. `cause`: the name of the call whose error this is, if it is another's.

    Whoever calls a method has the lock of all promises. With its end a promise forgets its call and its watchers: it is
    in no cycle any more.
    """

    number: int
    name: str
    call: Any = None
    position: int = -1
    outcome: Outcome | None = None
    cause: str = ""
    watchers: list[Watcher] | None = None

    def watch(self, watcher: Watcher) -> bool:
        """Have it told of the end; False: it has ended."""
        if self.outcome is not None:
            return False
        if self.watchers is None:
            self.watchers = []
        self.watchers.append(watcher)
        return True

    def unwatch(self, watcher: Watcher) -> None:
        """Have it told no more, unless that has happened."""
        if self.watchers is not None and watcher in self.watchers:
            self.watchers.remove(watcher)

    def end(self, outcome: Outcome, cause: str = "") -> list[Watcher] | None:
        """Whom to tell; None: it had ended before, and that changes nothing."""
        if self.outcome is not None:
            return None
        self.outcome = outcome
        self.cause = cause
        self.call = None
        watchers, self.watchers = self.watchers, None
        return watchers or []

    def reopen(self, call: Any, watchers: list[Watcher]) -> None:
        """Its value is lost, and `call` makes it again: it is pending once more, and these watch it."""
        self.watchers = [*(self.watchers or ()), *watchers]
        self.call = call  # before the outcome goes: whoever finds none waits for the call
        self.outcome = None

    def has_failed(self) -> bool:
        """It has ended, and not with a value."""
        return self.outcome is not None and self.outcome[0] not in _HAS_VALUE

    def __repr__(self) -> str:
        state = "pending" if self.outcome is None else OutcomeKind(self.outcome[0]).name
        return f"<Promise {self.number} of {self.name}, {state}>"


class Promises:
    """The promises that refs name by number, in pickles: for as long as they live, they are found."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[int, Promise] = WeakValueDictionary()
        # Sets, not counters: what is said twice changes nothing.
        self._kept: dict[Hashable, dict[int, Promise]] = {}
        self._of_parent: Any = None

    def leave_to_parent(self) -> None:
        """In the child of a fork: the numbers are its parent's. What was kept stays as it is, so that nothing ends here
        which the parent still has."""
        self._of_parent = self._kept, self._of_parent
        self._known = WeakValueDictionary()
        self._kept = {}

    def publish(self, promise: Promise) -> None:
        """A ref to it was pickled."""
        self._known[promise.number] = promise

    def find(self, number: int) -> Promise | None:
        """None when nobody has kept it."""
        return self._known.get(number)

    def keep(self, number: int, holder: Hashable) -> bool:
        """A holder outside of this process's references has a ref to it; False: it is gone."""
        promise = self._known.get(number)
        if promise is None:
            return False
        self._kept.setdefault(holder, {})[number] = promise
        return True

    def release(self, number: int, holder: Hashable) -> None:
        """The holder has no ref to it any more."""
        held = self._kept.get(holder, {})
        held.pop(number, None)
        if not held:
            self._kept.pop(holder, None)

    def drop(self, holder: Hashable) -> None:
        """The holder has ended."""
        self._kept.pop(holder, None)
