"""Calls that start calls and wait for them: all end, each once, however few may run and however they are ordered."""

import pickle
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from distpool.config import Settings
from distpool.ids import HEAD, INLINE_FUNCTION, NODE, GroupId, LeaseId
from distpool.logic.calls import Bundle, CallOptions
from distpool.logic.group_plan import GroupPlan
from distpool.protocol.messages import (
    CallMode,
    CallsDone,
    Death,
    ExitWorker,
    LeaseLost,
    LeaseStarted,
    OutcomeKind,
    RequestLeases,
    RunCalls,
    TakeBack,
    TakenBack,
    WorkerReady,
)
from distpool.protocol.placing import LeaseWaits
from distpool.roles.client import ClientRole
from tests.logic.machines import tries

GROUP = GroupId(1)


@dataclass
class Call:
    """One that starts a call for each of its `children`, which are trees too, and waits for all of them."""

    number: int
    depth: int
    children: list
    left: int = 0
    parent: "Call | None" = None
    times_begun: int = 0
    times_ended: int = 0


@dataclass
class Worker:
    lease: LeaseId
    held: list[int] = field(default_factory=list)
    running: Call | None = None
    waits: bool = False
    is_ready: bool = False
    is_stopping: bool = False
    is_leaving: bool = False


class World:
    """A group of `size` workers, and calls that start calls. What happens next is chosen from outside."""

    def __init__(self, size: int, limit: int = 100, *, linger_s: float = 1.0, step_s: float = 0.0) -> None:
        """`step_s`: so much time passes before each event."""
        self.size = size
        self.step_s = step_s
        self.client = ClientRole(Settings(waiting_limit=limit, waiting_linger_s=linger_s))
        self.group = self.client.open(GROUP, GroupPlan(size, on_demand=True, replaces_waiting=True))
        self.calls: list[Call] = []
        self.workers: dict[LeaseId, Worker] = {}
        self.requested = 0
        self.leases_made = 0
        self.free_at_head: set[LeaseId] = set()
        self.refusals = 0
        self.most_workers = 0
        self.most_waiting = 0
        self.now = 100.0

    def start(self, tree: list, parent: Call | None = None) -> None:
        call = Call(len(self.calls), 0 if parent is None else parent.depth + 1, tree, parent=parent)
        self.calls.append(call)
        options = CallOptions(depth=call.depth)
        bundle = Bundle(INLINE_FUNCTION, CallMode.ITEM, [call.number], self, call.number, options=options)
        self.client.submit(self.group, [bundle])

    # As a sink of calls.
    def begin(self) -> bool:
        return True

    def put_back(self) -> None:
        pass

    def deliver(self, first: int, outcomes: list) -> None:
        assert outcomes == [(int(OutcomeKind.VALUE), pickle.dumps(first))], "another call's"
        call = self.calls[first]
        call.times_ended += 1
        if call.parent is not None:
            call.parent.left -= 1
            if not call.parent.left:
                self._answer(call.parent)

    def _answer(self, call: Call) -> None:
        """All that it waits for is there."""
        for worker in self.workers.values():
            if worker.running is call and worker.waits:
                worker.waits = False
                self.client.goes_on(worker.lease)

    def can_do(self) -> list:
        """What may happen next, as (function, arguments)."""
        deeds: list = [(self.grant, ())] if self.requested else []
        for worker in self.workers.values():
            if not worker.is_ready:
                deeds.append((self.ready, (worker,)))
            elif worker.is_leaving:
                deeds.append((self.leave, (worker,)))
            elif worker.running is None and worker.held:
                deeds.append((self.run, (worker,)))
            elif worker.running is None and worker.is_stopping:
                deeds.append((self.report, (worker, [])))
            elif worker.running is not None and not worker.running.left:
                deeds.append((self.go_on, (worker,)))
        return deeds

    def grant(self) -> None:
        self.requested -= 1
        self.leases_made += 1
        lease = LeaseId(self.leases_made)
        self.workers[lease] = Worker(lease)
        self.most_workers = max(self.most_workers, len(self.workers))
        self.client.handle(NODE, LeaseStarted(lease, GROUP), self.now)

    def ready(self, worker: Worker) -> None:
        worker.is_ready = True
        self.client.handle(worker.lease, WorkerReady(), self.now)

    def leave(self, worker: Worker) -> None:
        assert not worker.held
        del self.workers[worker.lease]
        self.client.handle(NODE, LeaseLost(worker.lease, GROUP, Death(1, 0)), self.now)

    def run(self, worker: Worker) -> None:
        call = self.calls[worker.held[0]]
        call.times_begun += 1
        worker.running = call
        for tree in call.children:
            self.start(tree, call)
        call.left = len(call.children)
        if call.children:
            if self.client.waits(worker.lease):
                self.refusals += 1
                call.left = 0  # it ends with an error, and what it has started runs all the same
            else:
                worker.waits = True

    def go_on(self, worker: Worker) -> None:
        number = worker.held.pop(0)
        worker.running = None
        self.report(worker, [(int(OutcomeKind.VALUE), pickle.dumps(number))])

    def report(self, worker: Worker, outcomes: list) -> None:
        has_stopped, worker.is_stopping = worker.is_stopping, False
        self.client.handle(worker.lease, CallsDone(outcomes, 0.001, has_stopped), self.now)

    def decide(self) -> None:
        outbox = self.client.outbox
        for _ in range(20):
            self.client.decide(self.now)
            if not (outbox.messages or outbox.completions):
                break
            while outbox.messages:
                self._obey(*outbox.messages.popleft())
            while outbox.completions:
                bundle, first, outcomes = outbox.completions.popleft()
                bundle.sink.deliver(first, outcomes)
        else:
            raise AssertionError("it goes on deciding without news")
        self.most_waiting = max(self.most_waiting, sum(worker.waits for worker in self.workers.values()))
        assert len(self.group.leases) + self.requested <= self.size + self.most_waiting

    def _obey(self, to: object, message: object) -> None:
        match message:
            case RequestLeases(_, count):
                self.requested += count
            case LeaseWaits(lease, waits):
                assert to == HEAD
                assert (lease in self.free_at_head) != waits, "said twice"
                self.free_at_head ^= {lease}
            case RunCalls(slices):
                worker = self.workers[to]
                assert worker.is_ready
                assert not worker.waits, "it cannot begin them now"
                assert not worker.is_stopping, "it drops what it gets"
                assert not worker.is_leaving, "it was told to end"
                was_idle = not worker.held
                for piece in slices:
                    args = pickle.loads(piece.args)
                    worker.held += args if piece.packed else [args]
                busy = [each for each in self.workers.values() if each.held and not each.waits]
                assert not was_idle or len(busy) <= self.size, "more calls run than may"
            case TakeBack(lease):
                worker = self.workers[lease]
                kept = 1 if worker.running is not None else 0
                taken = len(worker.held) - kept
                del worker.held[kept:]
                worker.is_stopping = worker.is_stopping or taken > 0
                self.client.handle(lease, TakenBack(taken), self.now)
            case ExitWorker():
                assert not self.workers[to].held
                self.workers[to].is_leaving = True
            case _:
                raise AssertionError(f"{message!r} to {to!r}")

    def run_all(self, choose) -> None:
        self.decide()
        while deeds := self.can_do():
            deed, arguments = choose(deeds)
            self.now += self.step_s
            deed(*arguments)
            self.decide()
        assert [(call.times_begun, call.times_ended) for call in self.calls] == [(1, 1)] * len(self.calls)
        assert not any(worker.waits for worker in self.workers.values())


TREES = st.recursive(st.just([]), lambda trees: st.lists(trees, max_size=3), max_leaves=12)


def depth_of(tree: list) -> int:
    return 1 + max(map(depth_of, tree), default=0)


@tries(150)
@given(
    st.randoms(use_true_random=False),
    st.lists(TREES, min_size=1, max_size=3),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([0.0, 0.003]),
)
def test_calls_that_wait_for_calls_all_end_and_each_begins_once(random, trees, size, lingers, step_s):
    world = World(size, linger_s=1.0 if lingers else 0.0, step_s=step_s)
    for tree in trees:
        world.start(tree)
    world.run_all(random.choice)


@tries(100)
@given(st.randoms(use_true_random=False), TREES)
def test_with_one_slot_no_more_wait_than_calls_are_deep(random, tree):
    world = World(1)
    world.start(tree)
    world.run_all(random.choice)
    assert world.most_workers <= depth_of(tree)


@tries(100)
@given(st.randoms(use_true_random=False), st.integers(1, 3))
def test_wide_calls_that_end_late_get_their_own_outcomes(random, size):
    """What is sent ahead is asked back again and again, while some wait and others have nothing to do."""
    world = World(size, linger_s=10.0, step_s=0.003)
    for width in range(8):
        world.start([[] for _ in range(width)])
    world.run_all(random.choice)


def nested(depth: int) -> list:
    return [] if depth == 0 else [nested(depth - 1)]


def test_beyond_the_limit_a_call_that_would_wait_is_refused_and_all_go_on():
    world = World(2, limit=3)
    world.start(nested(6))
    world.run_all(lambda deeds: deeds[0])
    assert world.refusals == 1
    assert world.most_workers <= 5


def test_who_is_too_many_leaves_when_it_has_had_nothing_to_do_for_a_while():
    world = World(1)
    world.start(nested(4))
    world.run_all(lambda deeds: deeds[0])
    assert len(world.workers) == 5
    world.now += 2.0
    world.run_all(lambda deeds: deeds[0])
    assert len(world.workers) == 1


def test_the_deepest_call_is_sent_first():
    world = World(1)
    for _ in range(3):
        world.start([[], []])
    order: list[int] = []

    def choose(deeds):
        for deed, arguments in deeds:
            if deed == world.run:
                order.append(world.calls[arguments[0].held[0]].depth)
                return deed, arguments
        return deeds[0]

    world.run_all(choose)
    assert order == [0, 1, 1] * 3
