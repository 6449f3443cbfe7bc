"""Who keeps which object alive: sets, not counters, so that what is said twice changes nothing.

A holder is whatever can end: a process, a call that has the object among its arguments, another object that names it.
When the last holder of an object goes, it is free, and what it held goes with it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Holders(Generic[Key]):
    """Objects and holders are keys of one kind, as objects hold others."""

    def __init__(self) -> None:
        self._holders: dict[Key, set[Key]] = {}
        self._held: dict[Key, set[Key]] = {}

    def hold(self, key: Key, holder: Key) -> None:
        self._holders.setdefault(key, set()).add(holder)
        self._held.setdefault(holder, set()).add(key)

    def release(self, key: Key, holder: Key) -> list[Key]:
        """The objects that nobody holds any more, this one first; none when others hold it, or nobody did."""
        freed = []
        ends = [(key, holder)]
        while ends:
            key, holder = ends.pop()
            if self._end(key, holder):
                freed.append(key)
                ends += [(inner, key) for inner in self._held.get(key, ())]
        return freed

    def drop(self, holder: Key) -> list[Key]:
        """It has ended: the objects that nobody holds any more."""
        freed: list[Key] = []
        for key in list(self._held.get(holder, ())):
            freed += self.release(key, holder)
        return freed

    def of(self, key: Key) -> Iterable[Key]:
        """Who holds it."""
        return self._holders.get(key, frozenset())

    def _end(self, key: Key, holder: Key) -> bool:
        """Whether it was the last."""
        held = self._held.get(holder, set())
        if key not in held:
            return False
        held.remove(key)
        if not held:
            del self._held[holder]
        holders = self._holders[key]
        holders.remove(holder)
        if not holders:
            del self._holders[key]
        return not holders
