"""The names of a cluster's actors, and whose actor has each: a name has one actor until that is dead or its owner gone.

Owners are known by the lives of their processes, which outlast their links and the lives of heads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice

from distpool.logic.shown import shown
from distpool.protocol.names import NamedActor
from distpool.protocol.records import NameForgotten, NameKept, Record

LONGEST_NAME = 256
_LARGEST_TRAITS = 256 * 1024
_MOST_OF_A_PROGRAM = 10_000
_OTHERS_TOLD = 20

_Key = tuple[str, str]


class Names:
    """Of one head. Each change gives what is to be kept of it."""

    def __init__(self, kept: Iterable[NamedActor], away_until: float) -> None:
        """`kept`: by the head before; owners that have not come back by `away_until` will not."""
        self._actors: dict[_Key, NamedActor] = {(actor.namespace, actor.name): actor for actor in kept}
        self.away_until = away_until if self._actors else None

    def claim(self, actor: NamedActor) -> tuple[NamedActor, list[Record]]:
        """The actor that has its name from now on: this one, unless another has it. Said twice, it changes nothing."""
        key = actor.namespace, actor.name
        known = self._actors.setdefault(key, actor)
        if known is actor:
            return actor, [NameKept(actor)]
        if (known.life, known.actor) == (actor.life, actor.actor) and known != actor:
            # Its owner listens elsewhere now.
            self._actors[key] = actor
            return actor, [NameKept(actor)]
        return known, []

    def refusal(self, actor: NamedActor) -> str:
        """Why it cannot have a name at all; empty when it can."""
        for what, text in (("name", actor.name), ("namespace", actor.namespace)):
            if not text or shown(text, LONGEST_NAME) != text:
                return f"the {what} of an actor has 1 to {LONGEST_NAME} characters, all of which can be printed"
        if len(actor.traits) > _LARGEST_TRAITS or shown(actor.class_name, LONGEST_NAME) != actor.class_name:
            return f"the class of the actor has too many methods, or a name of more than {LONGEST_NAME} characters"
        if sum(known.life == actor.life for known in self._actors.values()) >= _MOST_OF_A_PROGRAM:
            return f"this program has {_MOST_OF_A_PROGRAM} actors with names already, as many as one may have"
        return ""

    def find(self, namespace: str, name: str) -> NamedActor | None:
        return self._actors.get((namespace, name))

    def others(self, namespace: str) -> tuple[str, ...]:
        """Some names of a namespace."""
        return tuple(islice((name for space, name in sorted(self._actors) if space == namespace), _OTHERS_TOLD))

    def free(self, namespace: str, name: str, life: int, actor: int) -> list[Record]:
        """That actor of the owner is dead. Of one that does not have the name it changes nothing."""
        known = self._actors.get((namespace, name))
        if known is None or (known.life, known.actor) != (life, actor):
            return []
        return self._forget([(namespace, name)])

    def program_gone(self, life: int) -> list[Record]:
        """Its actors have ended with it."""
        return self._forget([key for key, actor in self._actors.items() if actor.life == life])

    def forget_absent(self, lives: Collection[int]) -> list[Record]:
        """Owners that have not come back to a new head by now will not. `lives`: of those who are there."""
        self.away_until = None
        return self._forget([key for key, actor in self._actors.items() if actor.life not in lives])

    def __iter__(self) -> Iterator[NamedActor]:
        return iter(self._actors.values())

    def __len__(self) -> int:
        return len(self._actors)

    def _forget(self, keys: Iterable[_Key]) -> list[Record]:
        records: list[Record] = []
        for key in keys:
            del self._actors[key]
            records.append(NameForgotten(*key))
        return records
