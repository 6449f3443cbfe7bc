"""Workers that have nothing to do: when they end, and when they are kept."""

import pytest

from distpool.ids import LeaseId
from distpool.logic.calls import Bundle, Span
from distpool.logic.group_plan import GroupPlan
from distpool.logic.idling import Idling
from distpool.logic.leases import Lease, LeaseState
from distpool.logic.outbox import Outbox
from distpool.protocol.messages import CallMode, ExitWorker

LIMITS = GroupPlan(4, on_demand=True, idle_limit_s=60.0, idle_yield_s=1.0)


def leases(*heard_at):
    made = [Lease(LeaseId(number), None) for number in range(len(heard_at))]
    for lease, at in zip(made, heard_at, strict=True):
        lease.step("ready")
        lease.heard_at = at
    return made


def leave(idling, those, now):
    """(who is told to end, when the next is due)"""
    outbox = Outbox()
    due = idling.let_leave(those, now, outbox)
    assert all(type(message) is ExitWorker for _, message in outbox.messages)
    return [to for to, _ in outbox.messages], due


def test_they_end_one_by_one_when_their_time_is_over():
    those, idling = leases(0.0, 5.0, 7.0), Idling(LIMITS)
    assert leave(idling, those, 59.0) == ([], 60.0)
    assert leave(idling, those, 65.0) == ([0, 1], 67.0)
    assert [lease.state for lease in those] == [LeaseState.LEAVING, LeaseState.LEAVING, LeaseState.READY]
    assert leave(idling, those, 66.0) == ([], 67.0)


def test_they_end_early_while_others_wait():
    those, idling = leases(0.0, 5.0), Idling(LIMITS)
    idling.others_wait(wait=True)
    assert idling.has_news
    assert leave(idling, those, 5.5) == ([0], 6.0)
    idling.others_wait(wait=False)
    assert leave(idling, those, 6.5) == ([], 65.0)


@pytest.mark.parametrize("why", ["busy", "asked", "starting"])
def test_one_that_has_something_to_do_is_kept(why):
    [lease] = leases(0.0)
    if why == "busy":
        lease.holding.add([Span(Bundle(1, CallMode.CALL, (b"",), None), 0, 1)])
    elif why == "asked":
        lease.is_asked = True
    else:
        lease = Lease(LeaseId(1), None)
    assert leave(Idling(LIMITS), [lease], 1000.0) == ([], None)


def test_without_limits_they_stay():
    idling = Idling(GroupPlan(4))
    idling.others_wait(wait=True)
    assert not idling.has_news
    assert leave(idling, leases(0.0), 1000.0) == ([], None)
