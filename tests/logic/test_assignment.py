"""Which worker gets which call; and that a lone call is treated like any other."""

import pytest

from distpool.config import SETTINGS
from distpool.ids import GroupId, LeaseId
from distpool.logic.assignment import Assignment
from distpool.logic.calls import Bundle, CallOptions, CallQueue
from distpool.logic.group import Group
from distpool.logic.group_plan import GroupPlan
from distpool.logic.leases import Lease
from distpool.logic.outbox import Outbox
from distpool.logic.waiting import Waiting
from distpool.protocol.messages import CallMode, CallsDone, OutcomeKind

NOW = 100.0
VALUE = (OutcomeKind.VALUE, b"value")


class Sink:
    def __init__(self, *, is_wanted=True):
        self.is_wanted = is_wanted

    def begin(self):
        return self.is_wanted

    def put_back(self):
        pass

    def deliver(self, first, outcomes):
        pass


def call(*, is_wanted=True, entry_bytes=16, options=CallOptions()):  # noqa: B008 (frozen)
    return Bundle(1, CallMode.CALL, (b"",), Sink(is_wanted=is_wanted), 0, entry_bytes, options)


class Room:
    """Workers that are ready, by when they were heard from, and calls that wait."""

    def __init__(self, heard_at, *calls, calls_left=None):
        self.queue = CallQueue()
        self.queue.push(calls)
        self.leases = {LeaseId(number): Lease(LeaseId(number), calls_left) for number in range(len(heard_at))}
        for lease, at in zip(self.leases.values(), heard_at, strict=True):
            lease.step("ready")
            lease.heard_at = at
        plan = GroupPlan(len(heard_at))
        waiting = Waiting(plan.size, 8, 1.0, replaces=False)
        self.assignment = Assignment(plan, SETTINGS, self.queue, self.leases, waiting)

    def seen(self):
        """All that an assignment changes."""
        leases = [(lease.holding.calls, lease.heard_at, lease.calls_left) for lease in self.leases.values()]
        return leases, self.queue.waiting


def sent(assigned):
    to_send, cancelled = assigned
    return [(lease.id, sum(map(len, spans))) for lease, spans in to_send], len(cancelled)


@pytest.mark.parametrize("heard_at", [[5.0], [5.0, 7.0], [7.0, 5.0, 6.0]])
@pytest.mark.parametrize("calls_left", [None, 1, 3])
@pytest.mark.parametrize("options", [{}, {"entry_bytes": 10**9}, {"is_wanted": False}])
def test_a_lone_call_is_assigned_as_if_it_were_weighed(heard_at, calls_left, options):
    lone, weighed = (Room(heard_at, call(**options), calls_left=calls_left) for _ in range(2))
    assert sent(lone.assignment.assign_lone(NOW)) == sent(weighed.assignment.assign(NOW, None))
    assert lone.seen() == weighed.seen()


def test_it_goes_to_the_worker_heard_from_last_as_that_may_still_spin():
    room = Room([5.0, 9.0, 7.0], call())
    assert sent(room.assignment.assign_lone(NOW)) == ([(1, 1)], 0)


def test_without_a_worker_that_takes_calls_it_waits():
    room = Room([5.0], call())
    room.leases[0].is_asked = True
    assert room.assignment.assign_lone(NOW) is None
    assert room.queue.waiting == 1


class Weighed(Group):
    """Counts the decisions in which all is weighed."""

    def __init__(self, plan):
        super().__init__(GroupId(1), plan, SETTINGS)
        self.weighed = 0
        self.outbox = Outbox()

    def _request_leases(self, outbox):  # the end of each of these
        self.weighed += 1
        super()._request_leases(outbox)

    def at(self, now):
        """How many calls are sent then, and when it is to decide again."""
        to_send, wake_at = self.decide(now, self.outbox)
        return sum(len(span) for _, spans in to_send for span in spans), wake_at


def group_of_two(**plan):
    group = Weighed(GroupPlan(2, **plan))
    group.decide(NOW, group.outbox)
    for number in range(2):
        group.started(LeaseId(number))
        group.ready(LeaseId(number), NOW)
    group.decide(NOW, group.outbox)
    group.weighed = 0
    return group


def answer(group, now):
    lease = next(lease for lease in group.leases.values() if lease.holding.calls)
    group.done(lease.id, CallsDone([VALUE] * lease.holding.calls, 0.0, False), now, group.outbox)


def test_calls_one_after_another_are_never_weighed():
    group = group_of_two()
    for number in range(3):
        group.submit([call()], group.outbox)
        assert group.at(NOW + number) == (1, None)
        answer(group, NOW + number)
        assert group.at(NOW + number) == (0, None)
    assert group.weighed == 0
    assert len(group.outbox.completions) == 3


@pytest.mark.parametrize(
    ("calls", "why"),
    [([call(), call()], "two calls"), ([call(options=CallOptions(timeout_s=9.0))], "a limit")],
)
def test_others_are(calls, why):
    group = group_of_two()
    group.submit(calls, group.outbox)
    assert group.at(NOW)[0] == len(calls), why
    assert group.weighed == 1


def test_a_lone_call_of_workers_that_retire_is_weighed():
    group = group_of_two(calls_per_worker=1)
    group.submit([call()], group.outbox)
    assert group.at(NOW)[0] == 1
    answer(group, NOW)
    group.at(NOW)
    assert group.weighed == 2


def test_a_worker_that_is_idle_again_is_looked_at_when_its_time_is_over():
    group = group_of_two(idle_limit_s=60.0)
    group.submit([call()], group.outbox)
    group.at(NOW + 30.0)
    answer(group, NOW + 40.0)
    assert group.at(NOW + 40.0) == (0, NOW + 60.0), "the other one has been idle for longer"
    assert group.weighed == 0
    group.at(NOW + 60.0)
    assert group.weighed == 1
    assert group.at(NOW + 70.0)[1] == NOW + 100.0


def test_what_is_told_meanwhile_is_weighed():
    group = group_of_two()
    group.submit([call()], group.outbox)
    group.drain(LeaseId(1))
    group.at(NOW)
    assert group.weighed == 1


def test_a_lone_call_behind_one_that_runs_is_weighed():
    group = group_of_two()
    group.submit([call()], group.outbox)
    group.at(NOW)
    group.submit([call()], group.outbox)
    assert group.at(NOW)[0] == 1
    assert group.weighed == 1
