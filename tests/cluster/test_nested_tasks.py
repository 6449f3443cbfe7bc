"""Tasks that start tasks, on the nodes of a cluster: they go to the program and from there to any node."""

from pathlib import Path

import pytest

import distpool
from tests.cluster import tasks
from tests.runtime.programs import until

SIZE = 200_000


@pytest.fixture(autouse=True)
def program(two_nodes):
    yield
    distpool.shutdown()


def test_a_recursion_ends_with_the_slots_of_two_nodes():
    assert distpool.get(tasks.fibonacci.remote(6)) == 8


def test_large_values_go_up_and_down():
    totals, back, by_put, nodes = distpool.get(tasks.totals_of.remote(SIZE, 6))
    assert totals == [2.0 * SIZE] * 6 + [float(SIZE)] * 6
    assert (back, by_put) == (SIZE, 2.0 * SIZE)
    assert len(nodes) == 2


def test_refs_that_a_task_on_a_node_returns_are_good_here_and_on_other_nodes():
    refs = distpool.get([tasks.pass_on.remote(3) for _ in range(6)])
    assert [distpool.get(some) for some in refs] == [[100, 101, 102]] * 6
    assert distpool.get([tasks.plus.remote(ref, 1) for some in refs for ref in some]) == [101, 102, 103] * 6


def test_workers_of_a_pool_that_a_task_on_a_node_has_made_start_tasks_there():
    assert distpool.get(tasks.totals_in_a_pool.remote([1, 2])) == [(100_000.0, 2), (200_000.0, 3)]


def test_a_value_with_refs_in_it_that_a_task_on_a_node_has_put_is_good_everywhere():
    stored = distpool.get([tasks.put_refs.remote(3, SIZE) for _ in range(4)])
    assert [tasks.opened(distpool.get(ref)) for ref in stored] == [([100, 101, 102], SIZE)] * 4
    assert distpool.get([tasks.open_refs.remote(ref) for ref in stored]) == [([100, 101, 102], SIZE)] * 4
    assert distpool.get([tasks.open_refs.remote([ref]) for ref in stored]) == [([100, 101, 102], SIZE)] * 4


def test_workers_on_nodes_know_where_they_are_and_use_placement_groups():
    told, nodes = distpool.get(tasks.use_a_group.remote())
    (node,) = {node for _, node, _ in told}
    assert node in nodes
    assert {job for job, _, _ in told} == {distpool.get_runtime_context().get_job_id()}
    assert [amounts for _, _, amounts in told] == [{"CPU": 1.0}] * 2
    refs = [tasks.task_id.remote() for _ in range(50)]
    assert distpool.get(refs) == [f"{ref.id:x}" for ref in refs]


def test_what_a_task_on_a_node_has_started_is_cancelled_with_it(tmp_path):
    path = str(tmp_path / "said")
    (tmp_path / "said").touch()
    distpool.get([tasks.plus.remote(number) for number in range(20)])
    cancelled, other = tasks.run_two.remote(path), tasks.run_two.remote(path)
    until(lambda: said(path, "begun") == 4)
    distpool.cancel(cancelled)
    until(lambda: said(path, "interrupted") == 2)
    assert not other.done()
    distpool.cancel(other)
    until(lambda: said(path, "interrupted") == 4)


def said(path, what):
    return Path(path).read_text().split().count(what)
