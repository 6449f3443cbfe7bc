"""Placement groups in workers: sent there, used for what they start, made there, and returned."""

import concurrent.futures

import pytest

import distpool
from distpool.errors import ResourcesUnavailable
from tests.actors.classes import Counter

from .functions import nap

LIMIT_S = 20
Counters = distpool.remote(Counter)


@pytest.fixture(autouse=True)
def seats(monkeypatch):
    """Two of something that only bundles take."""
    monkeypatch.setenv("DISTPOOL_RESOURCES", '{"seat": 2}')
    yield
    for group in made:
        distpool.remove_placement_group(group)
    made.clear()
    distpool.shutdown()


made = []


def group_of(bundles, strategy="PACK"):
    made.append(distpool.placement_group(bundles, strategy))
    return made[-1]


@distpool.remote(num_cpus=0)
def run(function, *args):
    """In a worker, what a test wants."""
    return function(*args)


def in_worker(function, *args):
    return run.remote(function, *args).result(LIMIT_S)


def seats_taken():
    return distpool.get_runtime_context().get_assigned_resources()


def use(group):
    here = run.options(resources={"seat": 1}, placement_group=group, bundle=1)
    taken, current = distpool.get([here.remote(seats_taken), here.remote(distpool.get_current_placement_group)])
    assert current == group
    assert distpool.get_current_placement_group() is None
    counter = Counters.options(resources={"seat": 1}, placement_group=group, bundle=0).remote()
    assert counter.add.remote(2).result() == 2
    return group.nodes, group.why, group.bundle_specs, taken, group


def test_a_task_uses_the_room_of_a_group_that_it_was_given():
    group = group_of([{"seat": 1}, {"seat": 1}])
    nodes, why, specs, taken, same = in_worker(use, group)

    assert (nodes, why, specs, taken) == (["local", "local"], "", [{"seat": 1}] * 2, {"seat": 1.0})
    assert same is group
    assert distpool.get_current_placement_group() is None


def make(bundles):
    group = distpool.placement_group(bundles)
    assert group.wait(LIMIT_S)
    assert distpool.get(group.ready(), timeout=LIMIT_S) is group
    return group


def test_a_group_that_a_task_has_made_is_the_programs():
    group = in_worker(make, [{"seat": 2}])
    made.append(group)

    assert group.wait(LIMIT_S)
    assert in_worker(make, [{"CPU": 1}]).nodes == ["local"]
    waiting = group_of([{"seat": 1}])
    assert "largest free: 0 seat" in in_worker(lambda: waiting.wait(0.01) or waiting.why)
    in_worker(distpool.remove_placement_group, group)
    assert in_worker(waiting.wait, LIMIT_S)
    with pytest.raises(RuntimeError, match="was removed"):
        group.wait(LIMIT_S)
    with pytest.raises(RuntimeError, match="was removed"):
        in_worker(group.wait, LIMIT_S)


def test_a_worker_waits_for_a_group_that_gets_its_room_later():
    first, second = group_of([{"seat": 2}]), group_of([{"seat": 1}])

    def wait():
        ready = second.ready()
        distpool.get_actor("told").add.remote()
        assert not concurrent.futures.wait([ready], 0).done
        return second.wait() and ready.result(LIMIT_S) == second

    told = Counters.options(name="told").remote()
    waiting = run.remote(wait)
    while not told.add.remote(0).result(LIMIT_S):
        pass
    distpool.remove_placement_group(first)
    assert waiting.result(LIMIT_S)


def test_a_task_that_waits_for_a_group_gives_it_its_own_cpu():
    def take_all(cpus):
        group = distpool.placement_group([{"CPU": cpus}])
        found = group.wait(LIMIT_S)
        distpool.remove_placement_group(group)
        return found

    assert run.options(num_cpus=1).remote(take_all, distpool.cluster_resources()["CPU"]).result(LIMIT_S)


def test_a_group_gets_its_room_while_tasks_wait_for_their_turn():
    """Workers of tasks stay while there is work for them, and a while after; not when a group waits for their place."""
    refs = [nap.remote(0.02) for _ in range(400)]
    group = group_of([{"CPU": distpool.cluster_resources()["CPU"]}])

    assert group.wait(LIMIT_S)
    assert not refs[-1].done()


def test_what_can_never_be_and_what_makes_no_sense_is_told_in_the_worker():
    def ask():
        group = distpool.placement_group([{"seat": 3}])
        with pytest.raises(ResourcesUnavailable, match="3 seat"):
            group.wait(LIMIT_S)
        assert isinstance(group.ready().exception(LIMIT_S), ResourcesUnavailable)
        with pytest.raises(ValueError, match="which needs nothing"):
            distpool.placement_group([{"CPU": 0}])
        with pytest.raises(ResourcesUnavailable, match="seat"):
            run.options(resources={"seat": 2}, placement_group=small).remote(abs, 1).result()
        return True

    small = group_of([{"seat": 1}])
    assert in_worker(ask)
