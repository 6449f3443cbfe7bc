"""The client: the caller's side of leases. It hands calls to workers and what becomes of them to the calls' sinks."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from distpool.config import Settings
from distpool.ids import INLINE_FUNCTION, LAUNCHER, Address, FunctionId, GroupId, LeaseId
from distpool.logic.calls import Bundle, Sink, Span
from distpool.logic.group import Group
from distpool.logic.group_plan import GroupPlan, GroupState
from distpool.logic.idling import Waits
from distpool.logic.leases import Lease
from distpool.logic.losses import may_repeat, name_of
from distpool.logic.outbox import Outbox
from distpool.logic.places import OwnPlaces
from distpool.logic.results_known import ResultsKnown
from distpool.logic.shown import shown_lines
from distpool.protocol.cluster import (
    HeadSilent,
    LeaseDrains,
    Rejoined,
    RequestsDropped,
    RequestsWait,
)
from distpool.protocol.code import (
    GroupFailed,
)
from distpool.protocol.messages import (
    CallMode,
    CallsDone,
    EndWorker,
    FunctionBlob,
    GroupGone,
    LeaseLost,
    LeaseStarted,
    OutcomeKind,
    RunCalls,
    Slice,
    TakenBack,
    WorkerReady,
    WorkerUnusable,
)
from distpool.protocol.placing import PlacesTold, RequestsRefused
from distpool.roles.role import unexpected

if TYPE_CHECKING:
    from distpool.logic.memory_guard import Running

_FEW_CALLS = 3
_SMALL_CALL_BYTES = 4096
_PLACES = GroupId(-1)
"""Among the groups that wait for workers: placement groups, which wait for room."""
_CALL = int(CallMode.CALL)
_OF_ONE = frozenset({int(CallMode.CALL), int(CallMode.BESIDE)})


class ClientRole:
    """Groups of leases and their calls. Workers speak by their lease; the session calls the methods below."""

    def __init__(self, settings: Settings) -> None:
        self.outbox = Outbox()
        self.groups: dict[GroupId, Group] = {}
        self.places: dict[int, OwnPlaces] = {}
        self.functions: dict[FunctionId, FunctionBlob] = {}
        self._settings = settings
        self._group_of: dict[LeaseId, Group] = {}
        self._head_gone = ""
        self.results = ResultsKnown()
        # Some groups give up workers when others wait for some.
        self._some_yield = False
        self._waits = Waits(settings.idle_yield_s)

    # From the session -----------------------------------------------------------------------------------------------

    def open(self, group_id: GroupId, plan: GroupPlan) -> Group:
        make: Any = Group
        if plan.actor is not None:
            from distpool.logic.actor import Actor as make  # few programs have one
        group: Group = make(group_id, plan, self._settings, self.functions)
        self.groups[group_id] = group
        group.requests.head_is(self._head_gone)
        self._some_yield = self._some_yield or plan.idle_yield_s is not None
        return group

    def open_places(self, places: OwnPlaces) -> None:
        """A placement group."""
        self.places[places.opening.group] = places
        places.open(self.outbox)

    def close_places(self, number: int) -> None:
        """Said twice, it changes nothing."""
        places = self.places.pop(number, None)
        if places is not None:
            places.close(self.outbox)

    def is_used(self) -> bool:
        """There are groups, of workers or of places."""
        return bool(self.groups or self.places)

    def submit(self, group: Group, bundles: Iterable[Bundle]) -> None:
        group.submit(bundles, self.outbox)

    def close(self, group: Group) -> None:
        group.close()

    def cancel_waiting(self, group: Group) -> None:
        group.cancel_waiting()

    def cancel(self, group: Group, sink: Sink, force: bool) -> None:
        group.stops.cancel(sink, force=force)

    def terminate(self, group: Group, kind: OutcomeKind, text: str) -> None:
        group.terminate(self.outbox, kind, text)

    def condemn(self, lease: LeaseId, why: str) -> None:
        """End a worker that does not keep to the protocol. `why`: for whoever has a call there."""
        group = self._group_of.get(lease)
        if group is not None:
            group.leases[lease].condemned = why
            self.outbox.put(LAUNCHER, EndWorker(lease, group.id, 0.0))

    def waits(self, lease: LeaseId) -> str:
        """Its worker does nothing until a request is answered. Or why it may not wait; empty when it may."""
        group = self._group_of.get(lease)
        return "" if group is None else group.waiting.begin(group.leases[lease], self.outbox)

    def goes_on(self, lease: LeaseId) -> None:
        """The request is answered."""
        group = self._group_of.get(lease)
        if group is not None:
            group.waiting.end(group.leases[lease], self.outbox)

    def sink_of(self, lease: LeaseId, number: int) -> Sink | None:
        """See `Lease.sink_of`."""
        group = self._group_of.get(lease)
        return None if group is None else group.leases[lease].sink_of(number)

    # From workers, lanes, node and launcher -------------------------------------------------------------------------

    def handle(self, sender: Address, message: Any, now: float) -> None:
        match message:
            case CallsDone():
                self._of(sender).done(LeaseId(int(sender)), message, now, self.outbox)
                if message.read_to:
                    self.results.read(LeaseId(int(sender)), message.read_to)
            case TakenBack(calls):
                self._of(sender).taken_back(LeaseId(int(sender)), calls)
            case LeaseStarted(lease, group_id):
                group = self.groups.get(group_id)
                if group is not None:  # otherwise its template ended while the lease was on its way
                    self._group_of[lease] = group
                    self.results.started(lease)
                    group.started(lease)
            case WorkerReady():
                self._of(sender).ready(LeaseId(int(sender)), now)
            case WorkerUnusable(failure):
                self._of(sender).unusable(LeaseId(int(sender)), failure)
            case LeaseLost(lease):
                self.results.lost(lease)
                lost_of = self._group_of.pop(lease, None)
                if lost_of is not None:
                    lost_of.lost(message, self.outbox)
            case RequestsDropped(group_id, count):
                if group_id in self.groups:
                    self.groups[group_id].requests.dropped(count)
            case RequestsRefused(group_id, count, text):
                if group_id in self.groups:
                    self._refused(self.groups[group_id], count, text)
            case PlacesTold(number):
                if number in self.places:
                    self.places[number].hear(message, self.outbox)
                    if message.is_refused:
                        del self.places[number]
            case Rejoined(granted):
                for places in self.places.values():
                    places.open(self.outbox)
                for group_id, group in self.groups.items():
                    group.requests.ask_again(granted.get(group_id, 0), self.outbox)
            case GroupFailed(group_id, text):
                failed = self.groups.get(group_id)
                if failed is not None and failed.state in (GroupState.OPEN, GroupState.CLOSING):
                    failed.break_down(text, self.outbox)
            case RequestsWait(group_id, why):
                if group_id in self.groups:
                    self._tell_of_wait(self.groups[group_id], why)
            case LeaseDrains(lease):
                if lease in self._group_of:
                    self._group_of[lease].drain(lease)
            case HeadSilent(text):
                self._head_gone = text
                for group in self.groups.values():
                    group.requests.head_is(text)
            case GroupGone(group_id):
                self.groups.pop(group_id).gone(self.outbox)
            case _:
                raise unexpected("client", sender, message)

    def decide(self, now: float) -> float | None:
        wake_at = None
        if self._some_yield:
            pending = [group_id for group_id, group in self.groups.items() if group.requests.pending]
            if any(places.waits() for places in self.places.values()):
                pending.append(_PLACES)
            if pending or self._waits.since:  # else nobody waits, and all know
                waiting, wake_at = self._waits.look(pending, now)
                for group_id, group in self.groups.items():
                    group.idling.others_wait(now, wait=bool(waiting - {group_id}))
        for group in self.groups.values():
            to_send, group_wake_at = group.decide(now, self.outbox)
            for lease, spans in to_send:
                calls = self._encode_calls(lease, spans)
                if group.plan.is_far and may_repeat(spans):
                    calls = msgspec.structs.replace(calls, may_repeat=True)
                self.outbox.put(lease.id, calls)
            if group_wake_at is not None:
                wake_at = group_wake_at if wake_at is None else min(wake_at, group_wake_at)
        return wake_at

    def has_outstanding(self) -> bool:
        """Some call has no outcome yet."""
        for group in self.groups.values():
            if group.outstanding:
                return True
        return False

    def has_many_outstanding(self) -> bool:
        """More calls have no outcome yet than a thread that submits and waits by turns ever has."""
        for group in self.groups.values():
            if group.outstanding > _FEW_CALLS:
                return True
        return False

    def running(self) -> list[Running]:
        """The workers that run calls, and which."""
        from distpool.logic.memory_guard import Running  # asked for when memory is about to run out

        found = []
        for group in self.groups.values():
            for lease in group.leases.values():
                if lease.holding.calls:
                    span = lease.holding.oldest()
                    call = span.bundle.name or name_of(self.functions, span)
                    found.append(Running(lease.id, group.id, lease.heard_at, may_repeat([span]), call))
        return found

    def group_of(self, lease: LeaseId) -> Group | None:
        """That the worker of this lease is of; None when it has ended."""
        return self._group_of.get(lease)

    def held_by(self, lease: LeaseId) -> int:
        """How many calls the worker of this lease holds."""
        group = self._group_of.get(lease)
        return group.leases[lease].holding.calls if group is not None else 0

    def _refused(self, group: Group, count: int, text: str) -> None:
        """No node can ever have what its workers need."""
        group.requests.dropped(count)
        if group.state in (GroupState.OPEN, GroupState.CLOSING):
            group.break_down(shown_lines(text), self.outbox, OutcomeKind.UNPLACED)

    def _tell_of_wait(self, group: Group, why: str) -> None:
        """Once for each pool: what it is short of may come and go."""
        if group.requests.pending and not group.requests.was_told:
            group.requests.was_told = True
            where = "; see `distpool status --pending`" if group.plan.is_far else ""
            self.outbox.note(
                f"the pool asked for {group.plan.size} workers and has {len(group.leases)}: {why}. It goes on with what"
                f" it has, and gets more when there are{where}"
            )

    def _of(self, lease: Address) -> Group:
        return self._group_of[LeaseId(int(lease))]

    def _encode_calls(self, lease: Lease, spans: list[Span]) -> RunCalls:
        slices: list[Slice] = []
        new_functions = []
        # The pickles of small calls of one function, which came one by one: they travel as one slice.
        together: list[bytes] = []
        function, mode, depth = INLINE_FUNCTION, _CALL, 0
        for span in spans:
            bundle = span.bundle
            if bundle.function != function or bundle.mode != mode or bundle.options.depth != depth:
                if together:
                    slices.append(_slice_of_calls(function, mode, together, depth))
                    together = []
                function, mode, depth = bundle.function, bundle.mode, bundle.options.depth
                if function != INLINE_FUNCTION and function not in lease.functions:
                    lease.functions.add(function)
                    new_functions.append(self.functions[function])
            if mode in _OF_ONE and bundle.entry_bytes <= _SMALL_CALL_BYTES:
                together.append(bundle.entries[0])  # type: ignore[arg-type]
            else:
                if together:
                    slices.append(_slice_of_calls(function, mode, together, depth))
                    together = []
                slices.append(slice_of(span))
        if together:
            slices.append(_slice_of_calls(function, mode, together, depth))
        return RunCalls(slices, new_functions)


def _slice_of_calls(function: FunctionId, mode: int, calls: list[bytes], depth: int) -> Slice:
    if len(calls) == 1:
        return Slice(function, mode, 1, False, calls[0], 0, depth)
    return Slice(function, mode, len(calls), False, calls, 0, depth)


def slice_of(span: Span) -> Slice:
    """The calls of a span as they travel. Scalars are pickled in one go: that runs no user code and cannot fail."""
    bundle = span.bundle
    entries = bundle.entries
    count = span.stop - span.start
    if count == 1:
        entry = entries[span.start]
        if type(entry) is bytes:
            return Slice(bundle.function, bundle.mode, 1, False, entry, bundle.skip, bundle.options.depth)
        return Slice(bundle.function, bundle.mode, 1, False, pickle.dumps(entry, 5))
    run = entries[span.start : span.stop]
    if bytes not in set(map(type, run)):
        return Slice(bundle.function, bundle.mode, count, True, pickle.dumps(run, 5))
    args = [entry if type(entry) is bytes else pickle.dumps(entry, 5) for entry in run]
    return Slice(bundle.function, bundle.mode, count, False, args)
