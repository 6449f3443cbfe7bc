"""Requests for leases that wait at the head: who goes first, and what is held free for whom.

Of several callers the one goes first that has the fewest leases of what it asks for; of one caller's requests for the
same shape the oldest. One that does not fit now lets others pass, on other nodes and on those where it has no use for
what is free. When too many have passed it, or for too long, a node is chosen for it, where nothing that it needs is
given to others any more: so a large request gets its room as soon as those who have it now are done. Nobody is said to
have been passed by callers that have fewer leases: they are before it in the queue.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from functools import partial
from heapq import heapify, heappop, heappush

import msgspec

from distpool.ids import Address, GroupId, LeaseId, NodeId
from distpool.logic.placement import Placed, Placement
from distpool.logic.reservations import PATIENCE, Patience, Reservations, compete, missing
from distpool.logic.resources import Room
from distpool.protocol.resources import Shape


class Request(msgspec.Struct, eq=False):
    """So many leases that a caller waits for. `life`: of its process. `number`: the older the lower. `tell_at`: when it
    is told why; None: it was. `passed`: how many others went before it that came after it."""

    caller: Address
    life: int
    group: GroupId
    shape: Shape
    wanted: int
    asked_at: float
    tell_at: float | None
    number: int = 0
    passed: int = 0
    passed_since: float = 0.0


_Line = tuple[Address, Shape]
_Kind = tuple[int, str]
"""A caller by its life, and of what it has leases: that is compared with others' of the same."""


class RequestQueue:
    """The queue. `Placement` says what fits; what callers have is told by `granted` and `over`."""

    def __init__(
        self, placement: Placement, patience: Patience = PATIENCE, reservations: Reservations | None = None
    ) -> None:
        """`reservations`: which others have too."""
        self._placement = placement
        self._patience = patience
        self._reservations = Reservations() if reservations is None else reservations
        self._lines: dict[_Line, deque[Request]] = {}
        self._held: Counter[_Kind] = Counter()
        self._kinds: dict[LeaseId, _Kind] = {}
        self._number = 0
        # Everybody was tried in vain when nodes and reservations had changed so often, and nothing else has happened.
        self._tried_at = -1
        self._has_news = False
        self._spare: LeaseId | None = None

    def __iter__(self) -> Iterator[Request]:
        """Oldest first."""
        return iter(sorted((one for line in self._lines.values() for one in line), key=lambda one: one.number))

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, request: Request) -> None:
        self._number += 1
        request.number = self._number
        self._lines.setdefault((request.caller, request.shape), deque()).append(request)
        self._has_news = True

    def drop(self, caller: Address, group: GroupId | None = None) -> int:
        """What a caller, or a group of it, waits for is not wanted: how many leases that were."""
        dropped = 0
        for key in [key for key in self._lines if key[0] == caller]:
            unwanted = [one for one in self._lines[key] if group is None or one.group == group]
            for request in unwanted:
                dropped += request.wanted
                self._remove(key, request)
        return dropped

    def _remove(self, key: _Line, request: Request) -> None:
        line = self._lines[key]
        line.remove(request)
        if not line:
            del self._lines[key]
        self._let_go(request)

    def granted(self, lease: LeaseId, life: int, shape: Shape) -> None:
        """A caller has this lease; also one from before."""
        kind = self._kinds[lease] = (life, _what(shape))
        self._held[kind] += 1

    def over(self, lease: LeaseId) -> None:
        """Said twice, it changes nothing."""
        kind = self._kinds.pop(lease, None)
        if kind is not None:
            self._held[kind] -= 1
            if not self._held[kind]:
                del self._held[kind]

    # Granting -------------------------------------------------------------------------------------------------------

    def grants(self, lease_ids: Iterator[int], now: float) -> Iterator[tuple[Request, LeaseId, Placed]]:
        """Whatever fits, one lease after another."""
        while self._lines and (self._has_news or self._tried_at != self._changes()):
            self._has_news = False
            self._reserve(now)
            yield from self._pass(lease_ids, now)
            self._tried_at = self._changes()

    def _changes(self) -> int:
        """How often nodes or reservations have changed so that something may fit which did not."""
        return self._placement.changes.number + self._reservations.released

    def _pass(self, lease_ids: Iterator[int], now: float) -> Iterator[tuple[Request, LeaseId, Placed]]:
        """All are tried, in order."""
        order = [self._rank(key) for key in self._lines]
        heapify(order)
        in_vain: list[Request] = []
        while order:
            held, _, key = heappop(order)
            if self._rank(key)[0] != held:
                heappush(order, self._rank(key))  # its caller has got others meanwhile
                continue
            request = self._lines[key][0]
            lease = LeaseId(next(lease_ids)) if self._spare is None else self._spare
            placed = self._place(request, lease)
            if placed is None:
                self._spare = lease
                in_vain.append(request)
                continue
            self._spare = None
            self._count(key, request, lease)
            self._note_passed(in_vain, request.shape, self._placement.rooms[placed.node], now)
            if key in self._lines:
                heappush(order, self._rank(key))
            yield request, lease, placed

    def _place(self, request: Request, lease: LeaseId) -> Placed | None:
        if not self._reservations:
            return self._placement.place(lease, request.shape)
        return self._placement.place(lease, request.shape, partial(self._reservations.may_take, request))

    def _count(self, key: _Line, request: Request, lease: LeaseId) -> None:
        self.granted(lease, request.life, request.shape)
        self._let_go(request)
        request.passed = 0
        request.wanted -= 1
        if not request.wanted:
            self._remove(key, request)

    def _rank(self, key: _Line) -> tuple[int, int, _Line]:
        request = self._lines[key][0]
        return self._held[request.life, _what(request.shape)], request.number, key

    def passed_by(self, shape: Shape, node: NodeId, now: float) -> None:
        """A bundle of a placement group has got this: groups are tried before all requests."""
        room = self._placement.rooms[node]
        for request in [line[0] for line in self._lines.values()]:
            if compete(request.shape, shape) and room.could_ever(request.shape):
                self._note_pass(request, now)

    def _note_passed(self, in_vain: list[Request], shape: Shape, room: Room, now: float) -> None:
        """Those were before one that has got something now, on a node that might have been their own."""
        for passed in in_vain:
            if passed.shape != shape and compete(passed.shape, shape) and room.could_ever(passed.shape):
                self._note_pass(passed, now)

    def _note_pass(self, passed: Request, now: float) -> None:
        if not passed.passed:
            passed.passed_since = now
        passed.passed += 1
        if passed.passed == self._patience.passes:
            self._reserve(now)

    # Holding --------------------------------------------------------------------------------------------------------

    def held_for(self, request: Request) -> NodeId | None:
        """The node where it is next."""
        return next(iter(self._reservations.held_for(request)), None)

    def _reserve(self, now: float) -> None:
        """A node for each of those who were passed too often: where the least is missing."""
        rooms = {NodeId(room.name): room for room in self._placement.open_rooms()}
        reservations = self._reservations
        reservations.keep_only(rooms)
        impatient = [line[0] for line in self._lines.values() if self._is_impatient(line[0], now)]
        for request in sorted(impatient, key=lambda one: one.number):
            own = self.held_for(request)
            # The one that it has, unless another is nearer by now.
            ranked = [
                (missing(room, request.shape), node != own, node)
                for node, room in rooms.items()
                if reservations.is_open_to(request, node) and room.could_ever(request.shape)
            ]
            if ranked and (nearest := min(ranked)[2]) != own:
                self._let_go(request)
                reservations.hold(request, {nearest: request.shape})

    def _let_go(self, request: Request) -> None:
        """What was held for it is for others now."""
        self._reservations.let_go(request)

    def _is_impatient(self, request: Request, now: float) -> bool:
        if not request.passed or request.shape.place is not None:
            return False
        return request.passed >= self._patience.passes or now - request.passed_since >= self._patience.wait_s


def _what(shape: Shape) -> str:
    """The scarcest that it needs: whoever has most of that goes last."""
    if shape.gpus:
        return "GPU"
    return shape.custom[0][0] if shape.custom else "CPU"
