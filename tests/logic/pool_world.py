"""The world around one group, as plain as can be: lists of calls in the hands of model workers, and what came of them.

Drives a real `Group` through the client role, which adds nothing to it but the encoding of calls.
"""

import pickle
from dataclasses import dataclass, field

import msgspec

from distpool.config import Settings
from distpool.ids import HEAD, INLINE_FUNCTION, LAUNCHER, NODE, GroupId, LeaseId
from distpool.logic.calls import NO_OPTIONS, Bundle, CallOptions, Outcome
from distpool.logic.group_plan import GroupPlan
from distpool.protocol.cluster import EndGroup, HeadSilent, LeaseDrains, Rejoined, RequestsDropped
from distpool.protocol.messages import (
    CallMode,
    CallsDone,
    Death,
    EndWorker,
    ExitWorker,
    GroupGone,
    InterruptWorker,
    LeaseLost,
    LeaseStarted,
    Loss,
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
    """What is known of one call. `times_begun`: of each of its items. `begun_by`: each worker that began it.
    `is_cancelled`: before it was begun; `is_unwanted`: at any time, by a sink that the group is told of."""

    number: int
    times_begun: list[int]
    is_chunk: bool
    options: CallOptions
    is_cancelled: bool = False
    is_unwanted: bool = False
    was_sent: bool = False
    begun_by: list[LeaseId] = field(default_factory=list)
    is_rest: bool = False
    rest_is_excused: bool = False
    outcome: OutcomeKind | None = None
    text: str = ""


@dataclass
class ModelWorker:
    """A worker process. `held`: calls that it was sent and whose results were not told, oldest first. The first `ended`
    of them have ended, and the next is running if `is_running`, with `items_begun` of its items. `skips`: how many
    items it was told to leave out. `heard_at`: since when its oldest call may run, as far as its caller knows.
    `is_condemned`: the call that it runs is over its time. `is_draining`: it may run what it has begun, and no more."""

    lease: LeaseId
    held: list[int] = field(default_factory=list)
    skips: dict[int, int] = field(default_factory=dict)
    ended: int = 0
    is_running: bool = False
    items_begun: int = 0
    heard_at: float = 0.0
    is_condemned: bool = False
    is_ready: bool = False
    is_stopping: bool = False
    is_leaving: bool = False
    is_draining: bool = False
    begun: int = 0
    told: int = 0

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
        return not (self.calls[0].is_cancelled or self.calls[0].is_unwanted)

    def put_back(self) -> None:
        assert self.was_begun
        self.was_begun = False

    def deliver(self, first: int, outcomes: list[Outcome]) -> None:
        calls = self.calls[first - self.first :]
        assert len(calls) >= len(outcomes)
        for call, (kind, payload) in zip(calls, outcomes, strict=False):
            self.world.note_end(call, OutcomeKind(kind), payload)


class PoolWorld:
    """Every method is something that may happen; after each the client decides, and what it says is obeyed at once."""

    def __init__(self, plan: GroupPlan, *, peeks: bool = True, **settings: object) -> None:
        self.plan = plan
        self.peeks = peeks
        self.settings = Settings(calls_ahead_limit=CALLS_AHEAD, **settings)
        self.client = ClientRole(self.settings)
        self.group = self.client.open(GROUP, plan)
        self.now = 100.0
        self.calls: list[ModelCall] = []
        self.sinks: list[ModelSink] = []
        self.workers: dict[LeaseId, ModelWorker] = {}
        self.leases_made = 0
        self.requested = 0
        self.is_end_told = False
        self.is_head_gone = False
        self.stops = 0
        self.busy_at_stop: list[LeaseId] = []
        self.notes: list[str] = []
        self.refused: set[int] = set()
        self.take_backs = 0
        self.is_closed = self.is_terminated = self.may_be_broken = self.may_cancel = self.is_gone = False
        self.group.on_gone = self._note_gone
        self.wake_at: float | None = None
        self.decide()

    # What the user does ---------------------------------------------------------------------------------------------

    def submit(
        self,
        count: int,
        first: int = 0,
        entry_bytes: int = 16,
        *,
        items: int | None = None,
        options: CallOptions = NO_OPTIONS,
    ) -> ModelSink:
        """`items`: submit chunks of so many instead of single items."""
        calls = [ModelCall(len(self.calls) + at, [0] * (items or 1), items is not None, options) for at in range(count)]
        self.calls += calls
        sink = ModelSink(self, calls, first)
        self.sinks.append(sink)
        entries: list[object] = [call.number if items is None else pickle.dumps(call.number) for call in calls]
        mode = CallMode.ITEM if items is None else CallMode.CHUNK
        bundle = Bundle(INLINE_FUNCTION, mode, entries, sink, first, entry_bytes, options, "work", chunksize=items or 1)
        self.client.submit(self.group, [bundle])
        self.decide()
        return sink

    def cancel(self, sink: ModelSink) -> None:
        for call in sink.calls:
            call.is_cancelled = True

    def stop(self, sink: ModelSink, *, force: bool) -> None:
        """Its only call is not wanted any more, wherever it is."""
        sink.calls[0].is_unwanted = True
        self.client.cancel(self.group, sink, force)
        self.decide()

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
        assert not self.is_head_gone
        self.requested -= 1
        self.leases_made += 1
        lease = LeaseId(self.leases_made)
        self.workers[lease] = ModelWorker(lease)
        self._tell(NODE, LeaseStarted(lease, GROUP))
        return self.workers[lease]

    def drop_requests(self, count: int) -> None:
        """The head has heard that the group ends."""
        assert self.is_end_told
        self.requested -= count
        self._tell(HEAD, RequestsDropped(GROUP, count))

    def rejoin(self, granted: int = 0) -> None:
        """The head is another one: it knows nothing of what was requested, but for what it has granted before."""
        self.requested = granted
        self._tell(NODE, Rejoined({GROUP: granted}))

    def refuse_one(self) -> None:
        """It was granted, and its node does not know of it."""
        self.requested -= 1
        self._tell(NODE, RequestsDropped(GROUP, 1))

    def lose_head(self) -> None:
        """It is gone for good: nothing that was requested is granted."""
        self.may_be_broken = self.is_head_gone = True
        if self.is_end_told:
            self.requested = 0
        self._tell(NODE, HeadSilent("no head"))

    def find_head(self) -> None:
        self.is_head_gone = False
        self._tell(NODE, HeadSilent(""))

    def drain(self, worker: ModelWorker) -> None:
        """Its node is about to leave."""
        worker.is_draining = True
        self._tell(NODE, LeaseDrains(worker.lease))

    def ready(self, worker: ModelWorker) -> None:
        worker.is_ready = True
        worker.heard_at = self.now
        self._tell(worker.lease, WorkerReady())

    def begin(self, worker: ModelWorker) -> None:
        """It takes a token. No item has begun yet."""
        assert worker.is_ready
        assert not worker.is_running
        call = self.running(worker)
        assert call.outcome in (None, OutcomeKind.BROKEN, OutcomeKind.TERMINATED), "begun after its end"
        assert not set(call.begun_by) & set(self.workers), f"call {call.number} is begun by two"
        assert not call.is_cancelled or self.sink_of(call).was_begun
        call.begun_by.append(worker.lease)
        call.is_rest = worker.skips[call.number] > 0
        if not call.is_chunk:
            assert len(call.begun_by) <= 1 + call.options.retries, f"call {call.number} begins too often"
        worker.is_running = True
        worker.items_begun = 0
        worker.begun += 1
        assert self.plan.calls_per_worker is None or worker.begun <= self.plan.calls_per_worker

    def running(self, worker: ModelWorker) -> ModelCall:
        """The call that runs, or is the next to."""
        return self.calls[worker.held[worker.ended]]

    def items_left(self, worker: ModelWorker) -> int:
        call = self.running(worker)
        return len(call.times_begun) - worker.skips[call.number] - worker.items_begun

    def begin_item(self, worker: ModelWorker) -> None:
        call = self.running(worker)
        item = worker.skips[call.number] + worker.items_begun
        worker.items_begun += 1
        call.times_begun[item] += 1
        assert call.times_begun[item] <= 1 + call.options.retries, f"item {item} of call {call.number} begins too often"

    def end(self, worker: ModelWorker) -> None:
        while self.items_left(worker) > 0:
            self.begin_item(worker)
        worker.is_running = False
        worker.ended += 1

    def report(self, worker: ModelWorker, busy_s: float = 0.001) -> None:
        """It tells what has ended, and that it has stopped, once nothing runs any more."""
        has_stopped = worker.is_stopping and not worker.is_running
        worker.is_stopping = worker.is_stopping and not has_stopped
        self._tell(worker.lease, self._results_of(worker, busy_s, has_stopped=has_stopped))

    def _results_of(self, worker: ModelWorker, busy_s: float, *, has_stopped: bool) -> CallsDone:
        outcomes = []
        for number in worker.held[: worker.ended]:
            value = "the rest" if worker.skips[number] else number
            outcomes.append((int(OutcomeKind.VALUE), pickle.dumps(value)))
        del worker.held[: worker.ended]
        worker.told += worker.ended
        worker.ended = 0
        worker.heard_at = self.now
        return CallsDone(outcomes, busy_s, has_stopped)

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
        if worker.is_running and not worker.items_begun:
            self.running(worker).rest_is_excused = True  # It may be what its arguments do to a process.
        del self.workers[worker.lease]
        is_chunk = worker.is_running and self.running(worker).is_chunk
        items_begun = worker.items_begun if is_chunk else 3  # the mark of an older chunk
        self._tell(
            NODE, LeaseLost(worker.lease, GROUP, Death(4711, exitcode, 0, worker.unbegun(), items_begun, "stderr"))
        )

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
        self.refused = set()
        for _ in range(ROUNDS_LIMIT):
            self.wake_at = self.client.decide(self.now)
            messages = self.client.outbox.messages
            self.notes += self.client.outbox.notes
            self.client.outbox.notes.clear()
            if not messages:
                break
            while messages:
                self._obey(*messages.popleft())
        else:
            raise AssertionError("it goes on deciding without news")
        self._tell_sinks()

    def _tell(self, sender: object, message: object) -> None:
        self.client.handle(sender, message, self.now)
        self.decide()

    def _obey(self, to: object, message: object) -> None:
        match message:
            case RequestLeases(group, count):
                assert (to, group) == (HEAD, GROUP)
                assert not self.stops, "leases are requested of a template that was told to stop"
                self.requested += count
            case EndGroup(group):
                assert (to, group) == (HEAD, GROUP)
                assert self.requested, "there is nothing to be dropped"
                assert not self.is_end_told
                self.is_end_told = True
                if self.is_head_gone:
                    self.requested = 0  # nobody hears it
            case StopGroup(group, _, busy):
                assert (to, group) == (LAUNCHER, GROUP)
                self.stops += 1
                self.busy_at_stop = busy
            case EndWorker(lease, group, grace_s):
                is_forced = grace_s == 0.0
                assert (to, group, grace_s or self.settings.interrupt_grace_s) == (
                    LAUNCHER,
                    GROUP,
                    self.settings.interrupt_grace_s,
                )
                assert not is_forced or self._runs_unwanted(lease)
                assert self.workers[lease].is_leaving, "it would wait for more calls"
                assert not self.workers[lease].is_condemned
                self.workers[lease].is_condemned = True
            case InterruptWorker(lease, group, ended):
                assert (to, group) == (LAUNCHER, GROUP)
                assert ended == self.workers[lease].told
                assert self._runs_unwanted(lease)
            case RunCalls(slices):
                self._receive(self.workers[to], slices)
            case TakeBack(lease):
                self._take_back(self.workers[lease])
            case ExitWorker():
                assert not self.workers[to].is_leaving, "told to end twice"
                self.workers[to].is_leaving = True
            case _:
                raise AssertionError(f"{message!r} to {to!r}")

    def _runs_unwanted(self, lease: LeaseId) -> bool:
        """What is done to the worker befalls a call that is not wanted: it runs, or has ended since it was told of."""
        worker = self.workers[lease]
        return self.calls[worker.held[0]].is_unwanted and worker.begun_now() > 0

    def _receive(self, worker: ModelWorker, slices: list) -> None:
        assert worker.is_ready, "calls for a worker that is not ready"
        assert not worker.is_stopping, "calls for a worker that is dropping its hand"
        assert not worker.is_leaving, "calls for a worker that was told to end"
        assert not worker.is_draining, "calls for a worker whose node is about to leave"
        if not worker.held:
            worker.heard_at = self.now
        for piece in slices:
            args = pickle.loads(piece.args) if piece.packed else piece.args
            for number in args if type(args) is list else [args]:
                number = pickle.loads(number) if type(number) is bytes else number
                worker.held.append(number)
                worker.skips[number] = piece.skip
                self.calls[number].was_sent = True
        assert len(worker.held) <= max(2, CALLS_AHEAD), "it holds more than it may"
        self._check_order([self.calls[number] for number in worker.held])

    def _check_order(self, sent: list[ModelCall]) -> None:
        """Among the calls that were never sent there is none that should have been sent before these."""
        waiting = [
            call for call in self.calls if not (call.was_sent or call.is_cancelled or call.is_unwanted or call.outcome)
        ]
        last = sent[-1]
        for call in waiting:
            assert call.options.priority <= last.options.priority, "a higher one waits"
            assert call.options.priority < last.options.priority or call.number > last.number, "an older one waits"

    def _take_back(self, worker: ModelWorker) -> None:
        self.take_backs += 1
        taken = worker.unbegun()
        if taken == len(worker.held) and taken:
            self.refused.add(worker.held[0])
        del worker.held[len(worker.held) - taken :]
        worker.is_stopping = worker.is_stopping or taken > 0
        self.client.handle(worker.lease, TakenBack(taken), self.now)
        if self.peeks and worker.ended:
            self.client.handle(worker.lease, self._results_of(worker, 0.001, has_stopped=False), self.now)

    def _tell_sinks(self) -> None:
        completions = self.client.outbox.completions
        while completions:
            bundle, first, outcomes = completions.popleft()
            bundle.sink.deliver(first, outcomes)

    def note_end(self, call: ModelCall, kind: OutcomeKind, payload: bytes) -> None:
        assert call.outcome is None, f"call {call.number} ends twice"
        call.outcome = kind
        is_over = bool(self.group.reason)
        match kind:
            case OutcomeKind.VALUE:
                assert pickle.loads(payload) == call.number, "the result of another call"
                assert call.begun_by
            case OutcomeKind.LOST:
                assert call.begun_by
                if call.is_rest and not is_over and self._check_timeout(call):
                    call.rest_is_excused = True
                assert call.begun_by[-1] not in self.workers or call.is_rest
                assert is_over or call.is_rest or call.is_unwanted or len(call.begun_by) == 1 + call.options.retries, (
                    "it had retries left"
                )
                is_complete = 0 not in call.times_begun or not call.is_chunk
                assert is_over or is_complete or call.rest_is_excused, "items were left out"
                call.text = msgspec.msgpack.decode(payload, type=Loss).text
            case OutcomeKind.TIMED_OUT:
                assert call.options.timeout_s is not None
                assert self._check_timeout(call)
                call.text = payload.decode()
            case OutcomeKind.CANCELLED:
                assert not call.begun_by or call.is_unwanted
                assert call.is_cancelled or call.is_unwanted or self.may_cancel
            case OutcomeKind.BROKEN:
                assert self.may_be_broken
                assert payload, "it does not say why"
            case OutcomeKind.TERMINATED:
                assert self.is_terminated
                assert payload.decode() == WORDS

    def _check_timeout(self, call: ModelCall) -> bool:
        """It ran on a worker that does not take anything any more; or it was taken back, and will never begin."""
        if call.number in self.refused:
            return True
        workers = [worker for worker in self.workers.values() if call.number in worker.held]
        for worker in workers:
            assert worker.held == [call.number], "calls beside it are not taken back"
            assert self.now >= worker.heard_at + call.options.timeout_s, "it had some time left"
            assert worker.is_condemned
        return len(workers) == 1

    def _note_gone(self) -> None:
        assert not self.is_gone, "gone twice"
        self.is_gone = True
