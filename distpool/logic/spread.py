"""Who has an object, and who gets it from whom: one that many want leaves its home twice at most.

The first two who ask get it from the home itself. Whoever asks after them is sent to one of those who have it or are
about to, which passes on what it has while the rest still comes.
"""

from __future__ import annotations

import msgspec

from distpool.ids import Key
from distpool.protocol.transfers import Place

FROM_HOME = 2
"""How many get it from its home at the same time."""


class Getting(msgspec.Struct):
    """One who has the object, or is about to. `source`: from whom it gets it; None: from the home, or it has it."""

    source: str | None
    is_whole: bool = False


class Spread:
    """The places that have copies of objects, by their endpoints."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._getting: dict[Key, dict[str, Getting]] = {}

    def ask(self, key: Key, asker: Place, avoid: list[str]) -> Place | None:
        """Who is to give it to the asker; None: the home itself."""
        self._places[asker.endpoint] = asker
        getting = self._getting.setdefault(key, {})
        getting.pop(asker.endpoint, None)
        source = self._source(getting, asker.endpoint, avoid)
        getting[asker.endpoint] = Getting(source)
        return None if source is None else self._places[source]

    def _source(self, getting: dict[str, Getting], asker: str, avoid: list[str]) -> str | None:
        at_home = sum(one.source is None and not one.is_whole for one in getting.values())
        if at_home < FROM_HOME and not any(one.is_whole for one in getting.values()):
            return None
        candidates = [
            name for name in getting if name not in avoid and name in self._places and not _gets(getting, name, asker)
        ]
        served = [one.source for one in getting.values() if not one.is_whole]
        candidates.sort(key=served.count)
        if not candidates or (at_home < FROM_HOME and served.count(candidates[0]) >= FROM_HOME):
            return None
        return candidates[0]

    def ended(self, key: Key, asker: str, *, is_whole: bool) -> None:
        """It has the object, or does not want it any more."""
        getting = self._getting.get(key, {})
        if asker in getting:
            if is_whole:
                getting[asker] = Getting(None, True)
            else:
                del getting[asker]
                if not getting:
                    del self._getting[key]

    def forget(self, key: Key) -> list[Place]:
        """The object is freed: who has copies of it."""
        return [self._places[name] for name in self._getting.pop(key, {})]

    def lost(self, endpoint: str) -> None:
        """That place is no more."""
        self._places.pop(endpoint, None)
        for getting in self._getting.values():
            getting.pop(endpoint, None)

    def holders(self, key: Key) -> list[str]:
        """The endpoints of those who have it or are about to."""
        return list(self._getting.get(key, ()))


def _gets(getting: dict[str, Getting], name: str, asker: str) -> bool:
    """Whether it gets the object, by way of others, from the asker."""
    seen = 0
    while name != asker:
        one = getting.get(name)
        if one is None or one.source is None or seen > len(getting):
            return False
        name = one.source
        seen += 1
    return True
