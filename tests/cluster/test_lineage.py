"""Values of tasks that may run again stay on the nodes where they were made, and are made again when those are lost."""

import asyncio
import signal
import threading
import time
from concurrent import futures
from pathlib import Path

import psutil
import pytest

import distpool
from distpool import NodeAffinity, Pool
from distpool.objects.copies import find
from distpool.runtime import session
from tests.cluster import lineage_tasks as tasks
from tests.cluster import tasks as pool_tasks
from tests.cluster.conftest import use
from tests.cluster.processes import Cluster
from tests.runtime.programs import until

SIZE = 20_000
"""Of arrays: larger than what stays in a pickle."""
LIMIT_S = 30.0


@pytest.fixture
def nodes(processes: Cluster, monkeypatch):
    """Two nodes of eight CPUs each, by their names, which this process uses and the test may kill."""
    processes.start_head()
    started: dict[str, psutil.Popen] = {name: processes.start_node(name, "--cpus", "8") for name in ("first", "second")}
    processes.until(lambda: processes.nodes() == set(started))
    use(processes, monkeypatch)
    yield started
    distpool.shutdown()


@pytest.fixture
def own_program(two_nodes):
    """Of a cluster that no test breaks."""
    yield
    distpool.shutdown()


def on(node, function, **options):
    """It runs there while there is room, and may run again."""
    return function.options(**{"retries": 2, "scheduling_strategy": NodeAffinity(node, soft=True), **options})


def made(*refs):
    distpool.wait(refs, num_returns=len(refs))


def brought():
    """Objects that have come to this process's machine."""
    return distpool.store_stats().objects


def told_bytes():
    """Bytes that nodes got from this process."""
    return session._current[0].far.nodes.objects.transfers.offers.told_bytes


def lines_of(path):
    return Path(path).read_text().split() if Path(path).exists() else []


def kill(node):
    node.kill()
    node.wait()


def objects_of(cluster):
    """In the stores of all nodes, as these have told last."""
    return sum(node["objects"] for node in cluster.status()["nodes"])


# While no node is lost ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("own_program")
def test_values_that_only_nodes_need_do_not_pass_the_program_and_go_with_their_refs(shared, tmp_path):
    path = str(tmp_path / "ran")
    parts = [on(node, tasks.ones).remote(SIZE, path) for node in ("first", "second", "first", "second")]
    pairs = [on("second", tasks.sum_of).remote(path, *parts[at : at + 2]) for at in (0, 2)]
    tree = on("first", tasks.sum_of).remote(path, *pairs)
    assert distpool.get(on("second", tasks.total).remote(tree))[0] == SIZE * 4
    assert distpool.get(tasks.total_of_ref.remote([tree]))[0] == SIZE * 4
    assert (brought(), told_bytes()) == (0, 0)
    assert objects_of(shared) >= 1
    assert distpool.get(tree).sum() == SIZE * 4
    assert not distpool.get(tree, readonly=True).flags.writeable
    assert (brought(), told_bytes()) == (1, 0), "who opens it here has it here"
    del tree, parts, pairs
    shared.until(lambda: objects_of(shared) == 0)
    assert until(lambda: brought() == 0)


@pytest.mark.usefixtures("own_program")
def test_they_are_opened_by_threads_callbacks_coroutines_and_pools(tmp_path):
    path = str(tmp_path / "ran")
    refs = [on(node, tasks.ones).remote(SIZE, path) for node in ("first", "second") * 4]
    totals = []
    threads = [threading.Thread(target=lambda ref=ref: totals.append(distpool.get(ref).sum())) for ref in refs[:4]]
    for thread in threads:
        thread.start()
    refs[4].future().add_done_callback(lambda future: totals.append(future.result().sum()))
    refs[5].future().add_done_callback(lambda future: totals.append(distpool.get(refs[6]).sum()))

    async def all_of_them():
        return await asyncio.gather(*(asyncio.wrap_future(ref.future()) for ref in refs))

    totals += [array.sum() for array in asyncio.run(all_of_them())]
    totals += [future.result().sum() for future in futures.as_completed(refs)]
    with Pool(2) as pool:
        totals += pool.map(pool_tasks.total, refs)
    for thread in threads:
        thread.join()
    assert until(lambda: totals == [SIZE] * 30)
    assert [array.sum() for array in distpool.get(refs)] == [SIZE] * 8


@pytest.mark.usefixtures("own_program")
@pytest.mark.parametrize(("retries", "limit", "count"), [(0, "64MiB", 1), (1, "0", 1), (1, "1KiB", 1), (1, "4KiB", 0)])
def test_what_may_not_run_again_or_cannot_be_remembered_is_brought(tmp_path, monkeypatch, retries, limit, count):
    monkeypatch.setenv("DISTPOOL_LINEAGE_LIMIT", limit)
    ref = tasks.ones.options(retries=retries).remote(SIZE, str(tmp_path / "ran"))
    made(ref)
    assert brought() == count
    assert distpool.get(tasks.total.remote(ref))[0] == SIZE


@pytest.mark.usefixtures("own_program")
def test_what_is_not_here_when_the_program_leaves_the_cluster_is_gone_and_says_so(shared, tmp_path):
    path = str(tmp_path / "ran")
    refs = [on("first", tasks.ones).remote(SIZE, path) for _ in range(2)]
    made(*refs)
    assert distpool.get(refs[0]).sum() == SIZE
    distpool.shutdown()
    assert distpool.get(refs[0]).sum() == SIZE
    with pytest.raises(
        distpool.ObjectLost, match="the value of ones is gone: it lay on node 'first', and this program"
    ):
        distpool.get(refs[1])
    assert isinstance(refs[1].future().exception(), distpool.ObjectLost)
    shared.until(lambda: objects_of(shared) == 0)


@pytest.mark.usefixtures("own_program")
def test_tasks_that_workers_start_and_exceptions_that_are_repeated(shared, tmp_path):
    ref, *totals = distpool.get(tasks.started_inside.remote(SIZE, str(tmp_path / "ran")))
    assert (totals, brought()) == ([SIZE, SIZE], 0)
    assert distpool.get(ref).sum() == SIZE
    first, second = tasks.ones_and_twos.options(retries=1).remote(SIZE)
    assert distpool.get(tasks.total.remote(second, first))[0] == 3 * SIZE
    assert brought() == 1
    assert distpool.get(second).sum() == 2 * SIZE


# When a node is lost --------------------------------------------------------------------------------------------------


def test_a_chain_and_a_tree_are_made_again_while_others_need_them(nodes, tmp_path):
    path, begun, gate = str(tmp_path / "ran"), str(tmp_path / "begun"), tmp_path / "gate"
    left = nodes["second"].pid
    chain = on("first", tasks.ones).remote(SIZE, path)
    for _ in range(3):
        chain = on("first", tasks.sum_of).remote(path, chain, 1.0)
    leaves = [on(node, tasks.ones).remote(SIZE, path) for node in ("first", "second")]
    tree = on("first", tasks.sum_of).remote(path, *leaves)
    made(chain, tree)
    assert sorted(lines_of(path)) == sorted([str(nodes["first"].pid)] * 6 + [str(left)])
    running = [on("second", tasks.total_when_told).remote(begun, str(gate), ref) for ref in (chain, tree)]
    until(lambda: len(lines_of(begun)) == 2)
    kill(nodes["first"])
    # Nobody knows of the loss yet.
    actor = tasks.Summing.options(scheduling_strategy=NodeAffinity("second")).remote()
    told = [on("second", tasks.total).remote(tree, chain), on("second", tasks.total_of_ref).remote([chain])]
    told.append(actor.total.remote(tree))
    assert distpool.get(chain).sum() == SIZE * 4
    assert distpool.get(told) == [(SIZE * 6, left), (SIZE * 4, left), (SIZE * 2, left)]
    gate.touch()
    assert distpool.get(running) == [SIZE * 4, SIZE * 2]
    assert len(lines_of(begun)) == 2, "who needs a lost value does not run again"
    # Of the tree one leaf was kept, and the other lost with its node; of the chain all but the end was freed.
    assert lines_of(path)[7:] == [str(left)] * 6
    assert brought() == 1
    assert told_bytes() == 0


def test_a_value_that_is_lost_on_its_way_here_is_made_again(nodes, tmp_path):
    size = 8_000_000
    ref = on("first", tasks.ones).remote(size, str(tmp_path / "ran"))
    made(ref)
    value = ref._hold.outcome[1]
    arrays = []
    thread = threading.Thread(target=lambda: arrays.append(distpool.get(ref)))
    thread.start()
    until(lambda: (copy := find(value.objects[0][0])) is not None and copy.have > 0)
    kill(nodes["first"])
    thread.join(LIMIT_S)
    assert arrays[0].sum() == size


def test_what_was_brought_before_its_node_is_lost_is_not_made_again(nodes, tmp_path):
    path = str(tmp_path / "ran")
    first, second = (on("first", tasks.ones).remote(SIZE, path) for _ in range(2))
    assert [array.sum() for array in distpool.get([first, second])] == [SIZE] * 2
    kill(nodes["first"])
    # As long as nobody knows of the loss these are sent to where it lay, and then get it from the program.
    told = [on("second", tasks.total).remote(first, second), on("second", tasks.total_of_ref).remote([first])]
    assert distpool.get(told) == [(SIZE * 2, nodes["second"].pid), (SIZE, nodes["second"].pid)]
    assert [array.sum() for array in distpool.get([first, second])] == [SIZE] * 2
    assert len(lines_of(path)) == 2
    assert told_bytes() > 0


def test_the_last_time_that_it_may_run_it_is_brought(nodes, tmp_path):
    path = str(tmp_path / "ran")
    refs = [on("first", tasks.ones, retries=1).remote(SIZE, path) for _ in range(3)]
    flaky = on("first", tasks.fail_at_second, retries=2, retry_exceptions=True).remote(SIZE, str(tmp_path / "flaky"))
    pair = on("first", tasks.ones_and_twos, retries=1).remote(SIZE)
    made(*refs, flaky, *pair)
    del pair[0]
    assert brought() == 0
    kill(nodes["first"])
    until(lambda: not refs[0].done())
    distpool.cancel(refs[2])
    with pytest.raises(distpool.TaskCancelled):
        distpool.get(refs[2], timeout=LIMIT_S)
    assert [array.sum() for array in distpool.get([*refs[:2], flaky, *pair])] == [SIZE, SIZE, SIZE, 2 * SIZE]
    assert len(lines_of(tmp_path / "flaky")) == 3
    assert distpool.get(tasks.total.remote(*refs[:2]))[0] == 2 * SIZE


def test_a_drained_node_costs_no_value(nodes, tmp_path):
    path = str(tmp_path / "ran")
    refs = [on("first", tasks.ones).remote(SIZE, path) for _ in range(4)]
    needing = [on("second", tasks.total).remote(ref) for ref in refs]
    made(*refs)
    nodes["first"].terminate()
    nodes["first"].wait(LIMIT_S)
    assert distpool.get(needing) == [(SIZE, nodes["second"].pid)] * 4
    assert [array.sum() for array in distpool.get(refs)] == [SIZE] * 4


@pytest.mark.parametrize(
    "ask",
    [
        lambda ref, timeout: distpool.get(ref, timeout=timeout),
        lambda ref, timeout: distpool.get([ref], timeout=timeout, readonly=True)[0],
        lambda ref, timeout: ref.result(timeout),
    ],
)
def test_a_time_limit_is_one_for_the_way_from_the_node_too(ask, nodes, tmp_path):
    ref, other = (on("second", tasks.ones).remote(SIZE, str(tmp_path / "ran")) for _ in range(2))
    made(ref, other)
    nodes["second"].send_signal(signal.SIGSTOP)
    began_at = time.monotonic()
    with pytest.raises(TimeoutError, match="arrived from"):
        ask(ref, 0.3)
    assert time.monotonic() < began_at + 2
    nodes["second"].send_signal(signal.SIGCONT)
    assert ask(ref, LIMIT_S).sum() == SIZE
    kill(nodes["second"])
    assert ask(other, LIMIT_S).sum() == SIZE, "it is made again within the time"
