"""Whom to take calls from: the READY worker that holds most, of those that have been silent long enough."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from distpool.ids import FunctionId, LeaseId
from distpool.logic.balance import Balance
from distpool.logic.calls import Bundle, Span
from distpool.logic.leases import Lease, LeaseState
from distpool.protocol.messages import CallMode
from tests.logic.machines import tries

PATIENCE_S = 0.5


def lease_that_holds(calls, *, number=1, heard_at=0.0, state=LeaseState.READY):
    lease = Lease(LeaseId(number), None)
    lease.state = state
    lease.heard_at = heard_at
    if calls:
        lease.holding.add([Span(Bundle(FunctionId(0), CallMode.ITEM, [b""] * calls, None), 0, calls)])
    return lease


class WorkersOverTime(RuleBasedStateMachine):
    """The model looks at all pairs. Times are quarters of a second, so that sums are exact."""

    def __init__(self):
        super().__init__()
        self.balance = Balance(PATIENCE_S, 2)
        self.leases = []
        self.now = 100.0

    @rule(calls=st.integers(0, 5), state=st.sampled_from(LeaseState), has_begun_all=st.booleans())
    def add(self, calls, state, has_begun_all):
        lease = lease_that_holds(calls, number=len(self.leases) + 1, heard_at=self.now, state=state)
        lease.has_begun_all = has_begun_all
        self.leases.append(lease)

    @rule(quarters=st.integers(1, 4))
    def pass_time(self, quarters):
        self.now += quarters * 0.25

    @rule(data=st.data())
    def hear(self, data):
        if self.leases:
            data.draw(st.sampled_from(self.leases)).heard_at = self.now

    @rule()
    def choose(self):
        victim, look_again = self.balance.choose(self.leases, self.now)
        rich = [lease for lease in self.leases if lease.state is LeaseState.READY and lease.holding.calls >= 2]
        rich = [lease for lease in rich if not lease.has_begun_all]
        silent = [lease for lease in rich if self.now - lease.heard_at >= PATIENCE_S]
        if silent:
            assert victim in silent
            assert victim.holding.calls == max(lease.holding.calls for lease in silent)
        else:
            assert victim is None
            assert look_again == min((lease.heard_at + PATIENCE_S for lease in rich), default=None)


TestWorkersOverTime = WorkersOverTime.TestCase
TestWorkersOverTime.settings = tries(40)


def test_a_worker_with_one_call_keeps_it():
    assert Balance(PATIENCE_S, 2).choose([lease_that_holds(1)], 100.0) == (None, None)


def test_a_worker_that_was_just_heard_is_looked_at_again_later():
    assert Balance(PATIENCE_S, 2).choose([lease_that_holds(3, heard_at=100.0)], 100.25) == (None, 100.5)


def test_a_worker_that_is_dropping_calls_is_left_alone():
    stopping = lease_that_holds(3, state=LeaseState.STOPPING)
    assert Balance(PATIENCE_S, 2).choose([stopping], 100.0) == (None, None)
