"""The head's leases: who asks for which, who gets them where, and who has them until when."""

from __future__ import annotations

from importlib import import_module
from itertools import count
from typing import TYPE_CHECKING

import msgspec

from distpool.config import Settings
from distpool.ids import CLIENT, Address, GroupId, LeaseId, NodeId
from distpool.logic.known_nodes import KnownNodes
from distpool.logic.outbox import Outbox
from distpool.logic.placement import Placed, Placement
from distpool.logic.recovery import Recovery, first_lease
from distpool.logic.request_queue import Request, RequestQueue
from distpool.logic.reservations import Reservations
from distpool.logic.resources import is_sound, shape_text
from distpool.logic.shortage import never_places_text, never_text, why_it_waits, why_places_wait
from distpool.logic.shown import shown
from distpool.protocol.cluster import LeaseGranted, NodeGone, RequestsDropped, RequestsWait, RevokeLease
from distpool.protocol.messages import GrantLease, RegisterNode, RequestLeases
from distpool.protocol.placing import BundleStrategy, LeaseWaits, OpenPlaces, PendingFacts, PlacesTold, RequestsRefused
from distpool.protocol.records import Kept, LeaseKept, Record
from distpool.protocol.resources import Offer, Shape

if TYPE_CHECKING:
    from distpool.logic.bundles import PlacementGroups
    from distpool.logic.membership import Member, Membership


class Nodes(msgspec.Struct):
    """Those that have registered, by their links, and their links by their names."""

    by_link: dict[Address, RegisterNode] = msgspec.field(default_factory=dict)
    links: dict[NodeId, Address] = msgspec.field(default_factory=dict)


class Leasing:
    """Of one head, which shares its outbox, its records, and what it knows of members and nodes."""

    def __init__(
        self,
        outbox: Outbox,
        records: list[Record],
        nodes: Nodes,
        membership: Membership | None,
        settings: Settings,
        kept: Kept,
        now: float,
    ) -> None:
        self.placement = Placement()
        self._reservations = Reservations()
        self.waiting = RequestQueue(self.placement, reservations=self._reservations)
        self.recovery = Recovery(kept, now + settings.head_gone_limit_s)
        self._groups_kept = kept.places
        self._groups: PlacementGroups | None = None
        self._is_recovering = bool(kept.nodes or kept.places)
        self.callers: dict[LeaseId, int] = {}
        """By their lives, which outlast their links."""
        self._known = KnownNodes(self.recovery.away)
        self._outbox = outbox
        self._records = records
        self._nodes = nodes
        self._membership = membership
        self._settings = settings
        if membership is not None:
            self._groups = self.groups
        self._lease_ids = count(first_lease(kept.lease_epoch))

    @property
    def groups(self) -> PlacementGroups:
        """The placement groups. A program's own head makes them with the first, as few programs have some."""
        if self._groups is None:
            bundles = import_module("distpool.logic.bundles")
            self._groups = bundles.PlacementGroups(self.placement, self._groups_kept, self._reservations)
        return self._groups

    # Asked for and granted ------------------------------------------------------------------------------------------

    def request(self, sender: Address, message: RequestLeases, now: float) -> None:
        group, wanted, shape = message.group, message.count, message.shape
        if wanted <= 0:
            return
        if not is_sound(shape):
            self._outbox.put(sender, RequestsRefused(group, wanted, "what was asked for makes no sense to this head"))
            return
        if shape.place is not None:
            refusal = self.groups.refusal(shape, shape.place)
            if refusal:
                self._outbox.put(sender, RequestsRefused(group, wanted, refusal))
                return
        elif not (self.placement.could_ever(shape) or self._known.could_ever(shape)):
            self._outbox.put(sender, RequestsRefused(group, wanted, never_text(shape, self._known.offers())))
            return
        tell_at = now + self._settings.tell_of_wait_after_s
        self.waiting.add(Request(sender, self._life_of(sender), group, shape, wanted, now, tell_at))

    def is_idle(self) -> bool:
        """Nobody waits for anything, as nearly always; and this is asked in each turn."""
        return not (self.waiting or self._groups or self._is_recovering)

    def grant_what_fits(self, now: float) -> None:
        """Placement groups first: they need much at once."""
        if self._groups:
            self._records += self._groups.place_waiting(lambda shape, node: self.waiting.passed_by(shape, node, now))
            self._tell_of_groups()
        for request, lease, placed in self.waiting.grants(self._lease_ids, now):
            self._grant(request, lease, placed)
            if self._groups:
                self._groups.passed_by(request.shape, placed.node, now)

    def _grant(self, request: Request, lease: LeaseId, placed: Placed) -> None:
        node, devices = placed
        address = self._nodes.links[node]
        about = self._nodes.by_link[address]
        caller = None if self._membership is None else self._membership.find(request.caller)
        group, shape = request.group, request.shape
        if not about.endpoint or caller is None:  # the node is the caller's own
            self._outbox.put(address, GrantLease(lease, group, 0, shape, devices))
            return
        self.callers[lease] = caller.life
        self._records.append(LeaseKept(lease, node, caller.life))
        self._outbox.put(address, GrantLease(lease, group, caller.life, shape, devices))
        self._outbox.put(request.caller, LeaseGranted(lease, group, node, about.endpoint, about.public))

    def end_group(self, sender: Address, group: GroupId, now: float) -> None:
        # First what there is room for: a pool that is closed at once has had its workers, as on one machine.
        self.grant_what_fits(now)
        self._outbox.put(sender, RequestsDropped(group, self.waiting.drop(sender, group)))

    def tell_who_waits(self, now: float) -> list[float]:
        """Why, once; and when others are to be told."""
        due: list[float] = []
        for request in self.waiting:
            if request.tell_at is not None and now >= request.tell_at:
                request.tell_at = None
                self._outbox.put(request.caller, RequestsWait(request.group, self._why(request)))
            elif request.tell_at is not None:
                due.append(request.tell_at)
        return due

    def _why(self, request: Request) -> str:
        if request.shape.place is not None:
            return self.groups.why_it_waits(request.shape.place)
        return why_it_waits(self.placement, request.shape, self.waiting.held_for(request))

    def pending(self, members: dict[Address, Member], now: float) -> list[PendingFacts]:
        """What callers wait for, oldest first: what one of them needs of one shape stands in one line."""
        lines: dict[tuple[Address, Shape], list[Request]] = {}
        for request in self.waiting:
            lines.setdefault((request.caller, request.shape), []).append(request)
        told = []
        for (caller, shape), requests in lines.items():
            name = members[caller].name if caller in members else str(caller)
            wanted = sum(request.wanted for request in requests)
            waits_s = now - requests[0].asked_at
            told.append(PendingFacts(name, wanted, shown(shape_text(shape)), waits_s, shown(self._why(requests[0]))))
        return told

    # Placement groups -----------------------------------------------------------------------------------------------

    def open_places(self, sender: Address, message: OpenPlaces) -> None:
        group, shapes, strategy = message.group, message.bundles, message.strategy
        if not shapes or not all(map(is_sound, shapes)) or strategy not in set(BundleStrategy):
            text = "the bundles that were asked for make no sense to this head"
            self._outbox.put(sender, PlacesTold(group, [], text, True))
            return
        offers = self._known.offers()
        if offers and not self.groups.could_ever(offers, shapes, strategy):
            self._outbox.put(sender, PlacesTold(group, [], never_places_text(shapes, strategy, offers), True))
            return
        self.groups.open(group, self._life_of(sender), strategy, shapes, self._lease_ids)

    def close_places(self, sender: Address, group: int) -> None:
        found = self.groups.find(group)
        if found is not None and found.life == self._life_of(sender):
            self._end_places(group)

    def _end_places(self, group: int) -> None:
        """With all leases that are in it, or should have been."""
        for lease in list(self.placement.leases()):
            place = self.placement.place_of(lease)
            if place is not None and place[0] == group:
                self.revoke(lease)
        from distpool.logic.bundles import REMOVED  # as the groups themselves

        for request in list(self.waiting):
            if request.shape.place is not None and request.shape.place[0] == group:
                dropped = self.waiting.drop(request.caller, request.group)
                self._outbox.put(request.caller, RequestsRefused(request.group, dropped, REMOVED))
        self._records += self.groups.remove(group)

    def _tell_of_groups(self) -> None:
        for group in self.groups.to_be_told():
            nodes = [bundle.node for bundle in group.bundles] if group.is_ready() else []
            missing = [bundle.shape for bundle in group.bundles if not bundle.node]
            why = "" if nodes else why_places_wait(self.placement, missing, group.strategy)
            for caller in [CLIENT] if self._membership is None else self._membership.links_of(group.life):
                self._outbox.put(caller, PlacesTold(group.id, nodes, why))

    def recovers_until(self, now: float) -> float | None:
        """Until when nodes and callers of before may come back. Then they will not, nor are their groups kept."""
        until = self.recovery.away_until
        if not self._is_recovering or now < until:
            return until if self._is_recovering else None
        self._is_recovering = False
        self._records += self.recovery.forget_away()
        members = {} if self._membership is None else self._membership.members()
        self._records += self.groups.forget_away(member.life for member in members.values())
        return None

    # Had and given back ---------------------------------------------------------------------------------------------

    def returned(self, sender: Address, lease: LeaseId) -> None:
        """By its node, which has ended what it had; or by its caller, who does not want it."""
        about = self._nodes.by_link.get(sender)
        if about is not None and self.placement.has_ended(lease, about.node):
            return
        if self._is_of(sender, lease):
            self.revoke(lease)
            return
        node = self.placement.node_of(lease)
        if node is not None and self._nodes.links[node] == sender:
            if self.callers.pop(lease, None) is not None:
                self._records += self.recovery.end(lease)
            place = self.placement.place_of(lease)
            self.placement.free(lease)
            self.waiting.over(lease)
            if self._groups:
                self._records += self._groups.lease_ended(place)

    def waits(self, sender: Address, message: LeaseWaits) -> None:
        """By its caller. Its node is told too: it says so again to the next head."""
        node = self.placement.node_of(message.lease)
        if node is None or not (self._membership is None or self._is_of(sender, message.lease)):
            return
        self.placement.wait(message.lease, waits=message.waits)
        self._outbox.put(self._nodes.links[node], message)

    def _is_of(self, sender: Address, lease: LeaseId) -> bool:
        member = None if self._membership is None else self._membership.find(sender)
        return member is not None and self.callers.get(lease) == member.life

    def revoke(self, lease: LeaseId) -> None:
        node = self.placement.node_of(lease)
        if node is not None:
            self._outbox.put(self._nodes.links[node], RevokeLease(lease))

    def revoke_all_of(self, life: int) -> None:
        """Its process is gone."""
        for group in [group.id for group in self.groups if group.life == life]:
            self._end_places(group)
        for lease in [lease for lease, caller in self.callers.items() if caller == life]:
            if self.placement.place_of(lease) is None:
                self.revoke(lease)

    def callers_on(self, node: NodeId) -> set[int]:
        """The lives of those who have leases there."""
        return {life for lease, life in self.callers.items() if self.placement.node_of(lease) == node}

    # Nodes that come and go -----------------------------------------------------------------------------------------

    def add_node(self, node: NodeId, offer: Offer) -> None:
        self.placement.add_node(node, offer)
        self._known.add(node, offer)

    def take_up(self, sender: Address, message: RegisterNode) -> list[LeaseId]:
        """A node has come, or come back: of the leases that it claims, those that are its own. It is to end others."""
        node = message.node
        found = []
        self.groups.node_came(node)
        for claim in message.leases:
            lease = claim.lease
            where = self.placement.node_of(lease)
            is_new = where is None and self.recovery.is_at(lease, claim.caller, node)
            if is_new and self.placement.can_restore(claim, node):
                self.placement.restore(claim, node)
                self.waiting.granted(lease, claim.caller, claim.shape)
                self.callers[lease] = claim.caller
                self._records.append(LeaseKept(lease, node, claim.caller))
                found.append(lease)
            elif where != node:
                self.placement.await_end(claim, node)
                self._outbox.put(sender, RevokeLease(lease))
        return found

    def lose_node(self, node: NodeId, *, may_come_back: bool) -> None:
        """The leases on it are over; if it comes back, it may claim them in vain."""
        callers = set()
        for lease in self.placement.remove_node(node):
            self.waiting.over(lease)
            life = self.callers.pop(lease, None)
            if life is not None:
                callers.add(life)
                recovery = self.recovery
                self._records += recovery.lose(lease, node, life) if may_come_back else recovery.end(lease)
        self._records += self.groups.lose_node(node)
        if self._membership is not None:
            for life in callers:
                for caller in self._membership.links_of(life):
                    self._outbox.put(caller, NodeGone(node))

    def _life_of(self, address: Address) -> int:
        member = None if self._membership is None else self._membership.find(address)
        return 0 if member is None else member.life
