"""What is to follow the results that a worker has written, by the place in its ring up to which they are known."""

from distpool.config import Settings
from distpool.ids import GroupId, LeaseId
from distpool.logic.group_plan import GroupPlan
from distpool.protocol.messages import CallsDone, Death, LeaseLost, LeaseStarted, WorkerReady
from distpool.roles.client import ClientRole

GROUP, LEASE = GroupId(1), LeaseId(1)


def with_a_worker() -> tuple[ClientRole, list[str]]:
    client = ClientRole(Settings())
    client.open(GROUP, GroupPlan(1, on_demand=False))
    client.decide(0.0)
    client.handle(0, LeaseStarted(LEASE, GROUP), 0.0)
    client.handle(LEASE, WorkerReady(), 0.0)
    return client, []


def results(read_to: int) -> CallsDone:
    return CallsDone([], 0.0, False, [], read_to)


def test_what_follows_results_is_done_when_the_ring_is_read_up_to_them():
    client, done = with_a_worker()
    client.after_results(LEASE, 0, lambda: done.append("none"))
    client.after_results(LEASE, 16, lambda: done.append("first"))
    client.after_results(LEASE, 48, lambda: done.append("second"))
    assert done == ["none"]

    client.handle(LEASE, results(32), 0.1)
    assert done == ["none", "first"]
    client.after_results(LEASE, 32, lambda: done.append("known"))
    assert done == ["none", "first", "known"]
    client.handle(LEASE, results(48), 0.2)
    assert done == ["none", "first", "known", "second"]


def test_after_the_end_of_the_worker_nothing_is_waited_for():
    client, done = with_a_worker()
    client.after_results(LEASE, 16, lambda: done.append("first"))
    client.handle(0, LeaseLost(LEASE, GROUP, Death(1, -9)), 0.1)
    client.after_results(LEASE, 16, lambda: done.append("second"))

    assert done == ["first", "second"]
