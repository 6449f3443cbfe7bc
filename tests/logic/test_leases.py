"""One lease: its table of states, and how much it may be given."""

import itertools

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from distpool.ids import FunctionId, LeaseId
from distpool.logic.calls import Bundle, Span
from distpool.logic.leases import NEXT_STATE, Lease, LeaseState
from distpool.protocol.messages import CallMode
from tests.logic.machines import tries

EVENTS = sorted({event for _, event in NEXT_STATE})


def span(calls):
    return Span(Bundle(FunctionId(0), CallMode.ITEM, [b""] * calls, None), 0, calls)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(LeaseState, EVENTS)))
def test_every_pair_of_state_and_event_is_in_the_table_or_an_error(state, event):
    lease = Lease(LeaseId(3), None)
    lease.state = state
    if (state, event) in NEXT_STATE:
        lease.step(event)
        assert lease.state is NEXT_STATE[state, event]
    else:
        with pytest.raises(ValueError, match=f"lease 3 is {state.name} and cannot be '{event}'"):
            lease.step(event)
        assert lease.state is state


def test_a_worker_may_end_in_every_state_but_the_last():
    assert {state for state, event in NEXT_STATE if event == "exited"} == set(LeaseState) - {LeaseState.GONE}


def test_nothing_leads_back_from_leaving_or_gone():
    after = {to for (state, _), to in NEXT_STATE.items() if state in (LeaseState.LEAVING, LeaseState.GONE)}
    assert after == {LeaseState.LEAVING, LeaseState.GONE}


class OneLease(RuleBasedStateMachine):
    """The model: how many calls the worker holds and how many it has left to begin in its life."""

    def __init__(self):
        super().__init__()
        self.lease = Lease(LeaseId(1), 5)
        self.held = 0
        self.ended = 0

    @precondition(lambda self: self.lease.state is LeaseState.STARTING)
    @rule()
    def become_ready(self):
        self.lease.step("ready")

    @rule(limit=st.integers(0, 9), share=st.floats(0.0, 1.0))
    def send(self, limit, share):
        room = self.lease.room(limit)
        if self.lease.state is not LeaseState.READY or self.lease.is_draining:
            assert room == 0
            return
        assert room == min(limit - self.held, 5 - self.ended - self.held)
        calls = round(max(room, 0) * share)
        if calls:
            self.lease.holding.add([span(calls)])
            self.lease.sent(calls)
            self.held += calls

    @precondition(lambda self: self.held)
    @rule()
    def end_one(self):
        self.lease.holding.finish([(0, b"")])
        self.held -= 1
        self.ended += 1

    @precondition(lambda self: self.held and self.lease.state is LeaseState.READY)
    @rule(share=st.floats(0.01, 1.0))
    def take_back(self, share):
        calls = max(1, round(share * self.held))
        self.lease.step("taken back")
        self.lease.returned(calls)
        self.lease.holding.take_back(calls)
        self.held -= calls

    @precondition(lambda self: self.lease.state is LeaseState.STOPPING)
    @rule()
    def stop(self):
        self.lease.step("stopped")

    @rule()
    def drain(self):
        self.lease.is_draining = True

    @invariant()
    def it_may_leave_when_it_has_run_as_many_calls_as_it_may_or_drains_and_holds_none(self):
        is_done = self.ended == 5 or (self.lease.is_draining and not self.held)
        is_free = self.lease.state is LeaseState.READY or (
            self.lease.is_draining and self.lease.state is LeaseState.STARTING
        )
        assert self.lease.may_leave() == (is_done and is_free)
        assert self.lease.calls_left == 5 - self.ended - self.held


TestOneLease = OneLease.TestCase
TestOneLease.settings = tries(40)


def test_a_lease_without_a_limit_does_not_leave_by_itself():
    lease = Lease(LeaseId(1), None)
    lease.step("ready")
    lease.sent(1000)
    assert not lease.may_leave()
    assert lease.room(7) == 7


def test_a_lease_says_what_it_is():
    assert repr(Lease(LeaseId(4), None)) == "<Lease 4 STARTING holds 0>"


def test_a_call_is_found_by_its_number_of_all_that_its_worker_has_begun():
    lease, sinks = Lease(LeaseId(1), None), [object() for _ in range(3)]
    lease.holding.add([Span(Bundle(FunctionId(0), CallMode.ITEM, [b""] * 2, sink), 0, 2) for sink in sinks])
    assert [lease.sink_of(number) for number in range(7)] == [sink for sink in sinks for _ in range(2)] + [None]
    lease.holding.finish([(0, b"")] * 3)
    assert [lease.sink_of(number) for number in range(7)] == [None] * 3 + [sinks[1], sinks[2], sinks[2], None]


def test_what_an_abandoned_call_still_says_is_its_own():
    lease = Lease(LeaseId(1), None)
    lease.abandoned = sink = object()
    assert lease.sink_of(5) is sink


def test_calls_beside_each_other_are_found_by_their_own_numbers():
    lease, sink = Lease(LeaseId(1), None), object()
    lease.beside = {7: Span(Bundle(FunctionId(0), CallMode.BESIDE, [b""], sink), 0, 1)}
    assert lease.sink_of(7) is sink
    assert lease.sink_of(0) is None
