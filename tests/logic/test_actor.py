"""An actor's life against a naive worker that may die at any point."""

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from distpool.config import SETTINGS
from distpool.ids import HEAD, LAUNCHER, GroupId, LeaseId
from distpool.logic.actor import Actor
from distpool.logic.actor_plan import ALWAYS, ActorCallOptions, ActorPlan, ActorState
from distpool.logic.calls import Bundle
from distpool.logic.group_plan import GroupPlan, GroupState
from distpool.logic.outbox import Outbox
from distpool.protocol.actors import ActorEnd
from distpool.protocol.messages import (
    CallMode,
    CallsDone,
    Death,
    EndWorker,
    ExitWorker,
    LeaseLost,
    OutcomeKind,
    RequestLeases,
    StopGroup,
)

VALUE = (OutcomeKind.VALUE, b"")
KILLED = Death(77, -9)


class Sink:
    """What became of one call."""

    def __init__(self):
        self.outcomes = []
        self.is_cancelled = False

    def begin(self):
        return not self.is_cancelled

    def put_back(self):
        pass

    def deliver(self, first, outcomes):
        self.outcomes += outcomes


class Worker:
    """Has what it was sent, and begins it in that order."""

    def __init__(self, lease):
        self.lease = lease
        self.is_ready = False
        self.is_told_to_end = False
        self.sent = []
        self.begun = 0
        self.answered = set()
        self.is_constructed = False

    def unanswered(self):
        return [at for at in range(self.begun) if at not in self.answered]


class World:
    """An actor, its worker, and all that it has said."""

    def __init__(self, plan, *, is_far=False):
        self.actor = Actor(GroupId(1), GroupPlan(1, actor=plan, is_far=is_far), SETTINGS)
        self.outbox = Outbox()
        self.now = 100.0
        self.worker = None
        self.leases = 0
        self.requested = 0
        self.is_stopped = False
        self.calls = []
        self.constructions = 0
        self.begun = []
        """(generation, number of the call), in the order in which workers began them."""
        self.ended = set()
        self.actor.submit([Bundle(9, CallMode.CALL, [b"init"], Sink(), 0, name="Model.__init__")], self.outbox)
        self.decide()

    def call(self, retries=0, group=""):
        sink = Sink()
        options = ActorCallOptions(retries=retries, concurrency_group=group)
        self.calls.append((sink, retries))
        bundle = Bundle(1, CallMode.CALL, [b"%d" % (len(self.calls) - 1)], sink, 0, options=options, name="Model.run")
        self.actor.submit([bundle], self.outbox)
        self.decide()
        return sink

    def decide(self):
        self.now += 1.0
        to_send, wake_at = self.actor.decide(self.now, self.outbox)
        assert wake_at is None
        for lease, spans in to_send:
            assert lease.id == self.worker.lease
            assert self.worker.is_ready
            for span in spans:
                self.worker.sent += [int(e) if e != b"init" else "init" for e in span.bundle.entries]
        while self.outbox.messages:
            to, message = self.outbox.messages.popleft()
            match message:
                case RequestLeases():
                    assert to == HEAD
                    self.requested += message.count
                case StopGroup():
                    assert to == LAUNCHER
                    assert not self.is_stopped
                    self.is_stopped = True
                case ExitWorker():
                    assert to == self.worker.lease
                    self.worker.is_told_to_end = True
                case EndWorker():
                    assert to == LAUNCHER
                case other:
                    assert type(other).__name__ == "EndGroup"
                    self.requested = 0
        while self.outbox.completions:
            bundle, first, outcomes = self.outbox.completions.popleft()
            bundle.sink.deliver(first, outcomes)

    def grant(self):
        self.requested -= 1
        self.leases += 1
        self.worker = Worker(LeaseId(self.leases))
        self.actor.started(self.worker.lease)
        self.decide()

    def ready(self):
        self.worker.is_ready = True
        self.actor.ready(self.worker.lease, self.now)
        self.decide()

    def begin(self):
        call = self.worker.sent[self.worker.begun]
        self.worker.begun += 1
        if call == "init":
            self.constructions += 1
        else:
            self.begun.append((self.leases, call))

    def answer(self, outcome=VALUE, at=None):
        worker = self.worker
        at = worker.unanswered()[0] if at is None else at
        worker.answered.add(at)
        numbered = self.actor.actor.concurrency is not None and worker.sent[at] != "init"
        numbers = [at - 1] if numbered else []
        self.actor.done(worker.lease, CallsDone([outcome], 0.001, False, numbers), self.now, self.outbox)
        self.decide()

    def die(self, death=KILLED):
        worker, self.worker = self.worker, None
        death = msgspec.structs.replace(death, unbegun=len(worker.sent) - worker.begun)
        self.actor.lost(LeaseLost(worker.lease, GroupId(1), death), self.outbox)
        self.decide()

    def construct(self):
        self.grant()
        self.ready()
        self.begin()
        self.answer()

    def end_of(self, sink):
        (outcome,) = sink.outcomes
        return OutcomeKind(outcome[0]), msgspec.msgpack.decode(outcome[1], type=ActorEnd)


def test_the_constructor_is_the_first_call_and_calls_wait_for_its_end():
    world = World(ActorPlan("Model"))
    world.call()
    assert world.actor.stage is ActorState.PENDING
    world.grant()
    world.ready()

    assert world.actor.stage is ActorState.STARTING
    assert world.worker.sent == ["init"]
    world.begin()
    world.answer()
    assert world.worker.sent == ["init", 0]
    assert world.actor.stage is ActorState.ALIVE


def test_an_error_of_the_constructor_reaches_every_call_and_nothing_is_started_again():
    world = World(ActorPlan("Model", max_restarts=5))
    before = world.call()
    world.grant()
    world.ready()
    world.begin()
    world.answer((OutcomeKind.ERROR, b"failure"))
    after = world.call()

    for sink in (before, after):
        kind, end = world.end_of(sink)
        assert kind is OutcomeKind.ACTOR_DIED
        assert end.failure == b"failure"
        assert end.at > 100.0
    assert world.actor.stage is ActorState.DEAD
    assert world.is_stopped
    assert world.requested == 0


def test_without_restarts_the_death_of_the_worker_ends_all_calls_and_says_why():
    world = World(ActorPlan("Model"))
    running, waiting = world.call(), world.call()
    world.construct()
    world.begin()
    world.die()

    for sink in (running, waiting, world.call()):
        kind, end = world.end_of(sink)
        assert kind is OutcomeKind.ACTOR_DIED
        assert "77 was killed by SIGKILL" in end.text
        assert "max_restarts" in end.text
        assert end.death.pid == 77


def test_a_restarted_actor_runs_what_had_not_begun_and_tells_of_what_had():
    world = World(ActorPlan("Model", max_restarts=1))
    running, waiting = world.call(), world.call()
    world.construct()
    world.begin()
    world.die()

    kind, end = world.end_of(running)
    assert kind is OutcomeKind.ACTOR_UNAVAILABLE
    assert "Model.run" in end.text
    assert "max_task_retries" in end.text
    assert world.actor.stage is ActorState.RESTARTING
    world.construct()
    assert world.constructions == 2
    world.begin()
    world.answer()
    assert waiting.outcomes == [VALUE]


def test_a_call_that_may_run_again_does_so_before_those_after_it():
    world = World(ActorPlan("Model", max_restarts=ALWAYS))
    first, second = world.call(retries=1), world.call()
    world.construct()
    world.begin()
    world.die()
    world.construct()

    assert world.worker.sent == ["init", 0, 1]
    world.begin()
    world.die()
    assert world.end_of(first)[0] is OutcomeKind.ACTOR_UNAVAILABLE
    assert second.outcomes == []


def test_deaths_in_the_constructor_count_as_restarts():
    world = World(ActorPlan("Model", max_restarts=2))
    call = world.call()
    for _ in range(3):
        world.grant()
        world.ready()
        world.begin()
        world.die()

    assert world.constructions == 3
    kind, end = world.end_of(call)
    assert kind is OutcomeKind.ACTOR_DIED
    assert "in the constructor" in end.text
    assert "2 times" in end.text


def test_workers_that_never_become_ready_are_given_up():
    world = World(ActorPlan("Model", max_restarts=ALWAYS))
    call = world.call()
    for _ in range(SETTINGS.start_failures_limit):
        world.grant()
        world.die(Death(77, 1))

    assert "before it was ready" in world.end_of(call)[1].text


def test_what_came_before_an_exit_is_answered_and_the_rest_fails():
    world = World(ActorPlan("Model", max_restarts=ALWAYS))
    sinks = [world.call() for _ in range(3)]
    world.construct()
    world.begin()
    world.begin()
    world.actor.done(
        world.worker.lease, CallsDone([VALUE, (OutcomeKind.EXITED, b"")], 0.1, False), world.now, world.outbox
    )
    world.decide()
    late = world.call()
    world.die(Death(77, 0))

    assert sinks[0].outcomes == [VALUE]
    for sink in (*sinks[1:], late):
        assert "exit_actor" in world.end_of(sink)[1].text


def test_an_actor_that_nobody_holds_ends_after_its_calls():
    world = World(ActorPlan("Model", max_restarts=ALWAYS))
    call = world.call()
    world.actor.close()
    world.construct()
    assert not world.worker.is_told_to_end
    world.begin()
    world.answer()

    assert call.outcomes == [VALUE]
    assert world.worker.is_told_to_end
    world.die(Death(77, 0))
    assert world.is_stopped
    assert "handle" in world.end_of(world.call())[1].text


def test_an_actor_whose_constructor_cannot_be_sent_ends_without_a_worker():
    actor = Actor(GroupId(1), GroupPlan(1, actor=ActorPlan("Model")), SETTINGS)
    outbox = Outbox()
    actor.terminate(outbox, OutcomeKind.TERMINATED, "its arguments cannot be pickled")
    actor.decide(1.0, outbox)

    assert [type(message) for _, message in outbox.messages] == [StopGroup]


def test_as_many_calls_run_beside_each_other_as_their_group_may():
    world = World(ActorPlan("Model", concurrency={"": 2, "io": 1}))
    for _ in range(4):
        world.call()
    world.call(group="io")
    world.construct()

    assert world.worker.sent == ["init", 0, 1, 4]
    for _ in range(3):
        world.begin()
    world.answer(at=2)
    assert world.calls[1][0].outcomes == [VALUE]
    assert world.worker.sent == ["init", 0, 1, 4, 2]


def test_of_calls_beside_each_other_those_that_had_begun_are_lost():
    world = World(ActorPlan("Model", max_restarts=1, concurrency={"": 3}))
    sinks = [world.call() for _ in range(4)]
    world.construct()
    world.begin()
    world.begin()
    world.answer(at=2)
    world.die()

    assert world.end_of(sinks[0])[0] is OutcomeKind.ACTOR_UNAVAILABLE
    assert sinks[1].outcomes == [VALUE]
    world.construct()
    assert world.worker.sent == ["init", 2, 3]


@pytest.mark.parametrize("concurrency", [None, {"": 2}])
def test_a_killed_actor_ends_what_runs_and_what_waits_once(concurrency):
    world = World(ActorPlan("Model", max_restarts=ALWAYS, concurrency=concurrency))
    sinks = [world.call() for _ in range(4)]
    world.construct()
    world.begin()
    world.actor.terminate(world.outbox, OutcomeKind.TERMINATED, "it was killed")
    world.decide()
    world.answer()
    world.die()

    assert {world.end_of(sink)[1].text for sink in sinks} == {"it was killed"}


class ActorMachine(RuleBasedStateMachine):
    """Any order of calls, answers and deaths."""

    @initialize(
        max_restarts=st.sampled_from([0, 1, 3, ALWAYS]),
        concurrency=st.sampled_from([None, {"": 1}, {"": 3, "io": 1}]),
        is_constructed=st.booleans(),
    )
    def start(self, max_restarts, concurrency, is_constructed):
        self.world = World(ActorPlan("Model", max_restarts, concurrency))
        self.concurrency = concurrency
        self.max_restarts = max_restarts
        self.is_closed = False
        if is_constructed:
            self.world.construct()

    @rule(count=st.integers(1, 3), retries=st.sampled_from([0, 0, 1, 2]), group=st.sampled_from(["", "io"]))
    def call(self, count, retries, group):
        for _ in range(0 if self.is_closed else count):
            self.world.call(retries, group if self.concurrency and group in self.concurrency else "")

    @rule(data=st.data())
    def cancel(self, data):
        waiting = [at for at, (sink, _) in enumerate(self.world.calls) if not sink.outcomes]
        if waiting:
            at = data.draw(st.sampled_from(waiting))
            if all(at != begun for _, begun in self.world.begun) and not self._is_sent(at):
                self.world.calls[at][0].is_cancelled = True

    @precondition(lambda self: self.world.requested and self.world.worker is None)
    @rule()
    def grant(self):
        self.world.grant()

    @precondition(lambda self: self.world.worker is not None and not self.world.worker.is_ready)
    @rule()
    def ready(self):
        self.world.ready()

    @precondition(lambda self: self.world.requested and self.world.worker is None)
    @rule()
    def come_up(self):
        self.world.construct()

    @precondition(lambda self: self.world.worker is not None and self.world.worker.begun < len(self.world.worker.sent))
    @rule(count=st.integers(1, 3))
    def begin(self, count):
        for _ in range(min(count, len(self.world.worker.sent) - self.world.worker.begun)):
            self.world.begin()

    @precondition(lambda self: self.world.worker is not None and self.world.worker.begun < len(self.world.worker.sent))
    @rule()
    def work(self):
        self.world.begin()
        self.world.answer()

    @precondition(lambda self: self.world.worker is not None and self.world.worker.unanswered())
    @rule(data=st.data())
    def answer(self, data):
        worker = self.world.worker
        unanswered = worker.unanswered()
        at = unanswered[0] if self.concurrency is None else data.draw(st.sampled_from(unanswered))
        self.world.answer(at=at)

    @precondition(lambda self: self.world.worker is not None)
    @rule()
    def die(self):
        self.world.die()

    @precondition(lambda self: self.world.worker is not None and len(self.world.begun) > 6)
    @rule()
    def kill(self):
        self.world.actor.terminate(self.world.outbox, OutcomeKind.TERMINATED, "it was killed")
        self.world.decide()

    @precondition(lambda self: len(self.world.calls) > 6)
    @rule()
    def close(self):
        self.is_closed = True
        self.world.actor.close()
        self.world.decide()

    def _is_sent(self, call):
        return self.world.worker is not None and call in self.world.worker.sent

    @invariant()
    def each_call_ends_at_most_once(self):
        for sink, _ in self.world.calls:
            assert len(sink.outcomes) <= 1

    @invariant()
    def what_is_outstanding_is_counted(self):
        actor = self.world.actor
        unended = sum(not sink.outcomes for sink, _ in self.world.calls)
        constructor = actor._constructor.sink.outcomes
        assert actor.outstanding == unended + (not constructor)

    @invariant()
    def calls_begin_in_their_order(self):
        if self.concurrency is None:
            for generation in {generation for generation, _ in self.world.begun}:
                begun = [call for own, call in self.world.begun if own == generation]
                assert begun == sorted(begun)

    @invariant()
    def no_call_begins_more_often_than_it_may(self):
        for at, (_, retries) in enumerate(self.world.calls):
            assert sum(call == at for _, call in self.world.begun) <= 1 + retries

    @invariant()
    def restarts_are_counted(self):
        assert self.world.actor.restarts <= self.max_restarts
        assert self.world.constructions <= 1 + self.world.actor.restarts

    @invariant()
    def a_dead_actor_has_no_calls(self):
        if self.world.actor.stage is ActorState.DEAD:
            assert all(sink.outcomes for sink, _ in self.world.calls)

    def teardown(self):
        if not hasattr(self, "world"):
            return
        world = self.world
        world.actor.close()
        world.decide()
        for _ in range(10_000):
            if world.is_stopped:
                break
            if world.worker is None:
                world.grant()
            elif world.worker.is_told_to_end:
                world.die(Death(77, 0))
            elif not world.worker.is_ready:
                world.ready()
            elif world.worker.begun < len(world.worker.sent):
                world.begin()
            else:
                world.answer()
        assert world.is_stopped
        if world.worker is not None:
            world.die()
        world.actor.gone(world.outbox)
        assert world.actor.state is GroupState.GONE
        assert all(len(sink.outcomes) == 1 for sink, _ in world.calls)
        assert world.actor.outstanding == 0
        self.no_call_begins_more_often_than_it_may()
        self.calls_begin_in_their_order()


TestActorMachine = ActorMachine.TestCase
TestActorMachine.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
