"""Tasks that start tasks, in workers: what they get, what they keep, and what they pass on."""

import asyncio
import concurrent.futures
import gc
import os
import pickle
import signal

import numpy as np
import pytest

import distpool
from distpool.context import cpu_count_for_pools
from distpool.objects.promises import PROMISES
from distpool.protocol.messages import OutcomeKind
from distpool.protocol.upcalls import SubmitTask
from distpool.runtime.own_way_up import way_up
from distpool.tasks.options import TaskOptions

from . import functions
from .functions import wait_until

LARGE = 100_000


@distpool.remote
def add(x, y=0):
    return x + y


@distpool.remote
def total_of(count):
    return sum(distpool.get([add.remote(number) for number in range(count)]))


@distpool.remote
def fibonacci(n):
    return n if n < 2 else sum(distpool.get([fibonacci.remote(n - 1), fibonacci.remote(n - 2)]))


@distpool.remote
def ones(size):
    return np.ones(size)


@distpool.remote
def add_up(array, factor=1):
    return float(array.sum()) * factor


@distpool.remote
def fail(text):
    raise KeyError(text)


@distpool.remote
def run(function, *args):
    """In a worker, what a test wants."""
    return function(*args)


pytestmark = pytest.mark.usefixtures("own_program")


def test_a_task_gets_the_values_of_those_that_it_starts():
    assert distpool.get([total_of.remote(count) for count in range(20)]) == [n * (n - 1) // 2 for n in range(20)]


def test_a_recursion_ends_with_few_slots():
    assert distpool.get(fibonacci.remote(8)) == 21


def closure_total(factor):
    @distpool.remote
    def scaled(x):
        return factor * x

    return sum(distpool.get([scaled.remote(number) for number in range(5)]))


def test_a_function_that_is_made_in_a_worker_travels_by_value():
    assert distpool.get(run.remote(closure_total, 3)) == 30


def chained():
    first = add.remote(1, 2)
    return distpool.get(add.remote(first, y=add.remote(first, 10)))


def test_refs_as_arguments_are_dependencies_here_too():
    assert distpool.get(run.remote(chained)) == 16


def large_both_ways():
    array = np.arange(LARGE, dtype=float)
    there = distpool.get(add_up.remote(array, factor=2))
    back = distpool.get(ones.remote(LARGE))
    back += 1
    by_ref = distpool.get(add_up.remote(ones.remote(LARGE)))
    stored = distpool.put(array)
    by_put = distpool.get(add_up.remote(stored))
    return there, float(back.sum()), by_ref, by_put


def test_large_values_go_both_ways():
    whole = LARGE * (LARGE - 1) / 2
    assert distpool.get(run.remote(large_both_ways)) == (2 * whole, 2 * LARGE, LARGE, whole)


def failing():
    with pytest.raises(KeyError, match="seven"):
        distpool.get(fail.remote("seven"))
    good, bad = add.remote(1), fail.remote("eight")
    with pytest.raises(KeyError, match="eight"):
        distpool.get([good, bad])
    return distpool.get(good)


def test_errors_arrive_as_they_were_raised():
    assert distpool.get(run.remote(failing)) == 1


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def see_death():
    with pytest.raises(distpool.WorkerDied):
        distpool.get(run.remote(die))
    return True


def test_the_death_of_a_task_is_told_to_the_one_that_has_started_it():
    assert distpool.get(run.remote(see_death))


def several():
    first, second = add.options(num_returns=2).remote((1,), (2,))
    assert run.options(num_returns=0).remote(print) is None
    return distpool.get([second, first])


def test_several_values():
    assert distpool.get(run.remote(several)) == [2, 1]


def waiting():
    event = distpool.get(run.remote(os.getpid)) > 0
    refs = [add.remote(number) for number in range(6)]
    ready, others = distpool.wait(refs, num_returns=6)
    assert (ready, others) == (refs, [])
    assert sorted(ref.result() for ref in distpool.as_completed(refs)) == list(range(6))
    more = [add.remote(number) for number in range(6)]
    done, _ = concurrent.futures.wait(more)
    assert done == set(more)
    assert add.remote(3).future().result() == 3
    return event


def test_all_ways_to_wait():
    assert distpool.get(run.remote(waiting))


async def gather():
    return await asyncio.gather(*(add.remote(number, 1) for number in range(5)))


def test_coroutines_await_refs():
    assert distpool.get(run.remote(asyncio_run)) == [1, 2, 3, 4, 5]


def asyncio_run():
    return asyncio.run(gather())


def never():
    while True:
        signal.pause()


def out_of_time():
    ref = run.remote(never)
    with pytest.raises(TimeoutError):
        distpool.get(ref, timeout=0.02)
    distpool.cancel(ref, force=True)
    with pytest.raises(distpool.TaskCancelled):
        distpool.get(ref)
    return distpool.get(add.remote(5))


def test_a_time_limit_and_a_cancelled_task():
    assert distpool.get(run.remote(out_of_time)) == 5


def start_and_pass_on(count):
    return [add.remote(number, 100) for number in range(count)]


def test_refs_that_a_task_returns_are_kept_until_they_are_asked_for():
    refs = distpool.get([run.remote(start_and_pass_on, 3) for _ in range(20)])
    assert [distpool.get(some) for some in refs] == [[100, 101, 102]] * 20


kept_refs = []


def keep(refs):
    kept_refs.extend(refs)


def get_kept():
    large, small = distpool.get(kept_refs)
    return large.sum(), small


def test_a_ref_that_a_worker_keeps_beyond_its_call_is_good_there():
    alone = run.options(num_cpus=cpu_count_for_pools())  # there is one worker
    refs = [ones.remote(LARGE), add.remote(2)]
    distpool.get(alone.remote(keep, refs))
    del refs
    gc.collect()
    assert distpool.get(alone.remote(get_kept)) == (LARGE, 2)


def test_a_worker_that_is_forked_later_asks_for_refs_that_the_program_had_then(tmp_path):
    gate = str(tmp_path / "gate")
    ref = functions.wait_for.remote(gate)
    waiting = [
        run.options(num_cpus=share).remote(lambda refs: distpool.get(refs[0]), [ref]) for share in (1, 0.5, 0.25)
    ]
    with distpool.get_context("fork").Pool(1) as pool:
        result = pool.apply_async(lambda refs: distpool.get(refs[0]), ([ref],))
        with open(gate, "w"):
            assert distpool.get(waiting) == [gate] * 3
        assert result.get() == gate


def test_what_a_call_has_started_is_forgotten_with_its_refs():
    before = len(PROMISES._kept)
    assert distpool.get([total_of.remote(10) for _ in range(10)]) == [45] * 10
    wait_until(lambda: sum(map(len, PROMISES._kept.values())) <= before + 4)


def test_calls_of_a_pool_start_tasks_too():
    with distpool.Pool(2) as pool:
        assert pool.map(closure_total, range(4)) == [0, 10, 20, 30]


def unpicklable():
    with pytest.raises(TypeError, match="argument 0"):
        add.remote(iter(x for x in ()))
    with pytest.raises(TypeError, match=r"write add\.remote"):
        add(1)
    return True


def test_bad_input_is_refused_in_the_worker():
    assert distpool.get(run.remote(unpicklable))


def submit_nonsense(kind, call, options):
    way_up().tell(SubmitTask([12345], 0, None, kind, call, [], options, "nonsense", 1))
    return distpool.get(add.remote(1))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (OutcomeKind.VALUE, b"no pickle"),
        (OutcomeKind.VALUE, pickle.dumps(7)),
        (OutcomeKind.STORED, pickle.dumps(TaskOptions())),
    ],
)
def test_a_worker_that_submits_nonsense_is_ended_and_the_program_goes_on(kind, options):
    with pytest.raises(distpool.WorkerDied, match="makes no sense"):
        distpool.get(run.remote(submit_nonsense, int(kind), b"\xc1", options))
    assert distpool.get(total_of.remote(3)) == 3
