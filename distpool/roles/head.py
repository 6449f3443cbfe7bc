"""The head: knows who takes part and which nodes there are, and places leases on them. It never sees a call."""

from __future__ import annotations

from collections import Counter, deque
from itertools import count
from typing import Any, NamedTuple

from distpool.ids import Address, GroupId, LeaseId, NodeId
from distpool.logic.membership import Membership
from distpool.logic.outbox import Outbox
from distpool.logic.placement import Placement
from distpool.logic.shown import shown
from distpool.logic.standing import callers_told, held_told
from distpool.protocol.cluster import (
    AskStatus,
    EndGroup,
    Greeting,
    HeadKeyChanges,
    LeaseGranted,
    LeaveCluster,
    LetIn,
    NodeFacts,
    NodeGone,
    PeerLost,
    Refused,
    RequestsDropped,
    RevokeLease,
    StatusTold,
    Welcome,
)
from distpool.protocol.messages import GrantLease, RegisterNode, RequestLeases, ReturnLease
from distpool.roles.role import unexpected

_LIFE_BITS = 20
_COUNT_BITS = 32
_LONGEST_NAME = 128


class Request(NamedTuple):
    """So many leases that a caller waits for."""

    caller: Address
    group: GroupId
    wanted: int


class HeadRole:
    """Places leases on nodes. `membership`, `life`: of a cluster's head, which others have to greet first, and whose
    nodes get no more leases than they have CPUs."""

    def __init__(self, membership: Membership | None = None, life: int = 0, now: float = 0.0) -> None:
        self.outbox = Outbox()
        self.placement = Placement()
        self._membership = membership
        self._life = life
        self._began_at = now
        self._nodes: dict[Address, RegisterNode] = {}
        self._addresses: dict[NodeId, Address] = {}
        # Two lives of a head must not give the same.
        self._lease_ids = count((life % 2**_LIFE_BITS << _COUNT_BITS) + 1)
        self._waiting: deque[Request] = deque()
        # By their lives, which outlast their links.
        self._callers: dict[LeaseId, int] = {}
        self._let_in: LetIn | None = None
        self._coming: HeadKeyChanges | None = None

    def handle(self, sender: Address, message: Any, now: float) -> None:
        match message:
            case RequestLeases(group, wanted):
                self._waiting.append(Request(sender, group, wanted))
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
            case Greeting():
                self._greet(sender, message, now)
            case PeerLost() | LeaveCluster():
                self._forget(sender)
            case AskStatus():
                self.outbox.put(sender, self._status(sender, now))
            case _:
                raise unexpected("head", sender, message)

    def decide(self, now: float) -> float | None:
        self._grant_what_fits()
        return None

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
            request = self._waiting.popleft()
            self._grant(request)
            if request.wanted > 1:
                self._waiting.appendleft(request._replace(wanted=request.wanted - 1))

    def _has_room(self) -> bool:
        """Without it, requests wait: for a node, for a lease that is given back."""
        return self.placement.has_nodes() if self._membership is None else self.placement.has_room()

    def _grant(self, request: Request) -> None:
        lease = LeaseId(next(self._lease_ids))
        node = self.placement.place(lease)
        address = self._addresses[node]
        about = self._nodes[address]
        caller = None if self._membership is None else self._membership.find(request.caller)
        if not about.endpoint or caller is None:  # the node is the caller's own
            self.outbox.put(address, GrantLease(lease, request.group))
            return
        self._callers[lease] = caller.life
        self.outbox.put(address, GrantLease(lease, request.group, caller.life))
        granted = LeaseGranted(lease, request.group, node, about.endpoint, about.public)
        self.outbox.put(request.caller, granted)

    def _returned(self, sender: Address, lease: LeaseId) -> None:
        """By its node, which has ended what it had; or by its caller, who does not want it."""
        member = None if self._membership is None else self._membership.find(sender)
        if member is not None and self._callers.get(lease) == member.life:
            self._revoke(lease)
            return
        node = self.placement.node_of(lease)
        if node is not None and self._addresses[node] == sender:
            self._callers.pop(lease, None)
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
                self._remove_node(link)
        self.outbox.put(sender, Welcome(self._life, self.placement.cpus()))
        if self._coming is not None:
            self.outbox.put(sender, self._coming)

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
        for lease, caller in message.leases:  # of which a head that has just been started does not know
            self.placement.restore(lease, message.node)
            self._callers[lease] = caller
        if self._let_in is not None and message.endpoint:
            self.outbox.put(sender, self._let_in)

    def _forget(self, sender: Address) -> None:
        """It has left, or is lost: a node with the leases on it, a driver with those that it has."""
        self._drop_requests(sender)
        member = None if self._membership is None else self._membership.remove(sender)
        if member is not None:
            for lease in [lease for lease, caller in self._callers.items() if caller == member.life]:
                self._revoke(lease)
        self._remove_node(sender)

    def _remove_node(self, address: Address) -> None:
        node = self._nodes.pop(address, None)
        if node is None or self._membership is None:
            return
        del self._addresses[node.node]
        lost = self.placement.remove_node(node.node)
        for life in {self._callers.pop(lease) for lease in lost if lease in self._callers}:
            for caller in self._membership.links_of(life):
                self.outbox.put(caller, NodeGone(node.node))

    def node_names(self) -> set[NodeId]:
        return set(self._addresses)

    def _status(self, asker: Address, now: float) -> StatusTold:
        nodes = []
        for address, node in self._nodes.items():
            member = None if self._membership is None else self._membership.find(address)
            joined_s = 0.0 if member is None else now - member.joined_at
            nodes.append(
                NodeFacts(
                    node.node, node.cpus, self.placement.leases_on(node.node), node.memory_bytes, joined_s, log=node.log
                )
            )
        members = {} if self._membership is None else self._membership.members()
        drivers = {address: member for address, member in members.items() if address not in self._nodes}
        places = ((self.placement.node_of(lease), life) for lease, life in self._callers.items())
        held = Counter((node, life) for node, life in places if node is not None)
        waiting: Counter[Address] = Counter()
        for request in self._waiting:
            waiting[request.caller] += request.wanted
        callers = callers_told({to: who for to, who in drivers.items() if to != asker}, held, waiting, now)
        return StatusTold(nodes, len(drivers), now - self._began_at, callers, held_told(members.values(), held))
