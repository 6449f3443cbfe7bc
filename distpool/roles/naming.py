"""The head's names of actors: who asks for which, who has it, and who may come to those who have some."""

from __future__ import annotations

from typing import Any

import msgspec

from distpool.ids import Address
from distpool.logic.membership import Member, Membership
from distpool.logic.names import Names
from distpool.logic.outbox import Outbox
from distpool.protocol.cluster import NOT_GREETED, LetIn, Listens, Refused
from distpool.protocol.names import ClaimName, FindName, FreeName, NameTold
from distpool.protocol.records import Kept, Record
from distpool.protocol.standing import ActorFacts


class Naming:
    """Of one head, which shares its outbox, its records, and its members."""

    def __init__(
        self, outbox: Outbox, records: list[Record], membership: Membership, kept: Kept, away_until: float
    ) -> None:
        """`away_until`: when owners that have not come back to this head by then are forgotten."""
        self.names = Names(kept.names, away_until)
        self._outbox = outbox
        self._records = records
        self._membership = membership
        self._members: LetIn | None = None
        self._listeners: set[Address] = set()

    def hear(self, sender: Address, message: Any) -> bool:
        """Whether it is about names. Only what a driver says counts that has greeted."""
        match message:
            case Listens() | ClaimName() | FindName() | FreeName():
                member = self._membership.find(sender)
                if member is not None:
                    self._obey(sender, member, message)
                elif isinstance(message, ClaimName | FindName):
                    self._outbox.put(sender, Refused(NOT_GREETED))
                return True
        return False

    def _obey(self, sender: Address, member: Member, message: Any) -> None:
        match message:
            case Listens():
                self._listeners.add(sender)
                if self._members is not None:
                    self._outbox.put(sender, self._members)
            case ClaimName(number, actor):
                own = msgspec.structs.replace(actor, life=member.life, program=member.name)
                refusal = self.names.refusal(own)
                if refusal:
                    self._outbox.put(sender, NameTold(number, refusal=refusal))
                    return
                found, records = self.names.claim(own)
                self._records += records
                self._outbox.put(sender, NameTold(number, found))
            case FindName(number, namespace, name):
                found_one = self.names.find(namespace, name)
                others = self.names.others(namespace) if found_one is None else ()
                self._outbox.put(sender, NameTold(number, found_one, others))
            case FreeName(namespace, name, number):
                self._records += self.names.free(namespace, name, member.life, number)

    def let_in(self, members: LetIn) -> None:
        """Those who may connect to drivers that listen, from now on."""
        self._members = members
        for listener in self._listeners:
            self._outbox.put(listener, members)

    def link_gone(self, link: Address) -> None:
        """Its process may have another."""
        self._listeners.discard(link)

    def program_gone(self, life: int) -> None:
        self._records += self.names.program_gone(life)

    def decide(self, now: float) -> float | None:
        """When to look again for owners that have not come back to this head."""
        if self.names.away_until is None or now < self.names.away_until:
            return self.names.away_until
        self._records += self.names.forget_absent({member.life for member in self._membership.members().values()})
        return None

    def told(self) -> list[ActorFacts]:
        """For people."""
        there = {member.life for member in self._membership.members().values()}
        return [
            ActorFacts(
                actor.name,
                actor.namespace,
                actor.class_name,
                actor.program,
                actor.is_detached,
                "up" if actor.life in there else "away",
            )
            for actor in self.names
        ]
