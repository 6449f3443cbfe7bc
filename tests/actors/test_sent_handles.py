"""Handles in workers: as arguments, inside values, in other actors; they keep their actor."""

import gc

import psutil
import pytest

import distpool
from distpool.actors import actor_class, kill
from distpool.errors import ActorDied
from tests.actors.classes import (
    Counter,
    Gate,
    Keeper,
    add_in_task,
    mistakes_in_task,
    pairs_in_task,
)
from tests.runtime.programs import until

LIMIT_S = 20
Counters = actor_class(Counter)
Keepers = actor_class(Keeper)


def test_a_task_calls_an_actor_in_order_and_gets_its_values():
    counter = Counters.remote(10)
    add, pairs = distpool.remote(add_in_task), distpool.remote(pairs_in_task)

    assert distpool.get(add.remote(counter, 20), timeout=LIMIT_S) == [10 + n * (n + 1) // 2 for n in range(20)]
    assert distpool.get(pairs.remote(counter), timeout=LIMIT_S) == [201, 202]
    assert counter.add.remote().result(LIMIT_S) == 202


def test_an_actor_calls_another_and_passes_its_refs_and_handle_on():
    counter = Counters.remote()
    keeper = Keepers.remote(counter)

    assert keeper.add.remote(5).result(LIMIT_S) == 5
    assert distpool.get(keeper.start.remote(1).result(LIMIT_S), timeout=LIMIT_S) == 6
    (same,) = keeper.pass_on.remote().result(LIMIT_S)
    assert same == counter
    assert same.add.remote().result(LIMIT_S) == 7


def test_async_actors_are_called_too():
    gate = actor_class(Gate).remote()
    keeper = Keepers.remote(gate)
    (same,) = keeper.pass_on.remote().result(LIMIT_S)

    assert same.count.remote().result(LIMIT_S) == 0


def test_a_worker_that_has_a_handle_keeps_the_actor():
    counter = Counters.remote()
    process = psutil.Process(counter.pid.remote().result(LIMIT_S))
    keeper = Keepers.remote(counter)
    assert keeper.add.remote(1).result(LIMIT_S) == 1
    del counter
    gc.collect()
    assert keeper.add.remote(1).result(LIMIT_S) == 2

    kill(keeper)
    with pytest.raises(ActorDied):
        keeper.add.remote(1).result(LIMIT_S)
    assert until(lambda: not process.is_running(), LIMIT_S)


def test_a_stored_value_that_has_a_handle_keeps_the_actor():
    counter = Counters.remote(3)
    process = psutil.Process(counter.pid.remote().result(LIMIT_S))
    stored = distpool.put([counter])
    del counter
    gc.collect()
    assert distpool.get(stored)[0].add.remote().result(LIMIT_S) == 4

    del stored
    gc.collect()
    assert until(lambda: not process.is_running(), LIMIT_S)


def test_mistakes_in_a_worker_are_named_there():
    said = distpool.remote(mistakes_in_task).remote(Counters.remote()).result(LIMIT_S)

    assert said == ["AttributeError", "TypeError", "TypeError", "TypeError", "told"]
