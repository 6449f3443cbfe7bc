"""The head: knows who takes part and which nodes there are, and places leases on them. It never sees a call.

What it would have to know after a crash it puts into `records`, which whoever hosts it keeps before anything is sent.
"""

from __future__ import annotations

from collections import Counter, deque
from itertools import count
from typing import Any

import msgspec

from distpool.config import SETTINGS, Settings
from distpool.ids import Address, GroupId, LeaseId, NodeId
from distpool.logic.membership import Member, Membership
from distpool.logic.outbox import Outbox
from distpool.logic.placement import Placement
from distpool.logic.recovery import Recovery, epoch_of, first_lease
from distpool.logic.shown import shown
from distpool.logic.standing import callers_told, held_told
from distpool.protocol.cluster import (
    AskStatus,
    DrainNode,
    DrainTold,
    EndGroup,
    Greeting,
    HeadKeyChanges,
    LeaseGranted,
    LeaveCluster,
    LetIn,
    NodeDrains,
    NodeFacts,
    NodeGone,
    PeerLost,
    Refused,
    RequestsDropped,
    RequestsWait,
    RevokeLease,
    StatusTold,
    WantToLeave,
    Welcome,
)
from distpool.protocol.messages import GrantLease, RegisterNode, RequestLeases, ReturnLease
from distpool.protocol.objects import StoreUse
from distpool.protocol.placing import LeaseWaits
from distpool.protocol.records import Kept, LeaseKept, NodeForgotten, NodeKept, Record
from distpool.roles.role import unexpected

_LONGEST_NAME = 128
_NOTHING_STORED = StoreUse(0, 0)


class Request(msgspec.Struct):
    """So many leases that a caller waits for. `tell_at`: when it is told why; None: it was."""

    caller: Address
    group: GroupId
    wanted: int
    tell_at: float | None


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
        self.placement = Placement()
        self.records: list[Record] = []
        """Of a cluster's head: what has changed of that which is to be kept, in order."""
        self._membership = membership
        self._life = life
        self._began_at = now
        self._settings = settings
        kept = kept or Kept(life)
        self._recovery = Recovery(kept, now + settings.head_gone_limit_s)
        self._lease_epoch = epoch_of(first_lease(kept.lease_epoch))
        self._nodes: dict[Address, RegisterNode] = {}
        self._store_use: dict[Address, StoreUse] = {}
        self._addresses: dict[NodeId, Address] = {}
        self._lease_ids = count(first_lease(kept.lease_epoch))
        self._waiting: deque[Request] = deque()
        # By their lives, which outlast their links.
        self._callers: dict[LeaseId, int] = {}
        self._let_in: LetIn | None = None
        self._coming: HeadKeyChanges | None = None

    def handle(self, sender: Address, message: Any, now: float) -> None:
        match message:
            case RequestLeases(group, wanted):
                if wanted > 0:
                    self._waiting.append(Request(sender, group, wanted, now + self._settings.tell_of_wait_after_s))
            case LeaseWaits(lease, waits):
                self.placement.wait(lease, waits=waits)
            case ReturnLease(lease):
                self._returned(sender, lease)
            case EndGroup(group):
                # First what there is room for: a pool that is closed at once has had its workers, as on one machine.
                self._grant_what_fits()
                dropped = sum(
                    request.wanted for request in self._waiting if (request.caller, request.group) == (sender, group)
                )
                self._drop_requests(sender, group)
                self.outbox.put(sender, RequestsDropped(group, dropped))
            case RegisterNode():
                self._register(sender, message)
            case StoreUse():
                if sender in self._nodes:
                    self._store_use[sender] = message
            case DrainNode(node):
                if node in self._addresses:
                    self._drain(node, message)
                    self.outbox.put(sender, DrainTold(node, self.placement.leases_on(node)))
                else:
                    names = ", ".join(sorted(self._addresses)) or "none"
                    self.outbox.put(sender, DrainTold(node, 0, f"there is no node {node!r}; there are: {names}"))
            case WantToLeave(limit_s):
                if sender in self._nodes:  # else it is about to register, and says so again after that
                    node = self._nodes[sender].node
                    self._drain(node, DrainNode(node, limit_s))
            case Greeting():
                self._greet(sender, message, now)
            case PeerLost() | LeaveCluster():
                self._forget(sender, is_lost=isinstance(message, PeerLost))
            case AskStatus():
                self.outbox.put(sender, self._status(sender, now))
            case _:
                raise unexpected("head", sender, message)

    def decide(self, now: float) -> float | None:
        self._grant_what_fits()
        if self._membership is None:
            return None
        if self._recovery.away and now >= self._recovery.away_until:
            self.records += self._recovery.forget_away()
        due = [self._recovery.away_until] if self._recovery.away else []
        for request in self._waiting:
            if request.tell_at is not None and now >= request.tell_at:
                request.tell_at = None
                self.outbox.put(request.caller, RequestsWait(request.group, self._why_they_wait()))
            elif request.tell_at is not None:
                due.append(request.tell_at)
        return min(due, default=None)

    def let_in(self, members: LetIn) -> None:
        """Those who may connect to nodes from now on."""
        self._let_in = members
        for node in self._nodes:
            self.outbox.put(node, members)

    def members(self) -> list[Address]:
        """Those who have joined, by their links."""
        return [] if self._membership is None else self._membership.addresses()

    def change_key(self, coming: HeadKeyChanges | None) -> None:
        """All members are told what the head's key will be, and whoever joins until it is so (None)."""
        self._coming = coming
        if coming is not None:
            for member in self.members():
                self.outbox.put(member, coming)

    # Leases ---------------------------------------------------------------------------------------------------------

    def _grant_what_fits(self) -> None:
        while self._waiting and self._has_room():
            request = self._waiting[0]
            self._grant(request)
            request.wanted -= 1
            if not request.wanted:
                self._waiting.popleft()

    def _has_room(self) -> bool:
        """Without it, requests wait: for a node, for a lease that is given back."""
        return self.placement.has_nodes() if self._membership is None else self.placement.has_room()

    def _why_they_wait(self) -> str:
        cpus = self.placement.cpus()
        if cpus:
            return f"the cluster's {cpus} CPUs are in use" if cpus > 1 else "the cluster's only CPU is in use"
        return "all nodes are being drained" if self._nodes else "no node has joined; `distpool node` starts one"

    def _grant(self, request: Request) -> None:
        lease = LeaseId(next(self._lease_ids))
        node = self.placement.place(lease)
        address = self._addresses[node]
        about = self._nodes[address]
        caller = self._find(request.caller)
        if not about.endpoint or caller is None:  # the node is the caller's own
            self.outbox.put(address, GrantLease(lease, request.group))
            return
        self._callers[lease] = caller.life
        self.records.append(LeaseKept(lease, node, caller.life))
        self.outbox.put(address, GrantLease(lease, request.group, caller.life))
        granted = LeaseGranted(lease, request.group, node, about.endpoint, about.public)
        self.outbox.put(request.caller, granted)

    def _returned(self, sender: Address, lease: LeaseId) -> None:
        """By its node, which has ended what it had; or by its caller, who does not want it."""
        about = self._nodes.get(sender)
        if about is not None and self.placement.has_ended(lease, about.node):
            return
        member = self._find(sender)
        if member is not None and self._callers.get(lease) == member.life:
            self._revoke(lease)
            return
        node = self.placement.node_of(lease)
        if node is not None and self._addresses[node] == sender:
            if self._callers.pop(lease, None) is not None:
                self.records += self._recovery.end(lease)
            self.placement.free(lease)

    def _revoke(self, lease: LeaseId) -> None:
        node = self.placement.node_of(lease)
        if node is not None:
            self.outbox.put(self._addresses[node], RevokeLease(lease))

    def _drop_requests(self, caller: Address, group: GroupId | None = None) -> None:
        self._waiting = deque(
            request
            for request in self._waiting
            if request.caller != caller or (group is not None and request.group != group)
        )

    # Members --------------------------------------------------------------------------------------------------------

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
                self._drop_requests(link)
                self._remove_node(link, is_lost=True)
        cpus = self.placement.cpus() + self._recovery.cpus()
        self.outbox.put(sender, Welcome(self._life, cpus, self._lease_epoch))
        if self._coming is not None:
            self.outbox.put(sender, self._coming)
        for node in self._nodes.values():
            if self.placement.is_draining(node.node) and greeting.life in self._callers_on(node.node):
                self.outbox.put(sender, NodeDrains(node.node))

    def _register(self, sender: Address, message: RegisterNode) -> None:
        if self._membership is not None and self._membership.find(sender) is None:
            self.outbox.put(sender, Refused("whoever offers workers has to greet first"))
            return
        if not message.node or shown(message.node, _LONGEST_NAME) != message.node:
            text = f"a node's name has 1 to {_LONGEST_NAME} characters, all of which can be printed"
            self.outbox.put(sender, Refused(text))
            return
        holder = self._addresses.get(message.node)
        if holder is not None and holder != sender:
            self.outbox.put(
                sender, Refused(f"there is a node of the name {message.node!r} already: give this one another name")
            )
            return
        self._nodes[sender] = message
        self._addresses[message.node] = sender
        self.placement.add_node(message.node, message.cpus)
        member = self._find(sender)
        if member is not None:
            self._take_up(sender, message, member.life)
        if self._let_in is not None and message.endpoint:
            self.outbox.put(sender, self._let_in)

    def _take_up(self, sender: Address, message: RegisterNode, life: int) -> None:
        """A node has come, or come back: the leases that it claims are its own, or it is to end them."""
        node = message.node
        found = []
        for lease, caller in message.leases:
            where = self.placement.node_of(lease)
            if where is None and self._recovery.is_at(lease, caller, node) and self.placement.has_free(node):
                self.placement.restore(lease, node)
                self._callers[lease] = caller
                self.records.append(LeaseKept(lease, node, caller))
                found.append(lease)
            elif where != node:
                self.placement.await_end(lease, node)
                self.outbox.put(sender, RevokeLease(lease))
        before = self._recovery.away.get(node)
        self.records += self._recovery.came_back(node, found)
        self.records.append(NodeKept(node, life, message.cpus, message.memory_bytes))
        if before is not None and before.life == life and before.drain_s >= 0:
            self._drain(node, DrainNode(node, before.drain_s))

    def _drain(self, node: NodeId, message: DrainNode) -> None:
        """One that is there: it is told first that no more leases come, and then those who have some."""
        address = self._addresses[node]
        self.placement.drain(node)
        about = self._nodes[address]
        member = self._find(address)
        if member is not None:
            drain_s = max(0.0, message.limit_s)
            self.records.append(NodeKept(node, member.life, about.cpus, about.memory_bytes, drain_s))
        self.outbox.put(address, message)
        for life in self._callers_on(node):
            for caller in self._links_of(life):
                self.outbox.put(caller, NodeDrains(node))

    def _callers_on(self, node: NodeId) -> set[int]:
        """The lives of those who have leases there."""
        return {life for lease, life in self._callers.items() if self.placement.node_of(lease) == node}

    def _links_of(self, life: int) -> list[Address]:
        return [] if self._membership is None else self._membership.links_of(life)

    def _forget(self, sender: Address, *, is_lost: bool) -> None:
        """It has left, or is lost: a node with the leases on it, a driver with those that it has."""
        self._drop_requests(sender)
        member = None if self._membership is None else self._membership.remove(sender)
        if member is not None:
            for lease in [lease for lease, caller in self._callers.items() if caller == member.life]:
                self._revoke(lease)
        self._remove_node(sender, is_lost=is_lost)

    def _remove_node(self, address: Address, *, is_lost: bool) -> None:
        """`is_lost`: it may come back, and claim the leases that it had."""
        node = self._nodes.pop(address, None)
        self._store_use.pop(address, None)
        if node is None or self._membership is None:
            return
        del self._addresses[node.node]
        callers = set()
        for lease in self.placement.remove_node(node.node):
            life = self._callers.pop(lease, None)
            if life is not None:
                callers.add(life)
                recovery = self._recovery
                self.records += recovery.lose(lease, node.node, life) if is_lost else recovery.end(lease)
        self.records.append(NodeForgotten(node.node))
        for life in callers:
            for caller in self._membership.links_of(life):
                self.outbox.put(caller, NodeGone(node.node))

    def node_names(self) -> set[NodeId]:
        return set(self._addresses)

    def _status(self, asker: Address, now: float) -> StatusTold:
        nodes = []
        for address, node in self._nodes.items():
            member = self._find(address)
            joined_s = 0.0 if member is None else now - member.joined_at
            state = "draining" if self.placement.is_draining(node.node) else "up"
            leases = self.placement.leases_on(node.node)
            use = self._store_use.get(address, _NOTHING_STORED)
            facts = NodeFacts(node.node, node.cpus, leases, node.memory_bytes, joined_s, state, node.log)
            nodes.append(msgspec.structs.replace(facts, objects=use.objects, store_bytes=use.used_bytes))
        for away in self._recovery.away.values():
            leases = self._recovery.leases_on(away.node)
            nodes.append(NodeFacts(away.node, away.cpus, leases, away.memory_bytes, 0.0, "away"))
        members = {} if self._membership is None else self._membership.members()
        drivers = {address: member for address, member in members.items() if address not in self._nodes}
        places = ((self.placement.node_of(lease), life) for lease, life in self._callers.items())
        held = Counter((node, life) for node, life in places if node is not None)
        waiting: Counter[Address] = Counter()
        for request in self._waiting:
            waiting[request.caller] += request.wanted
        callers = callers_told({to: who for to, who in drivers.items() if to != asker}, held, waiting, now)
        return StatusTold(nodes, len(drivers), now - self._began_at, callers, held_told(members.values(), held))
