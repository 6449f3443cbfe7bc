"""The world around one group, as plain as can be: lists of calls in the hands of model workers, and what came of them.

Drives a real `Group` through the client role, which adds nothing to it but the encoding of calls.
"""

import pickle
from dataclasses import dataclass, field

from distpool.config import Settings
from distpool.ids import HEAD, INLINE_FUNCTION, LAUNCHER, NODE, GroupId, LeaseId
from distpool.logic.calls import Bundle
from distpool.logic.group import GroupPlan
from distpool.protocol.messages import (
    CallMode,
    CallsDone,
    ExitWorker,
    GroupGone,
    LeaseLost,
    LeaseStarted,
    OutcomeKind,
    RequestLeases,
    RunCalls,
    StopGroup,
    TakeBack,
    TakenBack,
    WorkerReady,
    WorkerUnusable,
)
from distpool.roles.client import ClientRole

GROUP = GroupId(1)
CALLS_AHEAD = 6
ROUNDS_LIMIT = 50
WORDS = "the pool was terminated"


@dataclass
class ModelCall:
    """What is known of one call."""

    number: int
    is_cancelled: bool = False
    was_begun_by: int | None = None
    outcome: OutcomeKind | None = None


@dataclass
class ModelWorker:
    """A worker process. `held`: calls that it was sent and whose results were not told, oldest first. The first `ended`
    of them have ended, and the next is running if `is_running`."""

    lease: LeaseId
    held: list[int] = field(default_factory=list)
    ended: int = 0
    is_running: bool = False
    is_ready: bool = False
    is_stopping: bool = False
    is_leaving: bool = False
    begun: int = 0

    def begun_now(self) -> int:
        return self.ended + self.is_running

    def unbegun(self) -> int:
        return len(self.held) - self.begun_now()


class ModelSink:
    """Some calls that were handed in together, numbered from `first`."""

    def __init__(self, world: "PoolWorld", calls: list[ModelCall], first: int) -> None:
        self.world = world
        self.calls = calls
        self.first = first
        self.was_begun = False

    def begin(self) -> bool:
        assert not self.was_begun
        self.was_begun = True
        return not self.calls[0].is_cancelled


class PoolWorld:
    """Every method is something that may happen; after each the client decides, and what it says is obeyed at once."""

    def __init__(self, plan: GroupPlan, **settings: object) -> None:
        self.plan = plan
        self.client = ClientRole(Settings(calls_ahead_limit=CALLS_AHEAD, **settings))
        self.group = self.client.open(GROUP, plan)
        self.now = 100.0
        self.calls: list[ModelCall] = []
        self.sinks: list[ModelSink] = []
        self.workers: dict[LeaseId, ModelWorker] = {}
        self.leases_made = 0
        self.requested = 0
        self.stops = 0
        self.take_backs = 0
        self.is_closed = self.is_terminated = self.may_be_broken = self.may_cancel = self.is_gone = False
        self.group.on_gone = self._note_gone
        self.wake_at: float | None = None
        self.decide()

    # What the user does ---------------------------------------------------------------------------------------------

    def submit(self, count: int, first: int = 0, entry_bytes: int = 16) -> ModelSink:
        calls = [ModelCall(len(self.calls) + at) for at in range(count)]
        self.calls += calls
        sink = ModelSink(self, calls, first)
        self.sinks.append(sink)
        entries: list[object] = [call.number for call in calls]
        bundle = Bundle(INLINE_FUNCTION, CallMode.ITEM, entries, sink, first, entry_bytes)
        self.client.submit(self.group, [bundle])
        self.decide()
        return sink

    def cancel(self, sink: ModelSink) -> None:
        for call in sink.calls:
            call.is_cancelled = True

    def cancel_waiting(self) -> None:
        self.may_cancel = True
        self.client.cancel_waiting(self.group)
        self.decide()

    def close(self) -> None:
        self.is_closed = True
        self.client.close(self.group)
        self.decide()

    def terminate(self) -> None:
        self.is_terminated = True
        self.client.terminate(self.group, OutcomeKind.TERMINATED, WORDS)
        self.decide()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.decide()

    # What workers do ------------------------------------------------------------------------------------------------

    def grant(self) -> ModelWorker:
        assert self.requested > 0
        self.requested -= 1
        self.leases_made += 1
        lease = LeaseId(self.leases_made)
        self.workers[lease] = ModelWorker(lease)
        self._tell(NODE, LeaseStarted(lease, GROUP))
        return self.workers[lease]

    def ready(self, worker: ModelWorker) -> None:
        worker.is_ready = True
        self._tell(worker.lease, WorkerReady())

    def begin(self, worker: ModelWorker) -> None:
        assert worker.is_ready
        assert not worker.is_running
        call = self.calls[worker.held[worker.ended]]
        assert call.was_begun_by is None, f"call {call.number} begins twice"
        assert not call.is_cancelled or self.sink_of(call).was_begun
        call.was_begun_by = worker.lease
        worker.is_running = True
        worker.begun += 1
        assert self.plan.calls_per_worker is None or worker.begun <= self.plan.calls_per_worker

    def end(self, worker: ModelWorker) -> None:
        worker.is_running = False
        worker.ended += 1

    def report(self, worker: ModelWorker, busy_s: float = 0.001) -> None:
        """It tells what has ended, and that it has stopped, once nothing runs any more."""
        has_stopped = worker.is_stopping and not worker.is_running
        outcomes = [(int(OutcomeKind.VALUE), pickle.dumps(number)) for number in worker.held[: worker.ended]]
        del worker.held[: worker.ended]
        worker.ended = 0
        worker.is_stopping = worker.is_stopping and not has_stopped
        self._tell(worker.lease, CallsDone(outcomes, busy_s, has_stopped))

    def run_one(self, worker: ModelWorker, busy_s: float = 0.001) -> None:
        self.begin(worker)
        self.end(worker)
        self.report(worker, busy_s)

    def fail_to_start(self, worker: ModelWorker) -> None:
        self.may_be_broken = True
        self._tell(worker.lease, WorkerUnusable(b"ValueError: no luck"))
        self.die(worker, 1)

    def die(self, worker: ModelWorker, exitcode: int = -9) -> None:
        """Its results are read first, as the loop does it."""
        if worker.ended:
            self.report(worker)
        if self.plan.breaks or not worker.is_ready:
            self.may_be_broken = True
        del self.workers[worker.lease]
        self._tell(NODE, LeaseLost(worker.lease, GROUP, 4711, exitcode, worker.unbegun()))

    def leave(self, worker: ModelWorker) -> None:
        assert worker.is_leaving
        self.die(worker, 0)

    def template_ends(self) -> None:
        if not self.stops:
            self.may_be_broken = True
        for worker in list(self.workers.values()):
            self.die(worker)
        self.requested = 0
        self._tell(NODE, GroupGone(GROUP))

    # What comes of it -----------------------------------------------------------------------------------------------

    def sink_of(self, call: ModelCall) -> ModelSink:
        return next(sink for sink in self.sinks if call in sink.calls)

    def outcomes(self) -> list[str | None]:
        return [None if call.outcome is None else call.outcome.name for call in self.calls]

    def decide(self) -> None:
        for _ in range(ROUNDS_LIMIT):
            self.wake_at = self.client.decide(self.now)
            messages = self.client.outbox.messages
            self._note_ends()
            if not messages:
                break
            while messages:
                self._obey(*messages.popleft())
        else:
            raise AssertionError("it goes on deciding without news")

    def _tell(self, sender: object, message: object) -> None:
        self.client.handle(sender, message, self.now)
        self.decide()

    def _obey(self, to: object, message: object) -> None:
        match message:
            case RequestLeases(group, count):
                assert (to, group) == (HEAD, GROUP)
                assert not self.stops, "leases are requested of a template that was told to stop"
                self.requested += count
            case StopGroup(group):
                assert (to, group) == (LAUNCHER, GROUP)
                self.stops += 1
            case RunCalls(slices):
                self._receive(self.workers[to], slices)
            case TakeBack(lease):
                self._take_back(self.workers[lease])
            case ExitWorker():
                assert not self.workers[to].is_leaving, "told to end twice"
                self.workers[to].is_leaving = True
            case _:
                raise AssertionError(f"{message!r} to {to!r}")

    def _receive(self, worker: ModelWorker, slices: list) -> None:
        assert worker.is_ready, "calls for a worker that is not ready"
        assert not worker.is_stopping, "calls for a worker that is dropping its hand"
        assert not worker.is_leaving, "calls for a worker that was told to end"
        for piece in slices:
            args = pickle.loads(piece.args)
            worker.held += args if piece.packed else [args]
        assert len(worker.held) <= max(2, CALLS_AHEAD), "it holds more than it may"

    def _take_back(self, worker: ModelWorker) -> None:
        self.take_backs += 1
        taken = worker.unbegun()
        del worker.held[len(worker.held) - taken :]
        worker.is_stopping = taken > 0
        self.client.handle(worker.lease, TakenBack(taken), self.now)

    def _note_ends(self) -> None:
        completions = self.client.outbox.completions
        while completions:
            bundle, first, outcomes = completions.popleft()
            sink = bundle.sink
            for call, (kind, payload) in zip(sink.calls[first - sink.first :], outcomes, strict=False):
                assert call.outcome is None, f"call {call.number} ends twice"
                call.outcome = OutcomeKind(kind)
                self._check_end(call, payload)

    def _check_end(self, call: ModelCall, payload: bytes) -> None:
        match call.outcome:
            case OutcomeKind.VALUE:
                assert pickle.loads(payload) == call.number, "the result of another call"
                assert call.was_begun_by is not None
            case OutcomeKind.LOST:
                assert call.was_begun_by is not None
                assert call.was_begun_by not in self.workers
            case OutcomeKind.CANCELLED:
                assert call.was_begun_by is None
                assert call.is_cancelled or self.may_cancel
            case OutcomeKind.BROKEN:
                assert self.may_be_broken
                assert payload, "it does not say why"
            case OutcomeKind.TERMINATED:
                assert self.is_terminated
                assert payload.decode() == WORDS

    def _note_gone(self) -> None:
        assert not self.is_gone, "gone twice"
        self.is_gone = True
