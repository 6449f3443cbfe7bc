"""The head: knows who takes part and which nodes there are, and places leases on them. It never sees a call.

What it would have to know after a crash it puts into `records`, which whoever hosts it keeps before anything is sent.
"""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec

from distpool.config import SETTINGS, Settings
from distpool.ids import Address, NodeId
from distpool.logic.outbox import Outbox
from distpool.logic.placement import Placement
from distpool.logic.recovery import epoch_of, first_lease, node_kept, offer_of
from distpool.logic.resources import Room
from distpool.logic.shown import shown
from distpool.protocol.cluster import (
    NOT_GREETED,
    AskStatus,
    DrainNode,
    DrainTold,
    EndGroup,
    Greeting,
    HeadKeyChanges,
    LeaveCluster,
    LetIn,
    NodeDrains,
    PeerLost,
    Refused,
    StoreUse,
    WantToLeave,
    Welcome,
)
from distpool.protocol.messages import RegisterNode, RequestLeases, ReturnLease
from distpool.protocol.placing import ClosePlaces, LeaseWaits, OpenPlaces
from distpool.protocol.records import Kept, NodeForgotten, Record
from distpool.roles.leasing import Leasing, Nodes
from distpool.roles.role import unexpected

if TYPE_CHECKING:
    from distpool.logic.membership import Member, Membership
    from distpool.logic.questions import Questions
    from distpool.protocol.standing import StatusTold
    from distpool.roles.naming import Naming

_LONGEST_NAME = 128
_NOTHING_STORED = StoreUse(0, 0)


class HeadRole:
    """Places leases on nodes. `membership`, `life`: of a cluster's head, which others have to greet first, and whose
    nodes get no more leases than they have CPUs. `kept`: what the head before it has left."""

    def __init__(
        self,
        membership: Membership | None = None,
        life: int = 0,
        now: float = 0.0,
        settings: Settings = SETTINGS,
        kept: Kept | None = None,
    ) -> None:
        self.outbox = Outbox()
        self.records: list[Record] = []
        """Of a cluster's head: what has changed of that which is to be kept, in order."""
        self._membership = membership
        self._life = life
        self._began_at = now
        self._settings = settings
        kept = kept or Kept(life)
        self._lease_epoch = epoch_of(first_lease(kept.lease_epoch))
        self._nodes = Nodes()
        self._store_use: dict[Address, StoreUse] = {}
        self.leasing = Leasing(self.outbox, self.records, self._nodes, membership, settings, kept, now)
        self._recovery = self.leasing.recovery
        self._let_in: LetIn | None = None
        self._coming: HeadKeyChanges | None = None
        self.naming: Naming | None = None
        self._questions: Questions | None = None
        if membership is not None:
            # What few programs need: the head of one machine has no members.
            away_until = now + settings.head_gone_limit_s
            names = import_module("distpool.roles.naming")
            self.naming = names.Naming(self.outbox, self.records, membership, kept, away_until)
            self._questions = import_module("distpool.logic.questions").Questions(self.outbox)

    def handle(self, sender: Address, message: Any, now: float) -> None:
        match message:
            case RequestLeases() | RegisterNode() | OpenPlaces() if self._is_stranger(sender):
                self.outbox.put(sender, Refused(NOT_GREETED))
            case RequestLeases():
                self.leasing.request(sender, message, now)
            case ReturnLease(lease):
                self.leasing.returned(sender, lease)
            case LeaseWaits():
                self.leasing.waits(sender, message)
            case OpenPlaces():
                self.leasing.open_places(sender, message)
            case ClosePlaces(number):
                self.leasing.close_places(sender, number)
            case EndGroup(group):
                self.leasing.end_group(sender, group, now)
            case RegisterNode():
                self._register(sender, message)
            case StoreUse():
                if sender in self._nodes.by_link:
                    self._store_use[sender] = message
            case DrainNode(node):
                if node in self._nodes.links:
                    self._drain(node, message)
                    self.outbox.put(sender, DrainTold(node, self.placement.leases_on(node)))
                else:
                    names = ", ".join(sorted(self._nodes.links)) or "none"
                    self.outbox.put(sender, DrainTold(node, 0, f"there is no node {node!r}; there are: {names}"))
            case WantToLeave(limit_s):
                if sender in self._nodes.by_link:  # else it is about to register, and says so again after that
                    node = self._nodes.by_link[sender].node
                    self._drain(node, DrainNode(node, limit_s))
            case Greeting():
                self._greet(sender, message, now)
            case PeerLost() | LeaveCluster():
                self._forget(sender, is_lost=isinstance(message, PeerLost))
            case AskStatus():
                self.outbox.put(sender, self.status(sender, now))
            case _:
                if not self._hear_member(sender, message):
                    raise unexpected("head", sender, message)

    def _hear_member(self, sender: Address, message: Any) -> bool:
        """Whether it is about names of actors, or what people want to know of nodes."""
        if self.naming is None or self._questions is None:
            return False
        return self.naming.hear(sender, message) or self._questions.hear(sender, message, self._nodes.links)

    def decide(self, now: float) -> float | None:
        absent_at = None if self.naming is None else self.naming.decide(now)
        if self.leasing.is_idle():
            return absent_at
        self.leasing.grant_what_fits(now)
        due = self.leasing.tell_who_waits(now)
        recovers_until = self.leasing.recovers_until(now)
        return min([*due, *(at for at in (recovers_until, absent_at) if at is not None)], default=None)

    @property
    def placement(self) -> Placement:
        return self.leasing.placement

    def let_in(self, members: LetIn) -> None:
        """Those who may connect to nodes from now on."""
        self._let_in = members
        for node in self._nodes.by_link:
            self.outbox.put(node, members)
        if self.naming is not None:
            self.naming.let_in(members)

    def members(self) -> list[Address]:
        """Those who have joined, by their links."""
        return [] if self._membership is None else self._membership.addresses()

    def change_key(self, coming: HeadKeyChanges | None) -> None:
        """All members are told what the head's key will be, and whoever joins until it is so (None)."""
        self._coming = coming
        if coming is not None:
            for member in self.members():
                self.outbox.put(member, coming)

    # Members --------------------------------------------------------------------------------------------------------

    def _is_stranger(self, address: Address) -> bool:
        return self._membership is not None and self._membership.find(address) is None

    def _find(self, address: Address) -> Member | None:
        return None if self._membership is None else self._membership.find(address)

    def _greet(self, sender: Address, greeting: Greeting, now: float) -> None:
        if self._membership is None:
            raise unexpected("head", sender, greeting)
        refusal = self._membership.greet(sender, greeting, now)
        if refusal:
            self.outbox.put(sender, Refused(refusal))
            return
        for link in self._membership.links_of(greeting.life):
            if link != sender:  # the process has made a new one, and will not use the old one again
                self._membership.remove(link)
                self.leasing.waiting.drop(link)
                self._remove_node(link, is_lost=True)
                self._link_gone(link)
        cpus = self.placement.cpus() + self._recovery.cpus()
        self.outbox.put(sender, Welcome(self._life, cpus, self._lease_epoch))
        if self._coming is not None:
            self.outbox.put(sender, self._coming)
        for node in self._nodes.links:
            if self.placement.is_draining(node) and greeting.life in self.leasing.callers_on(node):
                self.outbox.put(sender, NodeDrains(node))

    def _register(self, sender: Address, message: RegisterNode) -> None:
        if not message.node or shown(message.node, _LONGEST_NAME) != message.node:
            text = f"a node's name has 1 to {_LONGEST_NAME} characters, all of which can be printed"
            self.outbox.put(sender, Refused(text))
            return
        holder = self._nodes.links.get(message.node)
        if holder is not None and holder != sender:
            self.outbox.put(
                sender, Refused(f"there is a node of the name {message.node!r} already: give this one another name")
            )
            return
        before = self._nodes.by_link.get(sender)
        if before is not None and before.node != message.node:
            self.outbox.put(sender, Refused(f"this process is node {before.node!r} already"))
            return
        self._nodes.by_link[sender] = message
        self._nodes.links[message.node] = sender
        self.leasing.add_node(message.node, offer_of(message))
        member = self._find(sender)
        if member is not None:
            self._take_up(sender, message, member.life)
        if self._let_in is not None and message.endpoint:
            self.outbox.put(sender, self._let_in)

    def _take_up(self, sender: Address, message: RegisterNode, life: int) -> None:
        """A node has come, or come back: the leases that it claims are its own, or it is to end them."""
        node = message.node
        found = self.leasing.take_up(sender, message)
        before = self._recovery.away.get(node)
        self.records += self._recovery.came_back(node, found)
        self.records.append(node_kept(message, life))
        if before is not None and before.life == life and before.drain_s >= 0:
            self._drain(node, DrainNode(node, before.drain_s))

    def _drain(self, node: NodeId, message: DrainNode) -> None:
        """One that is there: it is told first that no more leases come, and then those who have some."""
        address = self._nodes.links[node]
        self.placement.drain(node)
        about = self._nodes.by_link[address]
        member = self._find(address)
        if member is not None:
            self.records.append(node_kept(about, member.life, max(0.0, message.limit_s)))
        self.outbox.put(address, message)
        for life in self.leasing.callers_on(node):
            for caller in self._links_of(life):
                self.outbox.put(caller, NodeDrains(node))

    def _links_of(self, life: int) -> list[Address]:
        return [] if self._membership is None else self._membership.links_of(life)

    def _forget(self, sender: Address, *, is_lost: bool) -> None:
        """It has left, or is lost: a node with the leases on it, a driver with those that it has."""
        self.leasing.waiting.drop(sender)
        member = None if self._membership is None else self._membership.remove(sender)
        if member is not None:
            self.leasing.revoke_all_of(member.life)
        self._link_gone(sender)
        if member is not None and self.naming is not None:
            self.naming.program_gone(member.life)
        self._remove_node(sender, is_lost=is_lost)

    def _link_gone(self, link: Address) -> None:
        if self.naming is not None and self._questions is not None:
            self.naming.link_gone(link)
            self._questions.forget(link)

    def _remove_node(self, address: Address, *, is_lost: bool) -> None:
        """`is_lost`: it may come back, and claim the leases that it had."""
        node = self._nodes.by_link.pop(address, None)
        self._store_use.pop(address, None)
        if node is None or self._membership is None:
            return
        del self._nodes.links[node.node]
        self.leasing.lose_node(node.node, may_come_back=is_lost)
        self.records.append(NodeForgotten(node.node))

    def node_names(self) -> set[NodeId]:
        return set(self._nodes.links)

    def status(self, asker: Address, now: float) -> StatusTold:
        """How things stand, for people."""
        from distpool.logic.standing import callers_told, held_by, held_told, node_told  # most programs do not ask
        from distpool.protocol.standing import StatusTold

        nodes = []
        for address, node in self._nodes.by_link.items():
            member = self._find(address)
            joined_s = 0.0 if member is None else now - member.joined_at
            leases = self.placement.leases_on(node.node)
            facts = node_told(self.placement.rooms[node.node], leases, joined_s)
            use = self._store_use.get(address, _NOTHING_STORED)
            state = "draining" if self.placement.is_draining(node.node) else "up"
            about = {"state": state, "log": node.log, "objects": use.objects, "store_bytes": use.used_bytes}
            nodes.append(msgspec.structs.replace(facts, **about))
        for away in self._recovery.away.values():
            facts = node_told(Room(away.node, offer_of(away)), self._recovery.leases_on(away.node), 0.0)
            nodes.append(msgspec.structs.replace(facts, state="away"))
        members = {} if self._membership is None else self._membership.members()
        drivers = {address: member for address, member in members.items() if address not in self._nodes.by_link}
        held = held_by(self.leasing.callers, self.placement)
        waiting: Counter[Address] = Counter()
        for request in self.leasing.waiting:
            waiting[request.caller] += request.wanted
        callers = callers_told({to: who for to, who in drivers.items() if to != asker}, held, waiting, now)
        pending = self.leasing.pending(members, now)
        actors = [] if self.naming is None else self.naming.told()
        return StatusTold(
            nodes, len(drivers), now - self._began_at, callers, held_told(members.values(), held), pending, actors
        )
