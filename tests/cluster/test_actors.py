"""Actors whose workers are on two nodes do what they do on one machine."""

import os
import signal
import time

import numpy as np
import psutil
import pytest

import distpool
from distpool.actors import actor_class, kill
from distpool.errors import ActorDied, ActorUnavailable
from tests.actors.classes import Counter, Gate, Keeper, Meeting, add_in_task

pytestmark = pytest.mark.usefixtures("two_nodes")
LIMIT_S = 20.0
Counters = actor_class(Counter)


@pytest.fixture(autouse=True)
def ended_afterwards():
    yield
    distpool.shutdown()


def test_calls_values_and_refs():
    counter = Counters.remote(5)
    assert distpool.get([counter.add.remote(n) for n in range(50)], timeout=LIMIT_S) == [
        5 + n * (n + 1) // 2 for n in range(50)
    ]
    assert counter.total_of.remote(np.ones(100_000)).result(LIMIT_S) == 100_000
    assert len(counter.large.remote(1_000_000).result(LIMIT_S)) == 1_000_000
    assert Counters.remote().add.remote(counter.add.remote()).result(LIMIT_S) == 1231
    with pytest.raises(KeyError, match="not there"):
        counter.fail.remote().result(LIMIT_S)


def test_actors_of_a_node_have_one_template():
    counters = [Counters.remote() for _ in range(4)]

    places = [ref.result(LIMIT_S) for ref in [counter.parent.remote() for counter in counters]]
    assert len(set(places)) == 2
    first = psutil.Process(counters[0].pid.remote().result(LIMIT_S))
    kill(counters[0])
    with pytest.raises(ActorDied, match="killed"):
        counters[0].add.remote().result(LIMIT_S)
    until = time.monotonic() + LIMIT_S
    while first.is_running():
        assert time.monotonic() < until, "its worker lives on"
        time.sleep(0.01)
    assert [counter.add.remote().result(LIMIT_S) for counter in counters[1:]] == [1, 1, 1]
    # Its place is free again.
    assert Counters.remote().add.remote().result(LIMIT_S) == 1


def test_a_killed_worker_is_replaced_and_what_it_ran_is_lost():
    counter = Counters.options(max_restarts=1).remote(10)
    pid = counter.pid.remote().result(LIMIT_S)
    assert counter.add.remote().result(LIMIT_S) == 11
    dying, after = counter.die.remote(), counter.add.remote()

    with pytest.raises(ActorUnavailable, match="SIGKILL"):
        dying.result(LIMIT_S)
    assert after.result(LIMIT_S) == 11
    second = counter.pid.remote().result(LIMIT_S)
    assert second != pid
    os.kill(second, signal.SIGKILL)
    assert isinstance(counter.leave.remote().exception(LIMIT_S), ActorDied)


def test_calls_beside_each_other_and_an_exit():
    gate, meeting = (
        actor_class(Gate).remote(),
        actor_class(Meeting, concurrency_groups={"io": 1}).options(max_concurrency=2).remote(2),
    )
    waiting = [gate.wait.remote() for _ in range(10)]
    assert gate.open.remote().result(LIMIT_S) == 10
    assert distpool.get(waiting, timeout=LIMIT_S) == [10] * 10
    assert len(gate.large.remote(1_000_000).result(LIMIT_S)) == 1_000_000
    assert len(set(distpool.get([meeting.meet.remote(), meeting.meet.remote()], timeout=LIMIT_S))) == 2
    with pytest.raises(ActorDied, match="exit_actor"):
        gate.leave.remote().result(LIMIT_S)


def test_tasks_and_actors_elsewhere_call_an_actor_by_its_handle():
    counter = Counters.remote(10)
    keeper = actor_class(Keeper).remote(counter)

    assert keeper.add.remote(5).result(LIMIT_S) == 15
    assert distpool.remote(add_in_task).remote(counter, 3).result(LIMIT_S) == [15, 16, 18]
    (same,) = keeper.pass_on.remote().result(LIMIT_S)
    assert same.add.remote().result(LIMIT_S) == 19


def work_with_actors(name):
    """In a worker: starts one, finds one, ends one."""
    own, named = Counters.remote(100), distpool.get_actor(name)
    values = distpool.get([own.add.remote(), named.add.remote()])
    mortal = Counters.options(name="mortal", get_if_exists=True).remote()
    mortal.add.remote().result()
    distpool.kill(mortal)
    with pytest.raises(ValueError, match="mortal"):
        distpool.get_actor("mortal")
    return values, own, [own, named]


def one_after_another(count):
    """Each needs all CPUs of a node, of which there are two."""
    for _ in range(count):
        counter = Counters.options(num_cpus=2).remote()
        counter.pid.remote().result()
        del counter
    return True


def test_workers_on_nodes_start_actors_find_them_and_end_them():
    counter = Counters.options(name="known").remote()
    values, own, both = distpool.remote(work_with_actors).remote("known").result(LIMIT_S)

    assert values == [101, 1]
    assert own.add.remote().result(LIMIT_S) == 102
    assert both == [own, counter]
    assert distpool.remote(one_after_another).options(num_cpus=0).remote(5).result(LIMIT_S)
