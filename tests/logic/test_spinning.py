"""Whether to spin: always while it pays, now and then when it does not."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from distpool.logic.spinning import SpinPolicy
from tests.logic.machines import tries

SPIN_S = 50e-6


class SpinsThatPayAndSpinsThatDoNot(RuleBasedStateMachine):
    """The model counts what was said since the last failure."""

    def __init__(self):
        super().__init__()
        self.policy = SpinPolicy(SPIN_S)
        self.successes_in_a_row = 8
        self.refusals_in_a_row = 0

    @rule(hit=st.booleans())
    def want_to_spin(self, hit):
        budget_s = self.policy.budget_s()
        assert budget_s in (0.0, SPIN_S)
        if not budget_s:
            self.refusals_in_a_row += 1
            assert self.successes_in_a_row == 0, "refused although the last one has paid"
            return
        self.refusals_in_a_row = 0
        self.policy.spun(hit=hit)
        self.successes_in_a_row = self.successes_in_a_row + 1 if hit else 0

    @rule(times=st.integers(1, 40))
    def pay_again_and_again(self, times):
        for _ in range(times):
            self.want_to_spin(True)

    @rule(times=st.integers(1, 40))
    def fail_again_and_again(self, times):
        for _ in range(times):
            self.want_to_spin(False)

    @invariant()
    def it_is_tried_again_before_long(self):
        assert self.refusals_in_a_row < 32


TestSpinning = SpinsThatPayAndSpinsThatDoNot.TestCase
TestSpinning.settings = tries(60)


def spins(policy, times, *, hit):
    """How many of so many occasions it used."""
    used = 0
    for _ in range(times):
        if policy.budget_s():
            used += 1
            policy.spun(hit=hit)
    return used


def test_it_spins_from_the_start_and_as_long_as_that_pays():
    assert spins(SpinPolicy(SPIN_S), 100, hit=True) == 100


def test_after_two_failures_it_spins_once_in_thirty_two():
    policy = SpinPolicy(SPIN_S)
    assert spins(policy, 2, hit=False) == 2
    assert spins(policy, 320, hit=False) == 10


def test_a_failure_now_and_then_does_not_end_it():
    policy = SpinPolicy(SPIN_S)
    assert sum(spins(policy, 1, hit=number % 6 > 0) for number in range(600)) == 600


def test_where_half_of_them_fail_it_ends():
    policy = SpinPolicy(SPIN_S)
    assert sum(spins(policy, 1, hit=number % 2 == 0) for number in range(640)) < 60


def test_one_success_is_followed_by_another_try():
    policy = SpinPolicy(SPIN_S)
    spins(policy, 2, hit=False)
    policy.spun(hit=True)
    assert spins(policy, 10, hit=False) == 1


def test_without_a_budget_it_never_spins():
    assert spins(SpinPolicy(0.0), 10, hit=True) == 0
