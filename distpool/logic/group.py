"""One pool's leases and calls: who gets which calls, when workers start and end, and what a death means.

It sends calls by `Assignment`, takes them back by `Balance`, and gives each call exactly one outcome. What a call is,
and who waits for it, it leaves to the bundle's sink; how calls are encoded, to the client role.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from distpool.config import Settings
from distpool.ids import LAUNCHER, FunctionId, GroupId, LeaseId
from distpool.logic.assignment import Assigned, Assignment
from distpool.logic.balance import Balance, has_idle_worker
from distpool.logic.calls import Bundle, CallQueue, Span
from distpool.logic.foresight import foretell
from distpool.logic.group_plan import GroupPlan, GroupState
from distpool.logic.idling import Idling
from distpool.logic.leases import Lease, LeaseState
from distpool.logic.leaving import let_leave, tell_to_end
from distpool.logic.limits import overdue
from distpool.logic.losses import (
    call_to_repeat,
    describe_end,
    loss_of,
    may_repeat,
    name_of,
    rest_of_chunk,
    start_failure_text,
    was_killed_early,
)
from distpool.logic.nearness import Nearness
from distpool.logic.outbox import Outbox
from distpool.logic.requests import Requests
from distpool.logic.resting import Resting
from distpool.logic.stops import Stops
from distpool.logic.waiting import Waiting
from distpool.protocol.messages import (
    CallsDone,
    Death,
    FunctionBlob,
    LeaseLost,
    OutcomeKind,
    StopGroup,
    TakeBack,
)


class Group:
    """The leases of one pool and its calls."""

    def __init__(
        self,
        group_id: GroupId,
        plan: GroupPlan,
        settings: Settings,
        functions: Mapping[FunctionId, FunctionBlob] = MappingProxyType({}),
    ) -> None:
        self.id = group_id
        self.plan = plan
        self.state = GroupState.OPEN
        self.reason = ""
        self.leases: dict[LeaseId, Lease] = {}
        self.queue = CallQueue()
        # For a worker that has nothing to do; and when nobody has, from one whose call turned out to be long: what it
        # had been sent can be cancelled again, and calls of a higher priority overtake it.
        self._sharing = Balance(settings.steal_after_s, 2)
        self._recall = Balance(settings.recall_after_s, 3)
        self._cancels = False
        # Leases that had calls when what waits was cancelled: what was sent to others since is what shall run.
        self._sent_ahead: set[LeaseId] = set()
        self._some_leave = plan.calls_per_worker is not None or plan.turn_s is not None
        self.idling = Idling(plan)
        self.stops = Stops(group_id, settings, functions)
        self._settings = settings
        self._functions = functions
        self._resting = Resting(settings.memory_rest_s, settings.memory_rest_limit_s)
        self.requests = Requests(group_id, plan.shape)
        self.waiting = Waiting(
            plan.size, settings.waiting_limit, settings.waiting_linger_s, replaces=plan.replaces_waiting
        )
        self._assignment = Assignment(plan, settings, self.queue, self.leases, self.waiting)
        self._failed_starts = 0
        self._stopping_sent = False
        self.end_kind = OutcomeKind.TERMINATED
        """How calls end when no call can run any more."""
        self.outstanding = 0
        """Calls that have no outcome yet."""
        self._has_news = True
        # Calls have come or ended since the last decision, and whether lone ones need no more than to be sent.
        self._has_calls = False
        self._is_plain = False
        self._wake_at: float | None = None
        self.on_gone: Callable[[], None] = lambda: None
        self.nearness: Nearness | None = None

    # What is told to it ---------------------------------------------------------------------------------------------

    def submit(self, bundles: Iterable[Bundle], outbox: Outbox) -> None:
        self._has_calls = True
        if self.state in (GroupState.OPEN, GroupState.CLOSING):
            self.outstanding += self.queue.push(bundles)
            return
        spans = [Span(bundle, 0, len(bundle.entries)) for bundle in bundles]
        outbox.end_all(spans, self.end_kind, self.reason)

    def started(self, lease_id: LeaseId) -> None:
        self._has_news = True
        self.requests.granted()
        self.leases[lease_id] = Lease(lease_id, self.plan.calls_per_worker)

    def ready(self, lease_id: LeaseId, now: float) -> None:
        self._has_news = True
        lease = self.leases[lease_id]
        lease.step("ready")
        lease.was_ready = True
        lease.heard_at = now
        self._failed_starts = 0

    def unusable(self, lease_id: LeaseId, failure: bytes) -> None:
        self.leases[lease_id].failure = failure

    def done(self, lease_id: LeaseId, message: CallsDone, now: float, outbox: Outbox) -> None:
        self._has_calls = True
        lease = self.leases[lease_id]
        lease.heard_at = now
        lease.has_begun_all = False
        if self.state in (GroupState.BROKEN, GroupState.TERMINATED) or lease.is_abandoned:
            return  # Its calls have had their outcome.
        if message.outcomes:
            lease.is_overdue = False  # the call that was is over: what is taken back lies behind it
            finished = lease.holding.finish(message.outcomes)
            outbox.complete(finished)
            self.outstanding -= len(message.outcomes)
            depth = finished[-1][0].options.depth
            self._assignment.credits.of(depth).observe(len(message.outcomes), message.busy_s)
        if message.stopped and lease.state in (LeaseState.STOPPING, LeaseState.LEAVING):
            self._has_news = True
            lease.step("stopped")

    def taken_back(self, lease_id: LeaseId, calls: int) -> None:
        self._has_news = True
        lease = self.leases[lease_id]
        lease.is_asked = False
        self._sent_ahead.discard(lease_id)
        if self.state in (GroupState.BROKEN, GroupState.TERMINATED) or lease.is_abandoned:
            return  # The answer of a worker elsewhere takes its time: its calls have had their outcome.
        if lease.is_overdue:
            # The oldest has had its time, begun or not: without its token it is never begun after its end.
            calls = min(calls, lease.holding.calls - 1)
        if calls == 0:
            lease.has_begun_all = True
            return
        lease.step("taken back")
        lease.returned(calls)
        spans = lease.holding.take_back(calls)
        lease.holding.waits_again(spans)
        self.queue.wait_again(spans)

    def drain(self, lease_id: LeaseId) -> None:
        """Its node is about to leave: what the worker has not begun runs elsewhere, and it ends after its call."""
        self._has_news = self._some_leave = True
        self.leases[lease_id].is_draining = True

    def lost(self, message: LeaseLost, outbox: Outbox) -> None:
        """The worker has ended, by itself or not: what it had not begun runs elsewhere, what it had begun is lost."""
        self._has_news = True
        lease = self.leases.pop(message.lease)
        self.waiting.lost(lease)
        expected = lease.state is LeaseState.LEAVING or self.state in (GroupState.BROKEN, GroupState.TERMINATED)
        lease.step("exited")
        death = lease.explained(message.death)
        unbegun = lease.holding.take_back(min(death.unbegun, lease.holding.calls))
        begun = lease.holding.take_back(lease.holding.calls)
        lease.holding.waits_again([*begun, *unbegun])
        if expected and not begun:
            self.queue.wait_again(unbegun)
            return
        if not lease.was_ready:
            self._failed_starts += 1
            settings = self._settings
            limit = settings.start_kills_limit if was_killed_early(death) else settings.start_failures_limit
            if self._failed_starts >= (1 if self.plan.breaks else limit):
                self.break_down(start_failure_text(death, self._failed_starts, lease.failure), outbox)
        elif self.plan.breaks and not may_repeat(begun):
            self.queue.push_back([*begun, *unbegun])
            self.break_down(
                "A process in the process pool was terminated abruptly while the future was running or pending: "
                f"{describe_end(death)}. {death.note}".rstrip(),
                outbox,
            )
            return
        self.queue.wait_again(unbegun)
        # One, as a worker runs one after another; of a node that is lost, all that its worker held.
        for span in begun:
            for position in range(span.start, span.stop):
                self._lose(Span(span.bundle, position, position + 1), death, outbox)

    def _lose(self, span: Span, death: Death, outbox: Outbox) -> None:
        """A worker died when it had begun this call."""
        loss = loss_of(span, death, name_of(self._functions, span))
        again = None if self.stops.is_cancelled(span.bundle.sink) else call_to_repeat(span)
        if again is not None:
            bundle = again.bundle
            outbox.note(
                f"{describe_end(death)}; its call is run again (retry {bundle.attempts} of {bundle.options.retries})"
            )
            if death.memory_ran_out:
                self._resting.add(again)
            else:
                self.queue.push_back([again])
            return
        rest = rest_of_chunk(span, death.items_begun, loss)
        if rest is not None:
            self.queue.push_back([rest])
            return
        self.outstanding -= 1
        outbox.end(span, loss)

    def gone(self, outbox: Outbox) -> None:
        """The template has ended. Leases that were never told of end with it."""
        if self.state in (GroupState.OPEN, GroupState.CLOSING) and not self._stopping_sent:
            self.break_down("the process that starts this pool's workers has ended", outbox)
        self.state = GroupState.GONE
        self.on_gone()

    def is_broken(self) -> bool:
        """It ended because no call could run any more, and not because somebody ended it."""
        return self.end_kind in (OutcomeKind.BROKEN, OutcomeKind.UNPLACED)

    # What it is asked for -------------------------------------------------------------------------------------------

    def close(self) -> None:
        self._has_news = True
        if self.state is GroupState.OPEN:
            self.state = GroupState.CLOSING

    def cancel_waiting(self) -> None:
        """Cancel the calls that wait, but as many as the standard Executor would have queued for its workers by now.

        What was sent ahead and has not begun comes back for that.
        """
        self._has_news = True
        self._cancels = True
        self._sent_ahead = set(self.leases)
        self._recall = Balance(0.0, 2)

    def terminate(self, outbox: Outbox, kind: OutcomeKind, text: str) -> None:
        """End all calls like this, and all workers."""
        if self.state in (GroupState.TERMINATED, GroupState.GONE):
            return
        self.state = GroupState.TERMINATED
        self.reason = text
        self._end_everything(outbox, kind)

    def break_down(self, text: str, outbox: Outbox, kind: OutcomeKind = OutcomeKind.BROKEN) -> None:
        """No call can run any more: all that wait end with this text."""
        self.state = GroupState.BROKEN
        self.reason = text
        self._end_everything(outbox, kind)

    # Decisions ------------------------------------------------------------------------------------------------------

    def decide(self, now: float, outbox: Outbox) -> tuple[Assigned, float | None]:
        """What to send to whom, and when to decide again without news (None: only with news)."""
        has_news = self._has_news or self.requests.has_news or self.stops.has_news
        has_news = has_news or self.idling.has_news or self.waiting.has_news
        if not has_news and (self._wake_at is None or now < self._wake_at):
            if not self._has_calls:
                return _NOTHING, self._wake_at
            if self._is_plain and not self.queue.has_limits and (lone := self._decide_on_lone(now, outbox)) is not None:
                self._has_calls = False
                return lone, self._wake_at
        self._has_news = self._has_calls = self.requests.has_news = self.stops.has_news = False
        self.idling.has_news = self.waiting.has_news = False
        self._wake_at = None
        if self.requests.head_gone and self.outstanding and not self.leases:
            self.break_down(self.requests.head_gone, outbox)
        if self.state in (GroupState.BROKEN, GroupState.TERMINATED, GroupState.GONE):
            return _NOTHING, None
        leases = self.leases.values()
        if self._resting.calls:
            self.queue.push_back(self._resting.take_rested(now))
            self._wake_by(self._resting.due())
        if self.queue.has_limits or self.stops.cancelled:
            # Before calls are assigned: none may be on its way to a worker that is asked to give back what it has.
            ended, wake_at = self.stops.decide(leases, now, outbox, has_limits=self.queue.has_limits)
            for spans, kind, text in ended:
                self._end(spans, kind, text, outbox)
            self._wake_by(wake_at)
        if self.outstanding:
            if self._cancels and self.queue.waiting:
                held = self.outstanding - self.queue.waiting
                cancelled = self.queue.cancel(self.plan.size + 1 - held)
                self._end(cancelled, OutcomeKind.CANCELLED, "", outbox)
            ahead = [lease for lease in leases if lease.id in self._sent_ahead] if self._cancels else leases
            self._ask_back(self._recall, ahead, now, outbox)
        to_send = self._assign(now, outbox) if self.queue.waiting else _NOTHING
        if self.nearness is not None:
            foretell(to_send, self.leases, self.queue, self.nearness, outbox)
        if self.outstanding and not self.queue.waiting and has_idle_worker(leases):
            # None that is sent calls in this decision: it would be asked before it gets them, and others be counted.
            sent = {lease.id for lease, _ in to_send}
            others = [lease for lease in leases if lease.id not in sent]
            self._ask_back(self._sharing, others, now, outbox)
        if self.idling.limit_s is not None:
            self._wake_by(self.idling.let_leave(leases, now, outbox))
        if self._some_leave:
            let_leave(leases, outbox)
        if self.waiting.is_over:
            self._wake_by(self.waiting.let_leave(leases, now, outbox))
        self._request_leases(outbox)
        if self.state is GroupState.CLOSING:
            self._close_down(outbox)
        some_end = self._cancels or self.stops.cancelled or self._resting.calls or self.waiting.are_some()
        some_leave = self.plan.calls_per_worker is not None or any(lease.is_draining for lease in leases)
        is_open = self.state is GroupState.OPEN
        self._is_plain = is_open and not (some_end or some_leave or self.nearness is not None)
        return to_send, self._wake_at

    def _decide_on_lone(self, now: float, outbox: Outbox) -> Assigned | None:
        """With one call at most, and nothing else to see to: None when that has to be weighed after all."""
        if not self.outstanding:
            if self.idling.limit_s is not None:
                self._wake_by(now + self.idling.limit_s)
            return _NOTHING
        assigned = self._assignment.assign_lone(now) if self.outstanding == self.queue.waiting == 1 else None
        if assigned is None:
            return None
        to_send, cancelled = assigned
        if cancelled:
            self._end(cancelled, OutcomeKind.CANCELLED, "", outbox)
        return to_send

    def _ask_back(self, balance: Balance, leases: Iterable[Lease], now: float, outbox: Outbox) -> None:
        victim, look_again = balance.choose(leases, now)
        self._wake_by(look_again)
        if victim is not None:
            victim.is_asked = True
            outbox.put(victim.id, TakeBack(victim.id))

    def _wake_by(self, at: float | None) -> None:
        if at is not None:
            self._wake_at = at if self._wake_at is None else min(self._wake_at, at)

    def _end(self, spans: list[Span], kind: OutcomeKind, text: str, outbox: Outbox) -> None:
        self.outstanding -= sum(map(len, spans))
        outbox.end_all(spans, kind, text)

    def _assign(self, now: float, outbox: Outbox) -> Assigned:
        to_send, cancelled = self._assignment.assign(now, self.nearness)
        self._end(cancelled, OutcomeKind.CANCELLED, "", outbox)
        for lease, _ in to_send:
            if not self._cancels:  # else what is sent now is what shall run, and does not come back
                self._wake_by(self._recall.due(lease))
            if self.queue.has_limits:
                self._wake_by(overdue(lease)[0])
        return to_send

    def _request_leases(self, outbox: Outbox) -> None:
        wanted = self.waiting.size()
        if self.plan.on_demand or self.state is GroupState.CLOSING:
            wanted = min(wanted, self.outstanding)
        missing = wanted - len(self.leases) - self.requests.pending
        if missing > 0 and not (self.leases and self.idling.makes_room()):
            self.requests.ask(missing, outbox)

    def _close_down(self, outbox: Outbox) -> None:
        if self.outstanding:
            return
        for lease in self.leases.values():
            if lease.state is not LeaseState.LEAVING:
                tell_to_end(lease, outbox)
        self.requests.give_up(outbox)
        if not self.leases and not self.requests.pending and not self._stopping_sent:
            self._stopping_sent = True
            outbox.put(LAUNCHER, StopGroup(self.id, False, []))

    def _end_everything(self, outbox: Outbox, kind: OutcomeKind) -> None:
        self.end_kind = kind
        self.requests.end()
        busy = [lease.id for lease in self.leases.values() if lease.holding.calls or lease.is_abandoned]
        spans = [span for lease in self.leases.values() for span in lease.holding.take_back(lease.holding.calls)]
        self._end([*spans, *self.queue.drop_all(), *self._resting.drop_all()], kind, self.reason, outbox)
        if not self._stopping_sent:
            self._stopping_sent = True
            outbox.put(LAUNCHER, StopGroup(self.id, True, busy))


_NOTHING: Assigned = []
