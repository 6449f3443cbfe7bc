"""How many calls a worker may hold, against the plain rule: about so much work, never fewer than two calls."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from distpool.logic.credits import Credits
from tests.logic.machines import tries

AHEAD_S = 0.010
LIMIT = 4096


class AnyMeasurements(RuleBasedStateMachine):
    """The model remembers the extremes of what was measured."""

    def __init__(self):
        super().__init__()
        self.credits = Credits(AHEAD_S, LIMIT)
        self.measured = []

    @rule(calls=st.integers(-1, 100), busy_s=st.floats(-1e-3, 10.0))
    def observe(self, calls, busy_s):
        before = self.credits.call_s
        self.credits.observe(calls, busy_s)
        if calls < 1:
            assert self.credits.call_s == before
            return
        self.measured.append(max(busy_s, 0.0) / calls)
        if before is not None:
            low, high = sorted([before, self.measured[-1]])
            assert low * (1 - 1e-9) <= self.credits.call_s <= high * (1 + 1e-9)

    @invariant()
    def the_estimate_lies_among_the_measurements(self):
        if self.measured:
            assert min(self.measured) * (1 - 1e-9) <= self.credits.call_s <= max(self.measured) * (1 + 1e-9)
        else:
            assert self.credits.call_s is None

    @invariant()
    def a_worker_holds_so_much_work_or_two_calls(self):
        limit = self.credits.limit()
        assert 2 <= limit <= LIMIT
        assert limit == 2 or limit * self.credits.call_s <= AHEAD_S * (1 + 1e-9)
        if self.credits.call_s is not None and 2 < limit < LIMIT:
            assert (limit + 1) * self.credits.call_s > AHEAD_S * (1 - 1e-9)

    @invariant()
    def what_remains_grows_with_the_calls(self):
        assert self.credits.remaining_s(0) == 0.0
        assert self.credits.remaining_s(4) == pytest.approx(2 * self.credits.remaining_s(2))


TestAnyMeasurements = AnyMeasurements.TestCase
TestAnyMeasurements.settings = tries(60)


def test_before_the_first_measurement_a_worker_gets_one_call_to_run_and_one_ahead():
    assert Credits(AHEAD_S, LIMIT).limit() == 2


def test_calls_of_a_millisecond_travel_ten_ahead():
    credits = Credits(AHEAD_S, LIMIT)
    credits.observe(4, 0.004)
    assert credits.limit() == 10


def test_a_slow_call_is_believed_faster_than_a_quick_one():
    slower, quicker = Credits(AHEAD_S, LIMIT), Credits(AHEAD_S, LIMIT)
    for credits in (slower, quicker):
        credits.observe(1, 1.0)
    slower.observe(1, 2.0)
    quicker.observe(1, 0.0)
    assert slower.call_s - 1.0 > 1.0 - quicker.call_s


def test_calls_that_take_no_time_are_limited_by_their_number():
    credits = Credits(AHEAD_S, LIMIT)
    credits.observe(100, 0.0)
    assert credits.limit() == LIMIT
