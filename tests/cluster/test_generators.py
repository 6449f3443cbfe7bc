"""Generators whose workers are on nodes: large items, whoever takes them, and a node that is lost."""

import pytest

import distpool
from tests.cluster import tasks
from tests.cluster.conftest import use
from tests.cluster.processes import Cluster

SIZE = 20_000


@pytest.fixture
def own_program():
    yield
    distpool.shutdown()


@pytest.mark.usefixtures("two_nodes", "own_program")
def test_large_items_come_to_the_program_and_to_tasks_on_nodes():
    got = [distpool.get(ref)[0] for ref in tasks.arrays.remote(40, SIZE)]
    assert [array[-1] for array in got] == [float(item) for item in range(40)]
    totals = [[float(item * SIZE) for item in range(40)]] * 2
    told = distpool.get([tasks.taken.remote(40, SIZE) for _ in range(2)])
    assert [total for total, _ in told] == totals
    ref, *others = tasks.arrays.options(generator_backpressure_num_objects=1).remote(3, SIZE)
    assert distpool.get(tasks.plus.remote(ref, ()))[0].shape == (SIZE,)
    assert len(others) == 2


@pytest.mark.usefixtures("two_nodes", "own_program")
def test_an_actor_on_a_node_gives_items_and_takes_some():
    actor = tasks.Generating.remote()
    assert [distpool.get(ref)[0] for ref in actor.items.remote(40, SIZE)] == [float(item) for item in range(40)]
    assert distpool.get(actor.total.remote(10, SIZE)) == float(45 * SIZE)


@pytest.mark.usefixtures("own_program")
def test_the_loss_of_a_node_is_the_next_item_unless_the_call_may_run_again(processes: Cluster, monkeypatch, tmp_path):
    processes.start_head()
    started = {str(name): processes.start_node(name, "--cpus", "2") for name in ("first", "second")}
    processes.until(lambda: processes.nodes() == set(started))
    use(processes, monkeypatch)
    gate = tmp_path / "gate"
    functions = [tasks.gated_items, tasks.gated_items.options(retries=1)]
    # Two on each node.
    calls = [function.remote(str(gate), 6) for function in functions for _ in range(2)]
    given = [[distpool.get(next(items)) for _ in range(5)] for items in calls]
    lost = started["first"]
    lost.kill()
    lost.wait()
    gate.touch()
    for number, (items, before) in enumerate(zip(calls, given, strict=True)):
        assert [item for item, _ in before] == list(range(5))
        was_there = before[0][1] == lost.pid
        (last,) = items
        if was_there and number < 2:
            with pytest.raises(distpool.NodeLost, match="gated_items"):
                distpool.get(last)
        else:
            assert distpool.get(last) == (5, started["second"].pid)
    assert any(before[0][1] == lost.pid for before in given)
