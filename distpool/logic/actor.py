"""One actor: its lease, its constructor's call in each worker that it gets, its calls, and what a death means.

                    granted            constructed            worker died
    PENDING ─────────────► STARTING ────────────► ALIVE ◄──────────────► RESTARTING
                               └───── raised ─────► DEAD ◄── killed, exited, given up by all, no restart left

It has the interface of a `Group` of one worker, so that whoever wires roles and leases need not know which it is. The
first call that comes is the constructor's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import msgspec

from distpool.config import Settings
from distpool.ids import LAUNCHER, FunctionId, GroupId, LeaseId
from distpool.logic.actor_calls import calls_of
from distpool.logic.actor_plan import ActorPlan, ActorState
from distpool.logic.calls import Bundle, Outcome, Span
from distpool.logic.group_plan import GroupPlan, GroupState
from distpool.logic.idling import Idling
from distpool.logic.leases import Lease, LeaseState
from distpool.logic.leaving import tell_to_end
from distpool.logic.losses import (
    call_to_repeat,
    describe_call,
    describe_end,
    name_of,
    start_failure_text,
    was_killed_early,
)
from distpool.logic.outbox import Outbox
from distpool.logic.requests import Requests
from distpool.protocol.actors import ActorEnd
from distpool.protocol.messages import (
    CallsDone,
    Death,
    EndWorker,
    FunctionBlob,
    LeaseLost,
    OutcomeKind,
    StopGroup,
)

_EXITED = int(OutcomeKind.EXITED)
_OPEN = (GroupState.OPEN, GroupState.CLOSING)


class Actor:
    """The lease of one actor and its calls."""

    def __init__(
        self,
        group_id: GroupId,
        plan: GroupPlan,
        settings: Settings,
        functions: Mapping[FunctionId, FunctionBlob] = MappingProxyType({}),
    ) -> None:
        self.id = group_id
        self.plan = plan
        self.actor: ActorPlan = plan.actor or ActorPlan("")
        self.state = GroupState.OPEN
        self.stage = ActorState.PENDING
        self.reason = ""
        self.end_kind = OutcomeKind.TERMINATED
        self.leases: dict[LeaseId, Lease] = {}
        self.requests = Requests(group_id, plan.shape)
        self.restarts = 0
        self.outstanding = 0
        """Calls that have no outcome yet, the constructor's first one among them."""
        self.on_gone: Callable[[], None] = lambda: None
        self.nearness: object = None
        self.idling = Idling(plan)
        self.stops = self.waiting = RunsOn()
        self._calls = calls_of(settings, self.actor.concurrency, is_far=plan.is_far)
        self._settings = settings
        self._functions = functions
        self._constructor: Bundle | None = None
        self._is_constructed = False
        """In the worker that there is."""
        self._was_constructed = False
        """In some worker: whoever waited for it was told."""
        self._exits = False
        """A call has said that it is the last."""
        self._ends_worker = False
        """It is asked to, and does when it has one."""
        self._ended_worker = False
        """By such a wish."""
        self._failed_starts = 0
        self._fate: ActorEnd | None = None
        """It ends with the next decision, which knows when that is."""
        self._end: Outcome | None = None
        """What becomes of calls that come too late."""
        self._lost: list[tuple[Span, ActorEnd]] = []
        """Calls that are not run again."""
        self._stopping_sent = False
        self._has_news = True

    # What is told to it ---------------------------------------------------------------------------------------------

    def submit(self, bundles: Iterable[Bundle], outbox: Outbox) -> None:
        self._has_news = True
        bundles = list(bundles)
        if self._constructor is None and bundles:
            self._constructor = bundles.pop(0)
            self.outstanding += 1
        self.outstanding += self._calls.push(bundles)
        if self._end is not None:
            self._drop_calls(self._end, outbox)

    def started(self, lease_id: LeaseId) -> None:
        self._has_news = True
        self.requests.granted()
        self.leases[lease_id] = Lease(lease_id, None)
        self._is_constructed = self._ended_worker = False

    def ready(self, lease_id: LeaseId, now: float) -> None:
        self._has_news = True
        lease = self.leases[lease_id]
        lease.step("ready")
        lease.was_ready = True
        lease.heard_at = now
        self._failed_starts = 0
        if self.stage is ActorState.PENDING:
            self.stage = ActorState.STARTING

    def unusable(self, lease_id: LeaseId, failure: bytes) -> None:
        self.leases[lease_id].failure = failure

    def done(self, lease_id: LeaseId, message: CallsDone, now: float, outbox: Outbox) -> None:
        self._has_news = True
        lease = self.leases[lease_id]
        lease.heard_at = now
        if self.state not in _OPEN or not message.outcomes:
            return
        if not self._is_constructed:
            self._constructed(lease, message.outcomes[0], outbox)
            return
        kinds = [kind for kind, _ in message.outcomes]
        if _EXITED in kinds:
            # The call that said so has no other outcome: it ends with the worker, and so does what comes after it.
            self._exits = True
            ended = [at for at, kind in enumerate(kinds) if kind != _EXITED]
            message = CallsDone(
                [message.outcomes[at] for at in ended],
                message.busy_s,
                message.stopped,
                [message.numbers[at] for at in ended] if message.numbers else [],
            )
        self.outstanding -= len(message.outcomes)
        outbox.complete(self._calls.finish(lease, message))

    def _constructed(self, lease: Lease, outcome: Outcome, outbox: Outbox) -> None:
        completions = lease.holding.finish([outcome])
        kind, payload = outcome
        if kind == OutcomeKind.ERROR:
            self._die("its constructor raised", failure=payload)
            return
        if kind == OutcomeKind.EXITED:
            self._die("its constructor called exit_actor()")
            return
        self._is_constructed = True
        self.stage = ActorState.ALIVE
        if not self._was_constructed:
            self._was_constructed = True
            self.outstanding -= 1
            outbox.complete(completions)

    def taken_back(self, lease_id: LeaseId, calls: int) -> None:
        """Nothing is asked back from an actor."""

    def drain(self, lease_id: LeaseId) -> None:
        """Its node is about to leave. What it knows cannot be taken elsewhere, so it works until then."""

    def lost(self, message: LeaseLost, outbox: Outbox) -> None:
        """The worker has ended: the actor gets another, or is dead."""
        self._has_news = True
        lease = self.leases.pop(message.lease)
        was_told_to = lease.state is LeaseState.LEAVING
        lease.step("exited")
        if self.state not in _OPEN:
            return
        death = lease.explained(message.death)
        begun, unbegun = self._calls.lose(lease, death.unbegun, is_constructed=self._is_constructed)
        if was_told_to and not (begun or unbegun):
            return
        if self._fate is None:
            self._decide_on_restart(lease, death, outbox)
        if self._fate is not None:
            self._calls.again(begun, unbegun)  # they end with the others
            return
        again = []
        for call in begun:
            repeated = call_to_repeat(call)
            if repeated is not None:
                again.append(repeated)
            else:
                text = _lost_call_text(
                    describe_call(call, name_of(self._functions, call)), self.actor.name, self.restarts, death
                )
                self._lost.append((call, ActorEnd(text, self.actor.name, 0.0, death)))
        self._calls.again(again, unbegun)

    def _decide_on_restart(self, lease: Lease, death: Death, outbox: Outbox) -> None:
        if self._exits:
            self._die("it called exit_actor()", death)
        elif not lease.was_ready and not self._ended_worker:
            self._failed_starts += 1
            settings = self._settings
            limit = settings.start_kills_limit if was_killed_early(death) else settings.start_failures_limit
            if self._failed_starts >= limit:
                self._die(start_failure_text(death, self._failed_starts, lease.failure), death)
        elif self.restarts >= self.actor.max_restarts:
            why = f"{describe_end(death)}{'' if self._is_constructed else ' in the constructor'}"
            self._die(f"{why}, and {_restarts_text(self.restarts)}", death)
        else:
            self.restarts += 1
            self.stage = ActorState.RESTARTING
            outbox.note(f"{describe_end(death)}; actor {self.actor.name} is started again (restart {self.restarts})")

    def gone(self, outbox: Outbox) -> None:
        """The process that its worker was started by has ended, or needs it no more."""
        if self.state in _OPEN and not self._stopping_sent:
            self._die("the process that starts its workers has ended")
        if self._fate is not None and self.state in _OPEN:
            self._end_with(self._fate, 0.0, outbox)
        self.state = GroupState.GONE
        self.stage = ActorState.DEAD
        self.on_gone()

    def is_broken(self) -> bool:
        """It ended by itself: nobody ended it."""
        return self.state is GroupState.BROKEN

    # What it is asked for -------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Nobody has a handle any more: it ends when all calls are done."""
        self._has_news = True
        if self.state is GroupState.OPEN:
            self.state = GroupState.CLOSING

    def cancel_waiting(self) -> None:
        """Calls are cancelled one by one."""

    def terminate(self, outbox: Outbox, kind: OutcomeKind, text: str) -> None:
        """End it, and all calls."""
        if self.state in _OPEN:
            self._die(text)

    def break_down(self, text: str, outbox: Outbox, kind: OutcomeKind = OutcomeKind.BROKEN) -> None:
        """It can have no worker."""
        self.end_kind = kind
        self.terminate(outbox, kind, text)

    def restart(self) -> None:
        """End its worker at once, as its death would; what comes of that, the plan says."""
        self._has_news = self._ends_worker = True

    # Decisions ------------------------------------------------------------------------------------------------------

    def decide(self, now: float, outbox: Outbox) -> tuple[list[tuple[Lease, list[Span]]], float | None]:
        """What to send to whom; it never has to decide again without news."""
        if not (self._has_news or self.requests.has_news):
            return [], None
        self._has_news = self.requests.has_news = False
        if self.requests.head_gone and self.outstanding and not self.leases and self.state in _OPEN:
            self._die(self.requests.head_gone)
        for call, end in self._lost:
            self.outstanding -= 1
            outcome = OutcomeKind.ACTOR_UNAVAILABLE, msgspec.msgpack.encode(msgspec.structs.replace(end, at=now))
            outbox.end(call, outcome)
        self._lost.clear()
        if self._fate is not None and self.state in _OPEN:
            self._end_with(self._fate, now, outbox)
        if self.state not in _OPEN:
            return [], None
        if self._ends_worker and self.leases:
            self._ends_worker = False
            self._ended_worker = True
            for lease in self.leases.values():
                outbox.put(LAUNCHER, EndWorker(lease.id, self.id, 0.0))
        to_send = [(lease, spans) for lease in self.leases.values() if (spans := self._to_send(lease, outbox))]
        is_wanted = self._constructor is not None and (self.outstanding or self.state is GroupState.OPEN)
        if is_wanted and not self.leases and not self.requests.pending:
            self.requests.ask(1, outbox)
        if self.state is GroupState.CLOSING and not self.outstanding:
            self._close_down(outbox)
        return to_send, None

    def _to_send(self, lease: Lease, outbox: Outbox) -> list[Span]:
        if self._constructor is None or lease.state is not LeaseState.READY or self._exits or self._ended_worker:
            return []
        if self._is_constructed:
            if not self._calls.waiting():
                return []
            spans, cancelled = self._calls.take(lease)
            self.outstanding -= sum(map(len, cancelled))
            for call in cancelled:
                outbox.end(call, (OutcomeKind.CANCELLED, b""))
            return spans
        if lease.holding.calls:
            return []
        spans = [Span(_copy(self._constructor), 0, 1)]
        lease.holding.add(spans)
        return spans

    def _close_down(self, outbox: Outbox) -> None:
        self._end = _died(ActorEnd("nobody had a handle of it any more", self.actor.name, 0.0))
        for lease in self.leases.values():
            if lease.state is not LeaseState.LEAVING:
                tell_to_end(lease, outbox)
        self.requests.give_up(outbox)
        if not self.leases and not self.requests.pending:
            self._stop(StopGroup(self.id, False, []), outbox)

    def _die(self, why: str, death: Death | None = None, failure: bytes = b"") -> None:
        """With the next decision."""
        self._has_news = True
        if self._fate is None:
            self._fate = ActorEnd(why, self.actor.name, 0.0, death, failure)

    def _end_with(self, fate: ActorEnd, now: float, outbox: Outbox) -> None:
        self.state = GroupState.BROKEN
        self.reason = fate.text
        self._end = _died(msgspec.structs.replace(fate, at=now))
        busy = [lease.id for lease in self.leases.values() if lease.holding.calls]
        for lease in self.leases.values():
            self._calls.again(*self._calls.lose(lease, 0, is_constructed=self._is_constructed))
        self._drop_calls(self._end, outbox)
        self._stop(StopGroup(self.id, True, busy), outbox)

    def _stop(self, order: StopGroup, outbox: Outbox) -> None:
        self.stage = ActorState.DEAD
        self.requests.end()
        if not self._stopping_sent:
            self._stopping_sent = True
            outbox.put(LAUNCHER, order)

    def _drop_calls(self, outcome: Outcome, outbox: Outbox) -> None:
        spans = self._calls.drop_all()
        constructor = self._constructor
        if constructor is not None and self.outstanding > sum(map(len, spans)):
            spans.insert(0, Span(constructor, 0, 1))
        for span in spans:
            outbox.end(span, outcome)
        self.outstanding = 0
        if constructor is not None:
            constructor.claims = None  # no worker needs them any more


def _died(end: ActorEnd) -> Outcome:
    return OutcomeKind.ACTOR_DIED, msgspec.msgpack.encode(end)


class RunsOn:
    """What a pool's group does about calls that were cancelled, or wait, and an actor does not. A cancelled call that
    was sent runs on; no other worker could take the place of one that waits."""

    def cancel(self, sink: object, *, force: bool) -> None:
        """Its sink says that it is not to begin."""

    def begin(self, lease: Lease, outbox: Outbox) -> str:
        """It may wait."""
        return ""

    def end(self, lease: Lease, outbox: Outbox) -> None:
        """It goes on."""


def _copy(constructor: Bundle) -> Bundle:
    """For one worker: what it uses up of the store's claims, the next one needs again."""
    claims = None if constructor.claims is None else dict(constructor.claims)
    return Bundle(
        constructor.function,
        constructor.mode,
        constructor.entries,
        constructor.sink,
        constructor.first,
        constructor.entry_bytes,
        constructor.options,
        constructor.name,
        claims=claims,
    )


def _restarts_text(restarts: int) -> str:
    if not restarts:
        return "it is not to be started again (max_restarts=1 would allow it once)"
    return f"it was started again {restarts} times, as often as max_restarts allows"


def _lost_call_text(call: str, actor: str, restarts: int, death: Death) -> str:
    return (
        f"{describe_end(death)} while it ran {call}. Actor {actor} is started again (restart {restarts}), but this "
        "call was not run again, as it may have had effects; max_task_retries=1 allows it."
    )
