"""Large values through pools and executors: stored once, writable, held for as long as they are used."""

import os
import signal

import numpy as np
import pytest

import distpool
from distpool.objects.stores import home as own_home
from tests.objects import tasks
from tests.runtime.programs import output_of, until

COUNT = 200_000
PATIENCE_S = 60


def objects():
    return distpool.store_stats().objects


def table():
    return own_home()._shelf._stock.table()


def test_one_array_for_many_calls_is_stored_once(pool):
    array = np.arange(COUNT, dtype=float)
    before = own_home()._shelf._stock._last_id
    got = pool.starmap(tasks.first_and_place, [(array, number) for number in range(64)])
    assert got == [(float(number), True) for number in range(64)]
    assert own_home()._shelf._stock._last_id == before + 1
    assert pool.map(tasks.total, [array] * 5, chunksize=1) == [array.sum()] * 5
    assert own_home()._shelf._stock._last_id == before + 2
    assert objects() == 0


def test_one_bytes_object_for_many_calls_is_stored_once(pool):
    data = b"x" * 300_000
    before = own_home()._shelf._stock._last_id
    assert pool.map(len, [data] * 8) == [300_000] * 8
    assert own_home()._shelf._stock._last_id == before + 1


def test_one_array_in_calls_made_one_by_one_is_stored_once(pool):
    array = np.arange(COUNT, dtype=float)
    before = own_home()._shelf._stock._last_id
    results = [pool.apply_async(tasks.total_slowly, (array, 0.01)) for _ in range(8)]
    assert [result.get(PATIENCE_S) for result in results] == [array.sum()] * 8
    assert own_home()._shelf._stock._last_id == before + 1


def test_an_array_that_changes_between_calls_is_sent_as_it_was(pool):
    array = np.zeros(COUNT)
    results = []
    for number in range(5):
        array[:] = number
        results.append(pool.apply_async(tasks.total_slowly, (array, 0.02)))
    assert [result.get(PATIENCE_S) for result in results] == [COUNT * number for number in range(5)]

    def same_array_again_and_again():
        for number in range(5):
            array[:] = number
            yield array

    assert list(pool.imap(tasks.total, same_array_again_and_again())) == [COUNT * number for number in range(5)]


def test_a_partial_with_an_array_is_stored_once_for_a_map_and_freed_after_it(pool):
    from functools import partial

    array = np.arange(COUNT, dtype=float)
    before = own_home()._shelf._stock._last_id
    for _ in range(3):
        assert pool.map(partial(tasks.first_and_place, array), range(8))[7] == (7.0, True)
        assert objects() == 0
    assert own_home()._shelf._stock._last_id == before + 3


def test_a_closure_with_an_array(pool):
    array = np.arange(COUNT, dtype=float)
    assert pool.map(lambda number: float(array[number]), range(20)) == [float(number) for number in range(20)]
    assert pool.apply(lambda: float(array.sum())) == array.sum()
    assert objects() == 0


def test_results_are_writable_and_their_changes_are_the_callers_own(pool):
    results = pool.starmap(tasks.filled, [(COUNT, float(number)) for number in range(6)])
    for number, result in enumerate(results):
        assert result.flags.writeable
        assert (result == number).all()
        result += 1
    again = pool.map(tasks.give_back, results)
    assert [array[0] for array in again] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    del results, again, result
    assert objects() == 0


def test_what_a_call_changes_nobody_else_sees(pool):
    array = np.zeros(COUNT)
    assert [changed[0] for changed in pool.map(tasks.add_one, [array] * 8, chunksize=1)] == [1.0] * 8
    ref = distpool.put(array)
    assert [changed[0] for changed in pool.map(tasks.add_one, [ref] * 8, chunksize=1)] == [1.0] * 8
    assert distpool.get(ref)[0] == 0.0


def test_initial_arguments(pool):
    array = np.arange(COUNT, dtype=float)
    ref = distpool.put(array)
    method = pool._ctx.get_start_method()
    for given in (array, ref):
        with distpool.get_context(method).Pool(2, tasks.keep_for_all, (given,)) as other:
            distpool.store_stats()
            assert other.map(tasks.total_of, ["initial"] * 4) == [array.sum()] * 4
    del ref, given, other
    assert until(lambda: objects() == 0), table()


# Refs -----------------------------------------------------------------------------------------------------------------


def test_a_ref_among_the_arguments_arrives_as_its_value_and_inside_them_as_a_ref(pool):
    ref = distpool.put(np.ones(COUNT))
    assert pool.apply(tasks.total, (ref,)) == COUNT
    assert pool.apply(tasks.total, (), {"array": ref}) == COUNT
    assert pool.map(tasks.total, [ref] * 9) == [COUNT] * 9
    assert pool.starmap(tasks.first_and_place, [(ref, 3)] * 3) == [(1.0, True)] * 3
    assert list(pool.imap(tasks.total, [ref] * 3)) == [COUNT] * 3
    assert pool.apply(tasks.kinds, ([ref, 1],)) == ("list", ["ObjectRef", "int"])
    assert pool.map(tasks.kinds, [(ref, 2)]) == [("tuple", ["ObjectRef", "int"])]
    assert pool.map(tasks.get_total, [{"ref": ref}] * 5) == [COUNT] * 5


def test_one_ref_is_one_value_within_a_chunk_like_any_object(pool):
    ref = distpool.put(np.zeros(COUNT))
    assert pool.apply(tasks.are_one, (ref, ref))
    assert pool.map(tasks.first_after_adding_one, [ref] * 4, chunksize=2) == [1.0, 2.0, 1.0, 2.0]
    array = distpool.get(ref)
    assert pool.map(tasks.first_after_adding_one, [array] * 4, chunksize=2) == [1.0, 2.0, 1.0, 2.0]
    assert array[0] == 0.0


def test_a_ref_that_is_dropped_while_its_call_waits_is_held_by_the_call(pool):
    results = [pool.apply_async(tasks.total_slowly, (distpool.put(np.ones(COUNT)), 0.05)) for _ in range(6)]
    assert [result.get(PATIENCE_S) for result in results] == [COUNT] * 6
    assert objects() == 0


def test_a_released_ref_is_an_error_at_the_call(pool):
    ref = distpool.put(np.ones(COUNT))
    distpool.release(ref)
    with pytest.raises(distpool.ObjectLost, match=f"object {ref.id} of process"):
        pool.apply(tasks.total, (ref,))


def test_a_worker_puts_and_its_caller_gets(pool):
    refs = pool.starmap(tasks.put, [(COUNT, 1.0), (COUNT, 2.0), (10, 3.0)])
    assert [array.sum() for array in distpool.get(refs)] == [COUNT, 2 * COUNT, 30]
    assert pool.map(tasks.total, refs) == [COUNT, 2 * COUNT, 30]
    outer = pool.apply(tasks.put_named, (COUNT,))
    assert distpool.get(distpool.get(outer)["inner"])[0] == 2.0
    del refs, outer
    assert until(lambda: objects() == 0), table()


def test_what_a_worker_keeps_stays_until_it_drops_it(pool):
    array = np.arange(COUNT, dtype=float)
    name = "array"
    with distpool.get_context(pool._ctx.get_start_method()).Pool(1) as one:
        one.apply(tasks.keep, (name, array))
        one.apply(tasks.keep, ("ref", {"ref": distpool.put(array)}))
        assert objects() == 2
        for _ in range(5):  # what would be written over it
            one.apply(tasks.give_back, (np.zeros(COUNT),))
        assert one.apply(tasks.total_of, (name,)) == array.sum()
        one.apply(tasks.forget, (name,))
        assert until(lambda: objects() == 1), table()
        one.apply(tasks.forget, ("ref",))
        assert until(lambda: objects() == 0), table()
        ref = one.apply(tasks.put_and_keep, ("own", COUNT))
        assert distpool.get(ref).sum() == COUNT
        del ref
        assert objects() == 1
    assert until(lambda: objects() == 0), table()


# Ends -----------------------------------------------------------------------------------------------------------------


def test_a_worker_that_dies_lets_go_of_everything(pool):
    array = np.ones(COUNT)
    pool.starmap(tasks.keep, [("array", array)] * 4, chunksize=1)
    with pytest.raises(distpool.WorkerDied):
        pool.apply(tasks.die_with, (array,))
    with pytest.raises(distpool.WorkerDied):
        pool.apply(tasks.die_with, (array,))
    pool.map(tasks.forget, ["array"] * 8, chunksize=1)
    assert until(lambda: objects() == 0), table()


def test_a_call_that_is_run_again_has_its_arguments_again(pool, tmp_path):
    array = np.ones(COUNT)
    repeated = pool.with_options(retries=2)
    with pytest.raises(distpool.WorkerDied, match="begun 3 times"):
        repeated.apply(tasks.die_with, (array,))
    assert until(lambda: objects() == 0), table()


def test_an_error_with_an_array_frees_the_arguments(pool):
    with pytest.raises(ValueError, match="no good"):
        pool.apply(tasks.fail_with, (np.ones(COUNT),))
    assert objects() == 0


def test_results_that_nobody_takes_are_freed(pool):
    results = [pool.apply_async(tasks.filled, (COUNT, 1.0)) for _ in range(10)]
    del results
    pool.map(tasks.forget, ["x"] * 20, chunksize=1)
    assert until(lambda: objects() == 0), table()


def test_a_pool_that_is_terminated_leaves_nothing(pool):
    other = distpool.get_context(pool._ctx.get_start_method()).Pool(2)
    results = [other.apply_async(tasks.total_slowly, (np.full(COUNT, float(n)), 5)) for n in range(6)]
    assert until(lambda: objects() == 6), table()
    other.terminate()
    for result in results:
        with pytest.raises(distpool.PoolTerminated):
            result.get(PATIENCE_S)
    assert until(lambda: objects() == 0), table()


def test_a_template_that_is_killed_leaves_nothing(pool):
    with distpool.get_context(pool._ctx.get_start_method()).Pool(2) as other:
        results = [other.apply_async(tasks.total_slowly, (np.full(COUNT, float(n)), 5)) for n in range(4)]
        assert until(lambda: objects() == 4), table()
        os.kill(other._workers._crew.template.pid, signal.SIGKILL)
        for result in results:
            with pytest.raises((distpool.PoolBroken, distpool.WorkerDied)):
                result.get(PATIENCE_S)
    assert until(lambda: objects() == 0), table()


def test_a_call_over_its_time_keeps_its_arguments_until_its_worker_is_dead(pool):
    array = np.ones(COUNT)
    with pytest.raises(distpool.CallTimeout):
        pool.with_options(timeout=0.1).apply(tasks.total_slowly, (array, 30))
    assert until(lambda: objects() == 0), table()
    assert pool.apply(tasks.total, (array,)) == COUNT


def test_calls_of_an_executor_can_be_cancelled(pool):
    with distpool.Executor(1, mp_context=pool._ctx) as executor:
        futures = [executor.submit(tasks.total_slowly, np.full(COUNT, float(n)), 0.05) for n in range(8)]
        cancelled = [future for future in futures if future.cancel()]
        assert cancelled
        done = [future.result(PATIENCE_S) for future in futures if future not in cancelled]
        assert len(done) + len(cancelled) == 8
        assert until(lambda: objects() == 0), table()


def test_a_pool_within_a_worker(pool):
    assert pool.apply(tasks.in_a_pool_of_its_own, (np.ones(COUNT),)) == 2 * COUNT
    assert pool.apply(tasks.ref_in_a_pool_of_its_own, ({"ref": distpool.put(np.ones(COUNT))},)) == COUNT
    assert until(lambda: objects() == 0), table()


def test_a_worker_sees_how_full_its_nodes_store_is(pool):
    ref = distpool.put(np.ones(COUNT))
    stats = pool.apply(tasks.stats)
    assert (stats.objects, stats.largest_bytes) == (1, ref.size)
    assert stats.limit_bytes == distpool.store_stats().limit_bytes


def test_a_child_that_outlives_its_call_keeps_what_it_sees(pool):
    with distpool.get_context(pool._ctx.get_start_method()).Pool(1) as one:
        assert one.apply(tasks.fork_and_keep, (np.full(COUNT, 5.0),)) == 5.0
        assert objects() == 1
        for _ in range(10):  # what would be written over it
            one.apply(tasks.total, (np.arange(COUNT, dtype=float),))
        assert one.apply(tasks.word_of_child, (0,)) == b"+"
        one.apply(tasks.total, (np.ones(COUNT),))
        assert until(lambda: objects() == 0 or one.apply(tasks.total, (np.ones(COUNT),)) is None), table()


def test_programs_that_workers_start_do_not_have_the_memory(pool):
    assert pool.apply(tasks.total, (np.ones(COUNT),)) == COUNT
    assert "distpool" not in pool.apply(tasks.descriptors_of_a_program)


KEPT_REF = """
    import numpy as np
    import distpool

    def keep(refs):
        global kept
        kept = refs

    def total(_):
        return float(distpool.get(kept[0]).sum())

    if __name__ == "__main__":
        distpool.configure_store(size="64MiB")
        with distpool.get_context("fork").Pool(1) as pool:
            refs = [distpool.put(np.full(25 * 2**20 // 8, float(number))) for number in range(3)]
            looked_at = distpool.get(refs[1:], readonly=True)
            print(distpool.store_stats().spilled_objects)
            pool.apply(keep, ([refs[0]],))
            print(distpool.store_stats().spilled_objects)
            del looked_at, refs
            print(pool.apply(total, (0,)))
"""


def test_a_ref_that_a_worker_keeps_needs_no_memory_until_it_is_looked_at(tmp_path):
    assert output_of(tmp_path, KEPT_REF).split() == ["1", "1", "0.0"]
