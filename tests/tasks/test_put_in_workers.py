"""Values with refs of tasks and handles of actors in them, which workers put."""

import gc

import numpy as np
import psutil
import pytest

import distpool
from distpool.objects.promises import PROMISES
from tests.actors.classes import Counter

from .functions import wait_until

LARGE = 100_000
Counters = distpool.remote(Counter)

pytestmark = pytest.mark.usefixtures("own_program")


@distpool.remote
def add(x, y=0):
    return x + y


@distpool.remote
def run(function, *args):
    """In a worker, what a test wants."""
    return function(*args)


def put_refs(count):
    return distpool.put({"refs": [add.remote(number, 100) for number in range(count)], "ones": np.ones(LARGE)})


def open_refs(value):
    return distpool.get(value["refs"]), value["ones"].sum()


def test_a_worker_gets_what_it_has_put():
    def use():
        ref = put_refs(3)
        assert ref.done()
        assert distpool.wait([ref]) == ([ref], [])
        value = distpool.get(ref)
        value["ones"] += 1
        return open_refs(distpool.get(ref)), open_refs(distpool.get(run.remote(distpool.get, [ref]))[0])

    expected = [100, 101, 102], LARGE
    assert distpool.get(run.remote(use)) == (expected, expected)


def test_it_is_good_in_the_program_and_as_an_argument_elsewhere():
    ref = distpool.get(run.remote(put_refs, 3))

    assert open_refs(distpool.get(ref)) == ([100, 101, 102], LARGE)
    assert distpool.get(run.remote(open_refs, ref)) == ([100, 101, 102], LARGE)
    assert distpool.get(run.remote(lambda refs: open_refs(distpool.get(refs[0])), [ref])) == ([100, 101, 102], LARGE)
    again = distpool.put([ref])
    del ref
    gc.collect()
    assert open_refs(distpool.get(distpool.get(again)[0])) == ([100, 101, 102], LARGE)


def test_what_is_in_it_is_kept_with_it_and_freed_with_it():
    def put_counter():
        counter = Counters.remote(7)
        return distpool.put([counter, add.remote(1)]), counter.pid.remote().result()

    before = distpool.store_stats().objects
    ref, pid = distpool.get(run.remote(put_counter))
    large = distpool.get(run.remote(put_refs, 2))
    assert distpool.get(ref)[0].add.remote().result() == 8
    assert distpool.store_stats().objects > before

    del ref, large
    gc.collect()
    wait_until(lambda: not psutil.pid_exists(pid))
    wait_until(lambda: distpool.store_stats().objects <= before)


def test_a_call_that_puts_again_and_again_leaves_nothing():
    def put_many(count):
        for number in range(count):
            assert distpool.get(distpool.get(distpool.put([add.remote(number)]))[0]) == number
        return count

    before = sum(map(len, PROMISES._kept.values()))
    assert distpool.get([run.remote(put_many, 20) for _ in range(4)]) == [20] * 4
    wait_until(lambda: sum(map(len, PROMISES._kept.values())) <= before + 4)
