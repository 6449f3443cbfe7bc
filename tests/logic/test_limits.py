"""Time limits: until when a call may run, and how a pool ends one that runs for longer."""

import pytest

from distpool.config import Settings
from distpool.ids import INLINE_FUNCTION, GroupId, LeaseId
from distpool.logic.calls import Bundle, CallOptions, Span
from distpool.logic.group_plan import GroupPlan
from distpool.logic.leases import Lease
from distpool.logic.limits import overdue
from distpool.protocol.messages import (
    CallMode,
    CallsDone,
    EndWorker,
    ExitWorker,
    FunctionBlob,
    LeaseStarted,
    OutcomeKind,
    RunCalls,
    TakeBack,
    TakenBack,
    WorkerReady,
)
from distpool.roles.client import ClientRole
from tests.logic.pool_world import PoolWorld

LIMIT_S = 5.0
RECALL_S = 1.0
LIMITED = CallOptions(timeout_s=LIMIT_S)


def lease_that_holds(*limits, heard_at=10.0):
    lease = Lease(LeaseId(1), None)
    lease.heard_at = heard_at
    for timeout_s in limits:
        options = CallOptions(timeout_s=timeout_s)
        lease.holding.add([Span(Bundle(INLINE_FUNCTION, CallMode.ITEM, [1], None, options=options), 0, 1)])
    return lease


@pytest.mark.parametrize(
    ("limits", "due"),
    [
        ([], (None, 0.0)),
        ([None], (None, 0.0)),
        ([None, 2.0], (None, 0.0)),
        ([2.0], (12.0, 2.0)),
        ([3.0, 1.0], (13.0, 3.0)),
    ],
)
def test_the_oldest_call_of_a_worker_counts_from_the_last_time_it_was_heard(limits, due):
    assert overdue(lease_that_holds(*limits)) == due


def test_an_abandoned_worker_is_not_overdue_again():
    lease = lease_that_holds(2.0)
    lease.is_abandoned = True
    assert overdue(lease) == (None, 0.0)


# In a pool ----------------------------------------------------------------------------------------------------------


def pool_with_workers(size, **options):
    world = PoolWorld(GroupPlan(size, **options), steal_after_s=1000.0)
    workers = [world.grant() for _ in range(size)]
    for worker in workers:
        world.ready(worker)
    return world, workers


def test_a_call_over_its_limit_is_timed_out_at_that_moment_and_its_worker_is_ended():
    world, (worker,) = pool_with_workers(1)
    world.submit(1, options=LIMITED)
    world.begin(worker)
    assert world.wake_at == world.now + LIMIT_S
    world.pass_time(LIMIT_S - 0.001)
    assert world.outcomes() == [None]
    world.pass_time(0.001)
    assert world.outcomes() == ["TIMED_OUT"]
    assert world.calls[0].text == "work for item 0 ran for longer than its time limit of 5 s, and its worker was ended"
    assert worker.is_condemned
    assert worker.is_leaving


def test_a_new_worker_comes_when_the_old_one_has_ended():
    world, (worker,) = pool_with_workers(1)
    world.submit(2, options=LIMITED)
    world.begin(worker)
    world.pass_time(LIMIT_S)
    assert world.outcomes() == ["TIMED_OUT", None]
    assert world.requested == 0
    world.die(worker)
    replacement = world.grant()
    world.ready(replacement)
    world.run_one(replacement)
    assert world.outcomes() == ["TIMED_OUT", "VALUE"]


def test_a_pool_without_limits_never_wakes_for_one():
    world, (worker,) = pool_with_workers(1)
    world.submit(1)
    world.begin(worker)
    assert world.wake_at is None


def test_calls_held_beside_an_overdue_one_run_elsewhere():
    world, (slow, quick) = pool_with_workers(2)
    world.submit(4, options=LIMITED)
    world.begin(slow)
    world.run_one(quick)
    world.run_one(quick)
    assert slow.held == [0, 1]
    world.pass_time(LIMIT_S)
    assert world.outcomes() == ["TIMED_OUT", None, "VALUE", "VALUE"]
    assert quick.held == [1]
    world.run_one(quick)
    assert world.outcomes() == ["TIMED_OUT", "VALUE", "VALUE", "VALUE"]


def test_what_an_abandoned_worker_still_says_is_not_heard():
    world, (worker,) = pool_with_workers(1)
    world.submit(1, options=LIMITED)
    world.begin(worker)
    world.pass_time(LIMIT_S)
    world.end(worker)
    world.report(worker)
    world.leave(worker)
    assert world.outcomes() == ["TIMED_OUT"]
    assert world.group.outstanding == 0


def test_each_call_has_the_whole_time_from_when_it_can_begin():
    world, (worker,) = pool_with_workers(1)
    world.submit(2, options=LIMITED)
    world.begin(worker)
    world.pass_time(LIMIT_S - 1)
    world.end(worker)
    world.report(worker)
    world.begin(worker)
    world.pass_time(LIMIT_S - 1)
    assert world.outcomes() == ["VALUE", None]
    world.pass_time(1)
    assert world.outcomes() == ["VALUE", "TIMED_OUT"]


def test_a_call_that_was_finished_in_time_keeps_its_result_though_nobody_has_told_of_it():
    world, (worker,) = pool_with_workers(1)
    world.submit(2, options=LIMITED)
    world.begin(worker)
    world.end(worker)
    world.begin(worker)
    world.pass_time(LIMIT_S)
    assert world.outcomes() == ["VALUE", None]
    world.pass_time(LIMIT_S)
    assert world.outcomes() == ["VALUE", "TIMED_OUT"]


def test_when_results_lie_unread_before_the_running_call_it_looks_again_in_a_moment():
    world = PoolWorld(GroupPlan(1), steal_after_s=1000.0, peeks=False)
    worker = world.grant()
    world.ready(worker)
    world.submit(2, options=LIMITED)
    world.begin(worker)
    world.end(worker)
    world.begin(worker)
    world.pass_time(LIMIT_S)
    assert world.outcomes() == [None, None]
    assert world.wake_at == pytest.approx(world.now + world.settings.peek_after_s)


def test_a_call_that_its_worker_has_not_begun_in_time_is_timed_out_and_never_begins():
    """The worker's process is stopped, say. A second outcome after it, or an effect, would be a surprise."""
    world, (worker,) = pool_with_workers(1)
    world.submit(2, options=LIMITED)
    world.pass_time(LIMIT_S)
    assert world.outcomes() == ["TIMED_OUT", None]
    assert worker.held == []
    assert worker.is_condemned


def test_nothing_is_sent_to_a_worker_in_the_turn_in_which_its_call_is_overdue():
    """A call on its way would not be there to be taken back, and the one that runs would be taken for two."""
    world, (worker,) = pool_with_workers(1)
    world.submit(1, options=LIMITED)
    world.begin(worker)
    world.now += LIMIT_S
    world.submit(1)
    assert world.outcomes() == ["TIMED_OUT", None]
    assert worker.held == [0]


def test_the_rest_of_a_lost_chunk_has_the_limit_too_and_then_the_loss_is_told():
    world, (dying, other) = pool_with_workers(2)
    world.submit(1, items=4, options=LIMITED)
    runner = dying if dying.held else other
    world.begin(runner)
    world.begin_item(runner)
    world.die(runner)
    (rest,) = world.workers.values()
    world.begin(rest)
    world.begin_item(rest)
    world.pass_time(LIMIT_S)
    assert world.outcomes() == ["LOST"]
    assert rest.is_condemned
    assert world.calls[0].times_begun == [1, 1, 0, 0]


def test_a_call_that_is_timed_out_is_not_tried_again():
    world, (worker,) = pool_with_workers(1)
    world.submit(1, options=CallOptions(timeout_s=LIMIT_S, retries=5))
    world.begin(worker)
    world.pass_time(LIMIT_S)
    world.die(worker)
    assert world.outcomes() == ["TIMED_OUT"]


def test_an_executor_is_not_broken_by_the_end_of_a_worker_over_its_limit():
    world, (worker,) = pool_with_workers(1, breaks=True)
    world.submit(1, options=LIMITED)
    world.begin(worker)
    world.pass_time(LIMIT_S)
    world.die(worker)
    assert not world.group.is_broken()


def test_a_terminated_pool_counts_abandoned_workers_among_the_busy_ones():
    world, (slow, busy, _) = pool_with_workers(3)
    world.submit(1, options=LIMITED)
    world.begin(slow)
    world.pass_time(LIMIT_S)
    world.submit(1)
    assert busy.held == [1]
    world.terminate()
    assert world.busy_at_stop == [slow.lease, busy.lease]


# A worker elsewhere, whose answers take their time --------------------------------------------------------------------


class Outcomes:
    """The sink of some calls."""

    def __init__(self):
        self.kinds = {}

    def begin(self):
        return True

    def put_back(self):
        pass

    def deliver(self, first, outcomes):
        self.kinds.update(enumerate((kind for kind, _ in outcomes), first))


class FarPool:
    """One worker of a group, to which messages go and whose answers the test gives."""

    def __init__(self, calls):
        self.now = 100.0
        self.client = ClientRole(Settings(steal_after_s=1000.0, recall_after_s=RECALL_S))
        self.client.functions[1] = FunctionBlob(1, b"", False, "work")
        self.group = self.client.open(GroupId(1), GroupPlan(1, is_far=True))
        self.sink = Outcomes()
        self.hear(LeaseStarted(LeaseId(1), GroupId(1)), WorkerReady())
        self.submit(1)
        self.hear(CallsDone([(OutcomeKind.VALUE, b"")], 0.0, False))
        self.submit(calls)

    def submit(self, calls):
        self.sink.kinds.clear()
        options = CallOptions(timeout_s=LIMIT_S)
        self.client.submit(self.group, [Bundle(1, CallMode.ITEM, list(range(calls)), self.sink, options=options)])
        self.said = self.decide()

    def hear(self, *messages):
        for message in messages:
            self.client.handle(LeaseId(1), message, self.now)
        return self.decide()

    def pass_time(self, seconds):
        self.now += seconds
        return self.decide()

    def decide(self):
        self.client.decide(self.now)
        outbox = self.client.outbox
        while outbox.completions:
            bundle, first, outcomes = outbox.completions.popleft()
            bundle.sink.deliver(first, outcomes)
        said = [type(message) for _, message in outbox.messages]
        outbox.messages.clear()
        return said


def test_a_worker_that_is_asked_already_is_not_asked_again():
    pool = FarPool(3)
    assert pool.said == [RunCalls]
    assert pool.pass_time(RECALL_S) == [TakeBack]
    assert pool.pass_time(LIMIT_S) == []
    assert pool.hear(TakenBack(2)) == [ExitWorker, EndWorker]
    assert pool.sink.kinds == {0: OutcomeKind.TIMED_OUT}


def test_a_call_that_was_over_its_limit_and_not_begun_ends_though_its_worker_has_said_more():
    pool = FarPool(3)
    assert pool.pass_time(LIMIT_S) == [TakeBack]
    assert pool.hear(TakenBack(3), CallsDone([], 0.0, True)) == [ExitWorker, EndWorker]
    assert pool.sink.kinds == {0: OutcomeKind.TIMED_OUT}


def test_a_call_that_has_ended_before_the_answer_comes_is_not_over_its_limit():
    pool = FarPool(2)
    assert pool.pass_time(LIMIT_S) == [TakeBack]
    assert pool.hear(CallsDone([(OutcomeKind.VALUE, b"")], 0.0, False), TakenBack(1)) == []
    assert pool.hear(CallsDone([], 0.0, True)) == [RunCalls]
    assert pool.sink.kinds == {0: OutcomeKind.VALUE}
