"""Cancelled calls: whom a group interrupts, whose worker it ends, and when it does neither."""

from distpool.config import Settings
from distpool.ids import LAUNCHER, GroupId, LeaseId
from distpool.logic.calls import Bundle, CallOptions
from distpool.logic.group_plan import GroupPlan
from distpool.protocol.messages import (
    CallMode,
    CallsDone,
    Death,
    EndWorker,
    ExitWorker,
    InterruptWorker,
    LeaseLost,
    LeaseStarted,
    OutcomeKind,
    RunCalls,
    TakeBack,
    TakenBack,
    WorkerReady,
)
from distpool.roles.client import ClientRole

LEASE = LeaseId(5)
AGAIN_S = 1.0
ANSWER = (OutcomeKind.VALUE, b"")


class Sink:
    def __init__(self):
        self.is_wanted = True
        self.kinds = []

    def begin(self):
        return self.is_wanted

    def put_back(self):
        pass

    def deliver(self, first, outcomes):
        self.kinds += [kind for kind, _ in outcomes]


class OneWorker:
    """A group of one worker that has got some calls, two of which it holds."""

    def __init__(self, calls, **options):
        self.client = ClientRole(Settings(interrupt_again_s=AGAIN_S))
        self.group = self.client.open(GroupId(1), GroupPlan(1))
        self.now = 100.0
        self.client.handle("node", LeaseStarted(LEASE, GroupId(1)), self.now)
        self.client.handle(LEASE, WorkerReady(), self.now)
        self.sinks = [Sink() for _ in range(calls)]
        bundles = [Bundle(1, CallMode.CALL, (b"",), sink, 0, 1, CallOptions(**options)) for sink in self.sinks]
        self.client.functions[1] = None
        self.client.submit(self.group, bundles)
        self.said()

    def cancel(self, number, *, force=False):
        self.sinks[number].is_wanted = False
        self.client.cancel(self.group, self.sinks[number], force)
        return self.said()

    def hear(self, *messages):
        for message in messages:
            self.client.handle(LEASE, message, self.now)
        return self.said()

    def pass_time(self, seconds):
        self.now += seconds
        return self.said()

    def said(self):
        self.client.decide(self.now)
        said = [message for _, message in self.client.outbox.messages if not isinstance(message, RunCalls)]
        self.client.outbox.messages.clear()
        while self.client.outbox.completions:
            bundle, first, outcomes = self.client.outbox.completions.popleft()
            bundle.sink.deliver(first, outcomes)
        return said


def test_the_call_that_runs_is_interrupted_when_those_behind_it_were_taken_back():
    world = OneWorker(3)
    assert world.cancel(0) == [TakeBack(LEASE)]
    assert world.hear(TakenBack(1)) == [InterruptWorker(LEASE, 1, 0)]


def test_a_call_that_has_not_begun_is_not_sent_again():
    world = OneWorker(3)
    assert world.cancel(1) == [TakeBack(LEASE)]
    assert world.hear(TakenBack(1)) == []
    assert world.hear(CallsDone([ANSWER], 0.0, True)) == []
    assert world.hear(CallsDone([ANSWER], 0.0, False)) == []
    assert [sink.kinds for sink in world.sinks] == [[ANSWER[0]], [OutcomeKind.CANCELLED], [ANSWER[0]]]


def test_the_interrupt_says_how_many_calls_have_ended_before():
    world = OneWorker(3)
    world.hear(CallsDone([ANSWER, ANSWER], 0.0, False))
    assert world.cancel(2) == [TakeBack(LEASE)]
    assert world.hear(TakenBack(0)) == [InterruptWorker(LEASE, 1, 2)]


def test_a_call_that_is_not_the_oldest_waits_until_those_before_it_are_told_of():
    world = OneWorker(2)
    world.cancel(1)
    assert world.hear(TakenBack(0)) == []
    assert world.hear(CallsDone([ANSWER], 0.0, False)) == [TakeBack(LEASE)]
    assert world.hear(TakenBack(0)) == [InterruptWorker(LEASE, 1, 1)]


def test_the_interrupt_is_repeated_until_the_call_has_ended():
    world = OneWorker(1)
    world.cancel(0)
    assert world.hear(TakenBack(0)) == [InterruptWorker(LEASE, 1, 0)]
    assert world.pass_time(AGAIN_S / 2) == []
    assert world.pass_time(AGAIN_S / 2) == [InterruptWorker(LEASE, 1, 0)]
    assert world.hear(CallsDone([ANSWER], 0.0, False)) == []
    assert world.pass_time(10 * AGAIN_S) == []


def test_a_call_that_ends_before_the_answer_is_not_interrupted():
    world = OneWorker(1)
    world.cancel(0)
    assert world.hear(CallsDone([ANSWER], 0.0, False), TakenBack(0)) == []


def test_by_force_the_worker_ends_and_what_it_had_not_begun_runs_elsewhere():
    world = OneWorker(3)
    assert world.cancel(0, force=True) == [TakeBack(LEASE)]
    assert world.hear(TakenBack(1)) == [ExitWorker(), EndWorker(LEASE, 1, 0.0)]
    assert world.sinks[0].kinds == [OutcomeKind.CANCELLED]
    assert world.group.queue.waiting == 2


def test_by_force_too_a_call_behind_which_another_was_begun_has_ended():
    world = OneWorker(2)
    world.cancel(0, force=True)
    assert world.hear(TakenBack(0)) == []
    assert world.hear(CallsDone([ANSWER], 0.0, False)) == []
    assert world.sinks[1].kinds == []


def test_a_cancelled_call_whose_worker_dies_does_not_run_again():
    world = OneWorker(1, retries=5)
    assert world.cancel(0) == [TakeBack(LEASE)]
    world.hear(LeaseLost(LEASE, GroupId(1), Death(1, -9)))
    assert world.sinks[0].kinds == [OutcomeKind.LOST]
    assert world.group.queue.waiting == 0


def test_orders_go_to_the_launcher():
    world = OneWorker(1)
    world.cancel(0)
    world.client.handle(LEASE, TakenBack(0), world.now)
    world.client.decide(world.now)
    assert [to for to, message in world.client.outbox.messages if isinstance(message, InterruptWorker)] == [LAUNCHER]
