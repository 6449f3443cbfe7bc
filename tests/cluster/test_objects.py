"""Arrays and refs between a program and its nodes: moved once, kept while they are needed, and freed after that."""

import gc
import time

import numpy as np
import pytest

import distpool
from distpool import Pool
from distpool.runtime import session
from tests.cluster import tasks
from tests.runtime.programs import LIMIT_S

pytestmark = pytest.mark.usefixtures("two_nodes")

SIZE = 400_000
BYTES = SIZE * 8


def told_bytes():
    """Bytes that nodes got from this process."""
    return session._current[0].far.nodes.objects.transfers.offers.told_bytes


def objects_on_nodes(pool):
    """How many objects each node has."""
    seen = {}
    while len(seen) < 2:
        seen.update(pool.map(tasks.store_use_slowly, [0.05] * 8, chunksize=1))
    return seen


def until_free(pool):
    gc.collect()
    give_up_at = time.monotonic() + LIMIT_S
    while any(objects_on_nodes(pool).values()):
        assert time.monotonic() < give_up_at, "objects are left on the nodes"


def test_an_array_of_many_calls_goes_once_to_each_node_and_is_freed_there():
    array = np.ones(SIZE)
    with Pool(4) as pool:
        assert pool.starmap(tasks.add_total, [(array, x) for x in range(64)], chunksize=1) == [
            SIZE + x for x in range(64)
        ]
        assert BYTES <= told_bytes() < 2.1 * BYTES
        ref = distpool.put(array)
        for x in range(8):
            assert pool.apply(tasks.add_total, (ref, x)) == SIZE + x
        assert told_bytes() < 4.1 * BYTES, "what was put is one object for all calls"
        del array, ref
        until_free(pool)


def test_results_come_as_they_were_and_nothing_stays_on_the_nodes():
    with Pool(4) as pool:
        for result in pool.imap(tasks.ones, [SIZE] * 12):
            assert result.flags.writeable
            assert result.sum() == SIZE
        kept = pool.map(tasks.ones, [SIZE] * 4, chunksize=1)
        del result
        until_free(pool)
    assert [array.sum() for array in kept] == [SIZE] * 4


def test_a_result_that_was_not_opened_outlives_its_pool():
    executor = distpool.Executor(2)
    future = executor.submit(tasks.ones, SIZE)
    distpool.wait([future], timeout=LIMIT_S)
    executor.shutdown()
    assert future.result().sum() == SIZE


def test_what_a_worker_has_put_is_got_here_and_by_workers_of_the_other_node():
    with Pool(4) as pool:
        refs = [pool.apply(tasks.put_array, (SIZE, x)) for x in (1.0, 2.0, 3.0)]
        before = told_bytes()
        for value, ref in enumerate(refs, 1):
            assert set(pool.map(tasks.total, [ref] * 8, chunksize=1)) == {SIZE * value}
            assert set(pool.map(tasks.total_of_ref, [[ref]] * 8, chunksize=1)) == {SIZE * value}
        assert told_bytes() == before, "from node to node, and not by way of the program"
        assert distpool.get(refs[0]).sum() == SIZE
        assert distpool.get(refs)[2].sum() == SIZE * 3
        assert not distpool.get(refs[0], readonly=True).flags.writeable
        del refs, ref
        until_free(pool)


def test_a_ref_to_what_lies_on_a_node_outlives_its_pool_and_keeps_the_program_in_the_cluster(two_nodes):
    with Pool(2) as pool:
        ref, other = pool.apply(tasks.put_array, (SIZE, 2.0)), pool.apply(tasks.put_array, (SIZE, 2.0))
        assert distpool.get(ref)[0] == 2.0
    (kept,) = session._current
    assert (distpool.get(ref)[1], distpool.get(other)[1]) == (2.0, 2.0)
    with Pool(2) as pool:
        assert pool.apply(tasks.total, (other,)) == 2.0 * SIZE
        assert session._current == [kept]
    del ref, other, kept
    two_nodes.until(lambda: not session._current)
    two_nodes.until(lambda: two_nodes.status()["drivers"] == 0)


def test_with_shutdown_refs_to_what_lies_on_nodes_end_and_what_was_got_stays():
    with Pool(2) as pool:
        ref, other = pool.apply(tasks.put_array, (SIZE, 2.0)), pool.apply(tasks.put_array, (SIZE, 2.0))
        assert distpool.get(ref)[0] == 2.0
    distpool.shutdown()
    assert distpool.get(ref)[1] == 2.0
    with pytest.raises(distpool.InvalidRef, match=r"cannot reach: .*, this process has left its cluster"):
        distpool.get(other)


def test_a_worker_that_keeps_a_ref_keeps_the_object():
    with Pool(1) as pool:
        ref = distpool.put(np.ones(SIZE))
        pool.apply(tasks.keep_ref, ([ref],))
        del ref
        gc.collect()
        assert pool.apply(tasks.square, (3,)) == 9
        assert pool.apply(tasks.total_of_kept) == SIZE
        before = distpool.store_stats().objects
        pool.apply(tasks.drop_kept)
        give_up_at = time.monotonic() + LIMIT_S
        while distpool.store_stats().objects == before:
            pool.apply(tasks.square, (2,))
            assert time.monotonic() < give_up_at


def test_refs_come_back_from_workers():
    with Pool(2) as pool:
        mine = distpool.put(np.ones(SIZE))
        made = pool.apply(tasks.put_array, (SIZE, 5.0))
        back = pool.apply(tasks.same_ref, ([mine, made],))
        assert back == [mine, made]
        del mine, made
        gc.collect()
        assert [distpool.get(ref).sum() for ref in back] == [SIZE, SIZE * 5]
        assert pool.apply(tasks.total_of_ref, (back[1:],)) == SIZE * 5


def test_a_value_that_is_put_cannot_keep_what_lies_elsewhere():
    with Pool(1) as pool:
        made = pool.apply(tasks.put_array, (SIZE, 5.0))
        with pytest.raises(distpool.InvalidRef, match="belongs to another store"):
            distpool.put([made])
        with pytest.raises(distpool.InvalidRef, match="belongs to another store"):
            pool.apply(tasks.put_it, ([distpool.put([1])],))


def test_initial_arguments_are_stored_too():
    array = np.ones(SIZE)
    with Pool(4, tasks.set_up, ("array", array)) as pool:
        assert {tuple(x) for x in pool.map(tasks.shape_of, ["array"] * 8, chunksize=1)} == {(SIZE,)}
        assert told_bytes() < 2.1 * BYTES


def test_the_death_of_a_worker_with_an_array_frees_what_it_kept():
    with Pool(4) as pool:  # as many as there is room for: with two, the next one may be where the other is
        lost = pool.apply_async(tasks.die_with, (np.ones(SIZE),))
        with pytest.raises(distpool.WorkerDied):
            lost.get(LIMIT_S)
        until_free(pool)


def test_what_the_next_call_needs_comes_while_a_worker_is_busy_and_no_more(tmp_path):
    path = tmp_path / "go on"
    with Pool(1) as pool:
        pool.apply(tasks.square, (1,))
        before = told_bytes()
        totals = pool.starmap_async(tasks.total_after, [(path, np.full(SIZE, x)) for x in (1.0, 2.0, 3.0, 4.0)], 1)
        give_up_at = time.monotonic() + LIMIT_S
        while told_bytes() - before < 2 * BYTES:
            assert time.monotonic() < give_up_at
            time.sleep(0.005)
        assert told_bytes() - before < 2.1 * BYTES
        path.touch()
        assert totals.get(LIMIT_S) == [SIZE * 1.0, SIZE * 2.0, SIZE * 3.0, SIZE * 4.0]
        assert told_bytes() - before < 4.1 * BYTES, "nothing came twice"


def test_a_call_goes_to_where_what_it_needs_lies():
    with Pool(4) as pool:
        objects_on_nodes(pool)
        homes = dict(pool.map(tasks.put_here, [SIZE] * 12, chunksize=1))
        for node, ref in homes.items():
            assert {pool.apply(tasks.where_is, (ref,)) for _ in range(6)} == {node}
