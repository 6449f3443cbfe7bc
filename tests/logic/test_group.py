"""One pool's leases and calls: anything may happen in the world around it; and then the same in words."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from distpool.logic.calls import NO_OPTIONS, CallOptions
from distpool.logic.group_plan import GroupPlan, GroupState
from distpool.protocol.messages import OutcomeKind, TakenBack
from tests.logic.machines import tries
from tests.logic.pool_world import PoolWorld

PATIENCE_S = 1.0
OPTIONS = [
    NO_OPTIONS,
    NO_OPTIONS,
    CallOptions(retries=1),
    CallOptions(retries=2, priority=-1),
    CallOptions(priority=3),
    CallOptions(timeout_s=0.5),
    CallOptions(timeout_s=1.5, retries=1),
]


class AnyPool(RuleBasedStateMachine):
    """A pool from its first call to its last process."""

    world: PoolWorld

    @initialize(
        size=st.integers(1, 3),
        on_demand=st.booleans(),
        breaks=st.booleans(),
        calls_per_worker=st.sampled_from([None, None, 1, 2, 3]),
        bytes_ahead_limit=st.sampled_from([40, 10**6]),
        peeks=st.booleans(),
        is_idle_limited=st.booleans(),
    )
    def open(self, size, on_demand, breaks, calls_per_worker, bytes_ahead_limit, peeks, is_idle_limited):
        idle_limit_s = PATIENCE_S if on_demand and is_idle_limited else None
        plan = GroupPlan(size, on_demand, breaks, calls_per_worker, idle_limit_s=idle_limit_s)
        self.world = PoolWorld(plan, steal_after_s=PATIENCE_S, bytes_ahead_limit=bytes_ahead_limit, peeks=peeks)

    # The user -------------------------------------------------------------------------------------------------------

    @rule(
        count=st.just(1) | st.integers(1, 8),
        first=st.integers(0, 5),
        entry_bytes=st.sampled_from([16, 30, 100]),
        items=st.sampled_from([None, None, 1, 2, 4]),
        options=st.sampled_from(OPTIONS),
        late_s=st.sampled_from([0.0, 0.0, 0.5, 1.5]),
    )
    def submit(self, count, first, entry_bytes, items, options, late_s):
        if not self.world.is_closed:
            self.world.now += late_s  # Something may become due in the very turn in which calls come.
            self.world.submit(count, first, entry_bytes, items=items, options=options)

    @rule(data=st.data())
    def cancel(self, data):
        waiting = [sink for sink in self.world.sinks if not sink.was_begun]
        if waiting:
            self.world.cancel(data.draw(st.sampled_from(waiting)))

    @rule(data=st.data(), force=st.booleans())
    def stop(self, data, force):
        lone = [sink for sink in self.world.sinks if len(sink.calls) == 1 and not sink.calls[0].is_chunk]
        wanted = [sink for sink in lone if sink.calls[0].outcome is None and not sink.calls[0].is_unwanted]
        held = {number for worker in self.world.workers.values() for number in worker.held}
        wanted = [sink for sink in wanted if sink.calls[0].number in held] or wanted
        if wanted:
            self.world.stop(data.draw(st.sampled_from(wanted)), force=force)
        elif not self.world.is_closed:
            self.world.submit(1)

    @rule(seconds=st.sampled_from([0.1, PATIENCE_S, 2 * PATIENCE_S]))
    def pass_time(self, seconds):
        self.world.pass_time(seconds)

    @precondition(lambda self: len(self.world.calls) > 5 and not self.world.is_closed)
    @rule()
    def close(self):
        self.world.close()

    @precondition(lambda self: len(self.world.calls) > 15)
    @rule(how=st.sampled_from(["terminate", "cancel what waits", "the template ends", "cancel what waits"]))
    def go_wrong(self, how):
        if how == "cancel what waits":
            self.world.cancel_waiting()
        elif how == "terminate":
            self.world.is_closed = True
            self.world.terminate()
        elif not self.world.is_gone:
            self.world.template_ends()

    # The workers ----------------------------------------------------------------------------------------------------

    def some_worker(self, data, is_able):
        able = [worker for worker in self.world.workers.values() if is_able(worker)]
        return data.draw(st.sampled_from(able)) if able else None

    @rule()
    def drop_requests(self):
        if self.world.is_end_told and self.world.requested and not self.world.is_head_gone:
            self.world.drop_requests(self.world.requested)

    @rule()
    def refuse_one(self):
        if self.world.requested and not self.world.is_head_gone:
            self.world.refuse_one()

    @rule(data=st.data())
    def rejoin(self, data):
        if self.world.is_head_gone:
            self.world.find_head()
        self.world.rejoin(data.draw(st.integers(0, self.world.requested)))

    @rule(data=st.data())
    def drain(self, data):
        worker = self.some_worker(data, lambda worker: not worker.is_draining)
        if worker:
            self.world.drain(worker)

    @precondition(lambda self: len(self.world.calls) > 10)
    @rule(is_back=st.booleans())
    def lose_head(self, is_back):
        self.world.lose_head()
        if is_back:
            self.world.find_head()

    @precondition(lambda self: self.world is not None and self.world.requested)
    @rule()
    def grant(self):
        if self.world.requested and not self.world.is_head_gone:
            self.world.grant()

    @rule(data=st.data())
    def become_ready(self, data):
        worker = self.some_worker(data, lambda worker: not worker.is_ready)
        if worker:
            self.world.ready(worker)

    @rule(data=st.data())
    def begin(self, data):
        worker = self.some_worker(data, lambda worker: worker.unbegun() and not worker.is_running)
        if worker:
            self.world.begin(worker)

    @rule(data=st.data())
    def begin_item(self, data):
        worker = self.some_worker(data, lambda worker: worker.is_running and self.world.items_left(worker) > 0)
        if worker:
            self.world.begin_item(worker)

    @rule(data=st.data())
    def end(self, data):
        worker = self.some_worker(data, lambda worker: worker.is_running)
        if worker:
            self.world.end(worker)

    @rule(data=st.data(), busy_s=st.sampled_from([0.0, 0.001, 1.0]))
    def report(self, data, busy_s):
        worker = self.some_worker(data, lambda worker: worker.ended or worker.is_stopping)
        if worker:
            self.world.report(worker, busy_s)

    @rule(data=st.data(), is_fast=st.booleans())
    def run_one(self, data, is_fast):
        worker = self.some_worker(data, lambda worker: worker.unbegun() and not worker.is_running)
        if worker:
            self.world.run_one(worker, 0.0 if is_fast else 0.004)

    @rule(data=st.data())
    def leave(self, data):
        worker = self.some_worker(data, lambda worker: worker.is_leaving)
        if worker:
            self.world.leave(worker)

    @precondition(lambda self: len(self.world.calls) > 3)
    @rule(data=st.data(), memory_ran_out=st.booleans())
    def die(self, data, memory_ran_out):
        worker = self.some_worker(data, lambda worker: True)
        if worker:
            self.world.die(worker, memory_ran_out=memory_ran_out)

    @precondition(lambda self: len(self.world.calls) > 3)
    @rule(data=st.data())
    def fail_to_start(self, data):
        worker = self.some_worker(data, lambda worker: not worker.is_ready)
        if worker:
            self.world.fail_to_start(worker)

    # What always holds ----------------------------------------------------------------------------------------------

    @invariant()
    def there_are_no_more_leases_than_the_pool_is_large(self):
        assert len(self.world.workers) + self.world.requested <= self.world.plan.size

    @invariant()
    def it_knows_what_has_no_outcome_and_who_holds_what(self):
        world = self.world
        assert world.group.outstanding == sum(call.outcome is None for call in world.calls)
        if world.group.state in (GroupState.OPEN, GroupState.CLOSING):
            workers = world.workers
            held = {lease: 0 if worker.is_condemned else len(worker.held) for lease, worker in workers.items()}
            assert {lease: world.client.held_by(lease) for lease in world.workers} == held

    @invariant()
    def a_pool_that_is_over_has_no_call_left_and_stops_its_template_once(self):
        state = self.world.group.state
        if state not in (GroupState.OPEN, GroupState.CLOSING):
            assert all(call.outcome is not None for call in self.world.calls)
        assert self.world.stops <= 1
        if state in (GroupState.BROKEN, GroupState.TERMINATED):
            assert self.world.stops == 1

    @invariant()
    def no_call_waits_beside_an_idle_worker(self):
        world = self.world
        if world.group.state not in (GroupState.OPEN, GroupState.CLOSING):
            return
        idle = [w for w in world.workers.values() if w.is_ready and not (w.held or w.is_stopping or w.is_leaving)]
        if idle:
            assert world.group.queue.waiting == 0
            hoarded = [w for w in world.workers.values() if w.is_ready and w.unbegun() and len(w.held) > 1]
            assert not hoarded or world.wake_at is not None

    @invariant()
    def what_waits_behind_a_long_call_is_looked_at_in_time(self):
        world = self.world
        if world.may_cancel or world.group.state not in (GroupState.OPEN, GroupState.CLOSING):
            return
        for worker in world.workers.values():
            is_apart = worker.is_stopping or worker.is_leaving or worker.is_condemned
            if len(worker.held) > 2 and worker.unbegun() and not is_apart:
                assert world.wake_at is not None
                assert world.wake_at <= max(world.now, worker.heard_at + world.settings.recall_after_s)

    @invariant()
    def no_call_runs_over_its_limit_and_it_wakes_when_the_next_may(self):
        world = self.world
        if world.group.state not in (GroupState.OPEN, GroupState.CLOSING):
            return
        for worker in world.workers.values():
            if not worker.held or worker.is_condemned:
                continue
            timeout_s = world.calls[worker.held[0]].options.timeout_s
            if timeout_s is None:
                continue
            due = worker.heard_at + timeout_s
            if worker.ended:
                # A finished one stands before the one that runs: its result is read in a moment.
                due = max(due, world.now + world.settings.peek_after_s)
            assert world.now < due
            assert world.wake_at is not None
            assert world.wake_at <= due

    def teardown(self):
        if not hasattr(self, "world"):
            return
        world = self.world
        if not world.is_closed:
            world.close()
        world.find_head()
        for _ in range(500):
            if world.is_gone:
                break
            finish_what_can_be_finished(world)
        assert world.is_gone
        assert world.stops <= 1
        assert not world.workers
        assert None not in world.outcomes()


def finish_what_can_be_finished(world):
    """One round of a world in which nothing fails any more. A worker that is killed by StopGroup just dies."""
    while world.requested:
        world.grant()
    for worker in list(world.workers.values()):
        if world.group.state in (GroupState.BROKEN, GroupState.TERMINATED):
            world.die(worker)
        elif worker.is_leaving:
            world.leave(worker)
        elif not worker.is_ready:
            world.ready(worker)
        elif worker.is_running:
            world.end(worker)
        elif worker.ended or worker.is_stopping:
            world.report(worker)
        elif worker.unbegun():
            world.run_one(worker)
    if world.stops and not world.workers:
        world.template_ends()
    elif not any(worker.held for worker in world.workers.values()) and world.group._resting:
        world.pass_time(world.settings.memory_rest_limit_s)


TestAnyPool = AnyPool.TestCase
TestAnyPool.settings = tries(200, steps=60)


# In words -----------------------------------------------------------------------------------------------------------


def pool(size=1, *, on_demand=False, breaks=False, calls_per_worker=None):
    return PoolWorld(GroupPlan(size, on_demand, breaks, calls_per_worker), steal_after_s=PATIENCE_S)


def pool_with_workers(size, **options):
    world = pool(size, **options)
    if options.get("on_demand"):
        world.submit(size)
    workers = [world.grant() for _ in range(size)]
    for worker in workers:
        world.ready(worker)
    return world, workers


def test_a_pool_asks_for_all_its_workers_at_once_and_an_executor_for_one_per_call():
    assert pool(3).requested == 3
    executor = pool(3, on_demand=True)
    assert executor.requested == 0
    executor.submit(2)
    assert executor.requested == 2
    executor.submit(5)
    assert executor.requested == 3


def test_calls_are_shared_out_among_idle_workers():
    world, workers = pool_with_workers(2)
    world.submit(4)
    assert [worker.held for worker in workers] == [[0, 1], [2, 3]]


def test_an_idle_worker_gets_what_a_silent_one_has_not_begun():
    world, (slow, quick) = pool_with_workers(2)
    world.submit(4)
    world.begin(slow)
    world.run_one(quick)
    world.run_one(quick)
    assert slow.held == [0, 1]
    assert world.wake_at == pytest.approx(world.now + PATIENCE_S)
    world.pass_time(PATIENCE_S)
    assert (slow.held, quick.held) == ([0], [1])


def test_calls_that_were_sent_at_once_behind_a_long_one_come_back_although_nobody_is_idle():
    world, (worker,) = pool_with_workers(1)
    world.submit(1)
    world.run_one(worker, 0.0)
    world.submit(1)
    world.begin(worker)
    world.submit(5)
    assert len(worker.held) == 6
    assert world.wake_at == pytest.approx(world.now + world.settings.recall_after_s)
    world.pass_time(world.settings.recall_after_s)
    assert len(worker.held) == 1


def test_a_worker_that_gave_calls_back_gets_none_until_it_has_stopped():
    world, (slow, quick) = pool_with_workers(2)
    world.submit(4)
    world.begin(slow)
    world.run_one(quick)
    world.run_one(quick)
    world.pass_time(PATIENCE_S)
    world.submit(20)
    assert slow.held == [0]
    world.end(slow)
    world.report(slow)
    assert len(slow.held) > 1


def test_a_worker_that_had_begun_all_is_not_asked_again_without_news():
    world, (slow, quick) = pool_with_workers(2)
    world.submit(4)
    world.begin(slow)
    world.end(slow)
    world.begin(slow)
    world.run_one(quick)
    world.run_one(quick)
    world.pass_time(PATIENCE_S)
    world.pass_time(PATIENCE_S)
    assert world.take_backs == 1
    assert slow.held == [1]


def test_a_worker_that_is_about_to_end_is_no_reason_to_take_calls_back():
    """Calls that go out in this very turn would be the ones that are taken off the books, and not those taken back."""
    world, (busy, spent) = pool_with_workers(2, calls_per_worker=2)
    world.submit(3)
    assert (busy.held, spent.held) == ([0, 1], [2])
    world.submit(1)
    assert spent.held == [2, 3]
    world.begin(busy)
    world.run_one(spent)
    world.pass_time(PATIENCE_S)
    world.run_one(spent)
    assert spent.is_leaving
    assert busy.held == [0, 1]
    assert world.take_backs == 0


def test_a_killed_worker_loses_the_call_that_it_had_begun_and_no_other():
    world, (dying, other) = pool_with_workers(2)
    world.submit(4)
    world.begin(dying)
    world.die(dying)
    assert world.outcomes() == ["LOST", None, None, None]
    for _ in range(3):
        world.run_one(other)
    assert world.outcomes() == ["LOST", "VALUE", "VALUE", "VALUE"]


def test_a_killed_worker_is_replaced():
    world, (dying,) = pool_with_workers(1)
    world.die(dying)
    assert world.requested == 1


def test_an_idle_worker_that_is_killed_breaks_an_executor():
    world, (dying, _) = pool_with_workers(2, on_demand=True, breaks=True)
    world.submit(3)
    world.die(dying)
    assert set(world.outcomes()) == {"BROKEN"}
    assert world.stops == 1
    assert "terminated abruptly" in world.group.reason
    assert "was killed by SIGKILL (signal 9)" in world.group.reason


def test_calls_for_a_broken_pool_end_at_once():
    world, (dying,) = pool_with_workers(1, breaks=True)
    world.die(dying)
    world.submit(2)
    assert world.outcomes() == ["BROKEN", "BROKEN"]


def test_three_workers_that_fail_to_start_break_a_pool_and_it_says_why():
    world = pool(1)
    world.submit(1)
    for _ in range(3):
        assert world.outcomes() == [None]
        world.fail_to_start(world.grant())
    assert world.outcomes() == ["BROKEN"]
    assert "exited with code 1 before it was ready to take calls, as 2 before it" in world.group.reason
    assert "ValueError: no luck" in world.group.reason


def test_one_worker_that_fails_to_start_breaks_an_executor():
    world = pool(1, on_demand=True, breaks=True)
    world.submit(1)
    world.fail_to_start(world.grant())
    assert world.outcomes() == ["BROKEN"]


def test_a_worker_that_starts_forgives_those_that_did_not():
    world = pool(2)
    for _ in range(2):
        world.fail_to_start(world.grant())
    good = world.grant()
    world.ready(good)
    for _ in range(2):
        world.fail_to_start(world.grant())
    assert world.group.state is GroupState.OPEN


def test_a_worker_is_replaced_after_so_many_calls():
    world, (first,) = pool_with_workers(1, calls_per_worker=2)
    world.submit(3)
    world.run_one(first)
    assert not first.is_leaving
    world.run_one(first)
    assert first.is_leaving
    assert first.held == []
    assert world.requested == 0
    world.leave(first)
    second = world.grant()
    world.ready(second)
    assert second.held == [2]


def test_a_cancelled_call_is_never_sent():
    world, (worker,) = pool_with_workers(1)
    world.submit(2)
    cancelled = world.submit(1)
    world.submit(1)
    world.cancel(cancelled)
    while worker.held:
        world.run_one(worker)
    assert world.outcomes() == ["VALUE", "VALUE", "CANCELLED", "VALUE"]


def test_what_waits_is_cancelled_and_what_was_sent_goes_on():
    world, (worker,) = pool_with_workers(1)
    for _ in range(4):
        world.submit(1)
    world.begin(worker)
    world.cancel_waiting()
    world.end(worker)
    world.report(worker)
    while worker.held:
        world.run_one(worker)
    assert world.outcomes() == ["VALUE", "VALUE", "CANCELLED", "CANCELLED"]


def test_calls_that_came_back_are_cancelled_like_others_that_wait():
    """But for as many as the standard Executor has queued: one for each worker, and one."""
    world, (dying,) = pool_with_workers(1)
    world.submit(1)
    world.run_one(dying, 0.0)
    for _ in range(4):
        world.submit(1)
    world.begin(dying)
    world.die(dying)
    world.cancel_waiting()
    assert world.outcomes() == ["VALUE", "LOST", None, None, "CANCELLED"]
    replacement = world.grant()
    world.ready(replacement)
    assert replacement.held == [2, 3]


def test_a_call_for_which_memory_was_short_rests_and_others_run_meanwhile():
    world, (dying, other) = pool_with_workers(2)
    world.submit(1, options=CallOptions(retries=1))
    world.begin(dying)
    world.die(dying, memory_ran_out=True)
    world.ready(world.grant())
    assert not other.held
    assert world.wake_at == world.now + world.settings.memory_rest_s
    world.submit(1)
    world.run_one(next(worker for worker in world.workers.values() if worker.held))
    assert world.outcomes() == [None, "VALUE"]
    world.pass_time(world.settings.memory_rest_s)
    world.run_one(next(worker for worker in world.workers.values() if worker.held))
    assert world.outcomes() == ["VALUE", "VALUE"]


def test_what_is_sent_after_a_cancellation_does_not_come_back():
    """Else two workers that have not begun would be given it by turns, for ever."""
    world = pool(2)
    world.submit(8)
    world.cancel_waiting()
    world.close()
    for worker in [world.grant(), world.grant()]:
        world.ready(worker)
    assert world.take_backs == 0
    for worker in list(world.workers.values()):
        while worker.held:
            world.run_one(worker)
    assert world.outcomes() == ["VALUE"] * 3 + ["CANCELLED"] * 5


def test_a_call_that_is_to_run_again_is_not_cancelled():
    """Its caller was told that it runs: cancelled, it would never end."""
    world, (dying,) = pool_with_workers(1)
    world.submit(1, options=CallOptions(retries=1))
    for _ in range(3):
        world.submit(1)
    world.begin(dying)
    world.die(dying)
    world.cancel_waiting()
    assert world.outcomes() == [None, None, "CANCELLED", "CANCELLED"]
    replacement = world.grant()
    world.ready(replacement)
    while replacement.held:
        world.run_one(replacement)
    assert world.outcomes() == ["VALUE", "VALUE", "CANCELLED", "CANCELLED"]


def test_a_closed_pool_runs_what_it_has_and_then_ends_its_workers_and_its_template():
    world, (worker,) = pool_with_workers(1)
    world.submit(1)
    world.close()
    assert not worker.is_leaving
    world.run_one(worker)
    assert worker.is_leaving
    assert world.stops == 0
    world.leave(worker)
    assert world.stops == 1
    world.template_ends()
    assert world.is_gone
    assert world.outcomes() == ["VALUE"]


def test_a_closed_pool_waits_for_a_lease_that_is_on_its_way():
    world = pool(1)
    world.close()
    assert world.stops == 0
    worker = world.grant()
    assert worker.is_leaving
    world.ready(worker)
    world.leave(worker)
    assert world.stops == 1


def test_a_closed_pool_does_not_wait_for_a_lease_that_the_head_will_not_grant():
    world = pool(2)
    world.close()
    assert world.is_end_told
    assert world.stops == 0
    world.drop_requests(1)
    worker = world.grant()
    world.ready(worker)
    world.leave(worker)
    assert world.stops == 1


def test_a_head_that_has_forgotten_is_asked_again_for_what_is_missing():
    world = pool(3)
    world.ready(world.grant())
    world.rejoin()
    assert world.requested == 2
    world.rejoin(granted=1)
    assert world.requested == 2


def test_a_terminated_pool_ends_every_call_and_stops_its_template_once():
    world, (worker, other) = pool_with_workers(2)
    world.submit(5)
    world.begin(worker)
    world.terminate()
    world.terminate()
    assert set(world.outcomes()) == {"TERMINATED"}
    world.end(worker)
    world.report(worker)
    world.die(worker, -15)
    world.die(other, -15)
    world.template_ends()
    assert world.stops == 1
    world.submit(1)
    assert world.outcomes()[-1] == "TERMINATED"


def test_an_answer_that_comes_after_the_end_of_its_pool_changes_nothing():
    """As a node's does, which is asked to take calls back and is a while away."""
    world, (worker,) = pool_with_workers(1)
    world.submit(3)
    world.terminate()
    world.client.handle(worker.lease, TakenBack(2), world.now)
    world.decide()
    assert world.outcomes() == ["TERMINATED"] * 3


def test_calls_are_broken_when_the_template_ends_by_itself():
    world, _ = pool_with_workers(1)
    world.submit(3)
    world.template_ends()
    assert set(world.outcomes()) == {"BROKEN"}


def test_a_pool_whose_template_ended_while_it_was_idle_is_broken_too():
    world, _ = pool_with_workers(1)
    world.template_ends()
    assert world.group.is_broken()
    world.submit(1)
    assert world.outcomes() == ["BROKEN"]
    assert world.group.reason


def test_more_bytes_than_fit_into_a_socket_are_not_sent_ahead():
    world = PoolWorld(GroupPlan(1), bytes_ahead_limit=250)
    world.submit(1)
    worker = world.grant()
    world.ready(worker)
    world.run_one(worker, 0.0)
    world.submit(6, entry_bytes=100)
    assert len(worker.held) == 2


def test_kinds_of_outcomes_made_by_the_caller_are_not_those_of_workers():
    made_here = {OutcomeKind.LOST, OutcomeKind.BROKEN, OutcomeKind.TERMINATED, OutcomeKind.CANCELLED}
    made_here.add(OutcomeKind.TIMED_OUT)
    assert made_here.isdisjoint({OutcomeKind.VALUE, OutcomeKind.ERROR, OutcomeKind.FRAME})


def test_a_long_call_gives_up_what_was_sent_behind_it_though_nobody_else_has_time():
    world, (worker,) = pool_with_workers(1)
    world.submit(1)
    world.run_one(worker, 0.0)
    for _ in range(8):
        world.submit(1)
    assert len(worker.held) > 2, "short calls are sent ahead"
    world.begin(worker)
    world.pass_time(1.0)
    assert len(worker.held) == 1
    assert world.outcomes().count(None) == 8
