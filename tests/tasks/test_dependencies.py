"""Refs as arguments: of tasks, of pools' calls, and inside of values."""

import numpy as np
import pytest

import distpool
from distpool.objects.promises import PROMISES
from distpool.objects.stores import home

from . import functions

pytestmark = pytest.mark.usefixtures("program")

LARGE = 100_000


def objects():
    return home().stats().objects


def test_a_task_runs_after_those_whose_values_it_needs(tmp_path, lines):
    gate = tmp_path / "gate"
    first = functions.note.remote(lines.path, 1, functions.wait_for.remote(str(gate)))
    second = functions.note.remote(lines.path, 2, first)
    third = functions.add.remote(first, other=second)
    functions.wait_until(lambda: distpool.get(functions.identity.remote(0)) == 0)
    assert lines() == []
    gate.touch()
    assert distpool.get(third) == 3
    assert lines() == ["1", "2"]


def test_a_chain_of_many_ends_with_a_value_and_with_an_error():
    value, error = functions.identity.remote(0), functions.fail.remote()
    for _ in range(1_000):
        value, error = functions.add.remote(value, other=1), functions.add.remote(error)
    assert distpool.get(value) == 1_000
    with pytest.raises(ValueError, match="no") as caught:
        distpool.get(error)
    assert caught.value.__notes__ == ["add was not run, as it needed the value of fail, which failed so"]


def test_one_ref_is_one_value_within_a_call():
    @distpool.remote
    def are_the_same(one, other):
        return one is other

    ref = functions.identity.remote([1])
    assert distpool.get(are_the_same.remote(ref, other=ref))


def test_refs_within_values_stay_refs_and_come_back_with_their_value(tmp_path):
    gate = tmp_path / "gate"
    inner = functions.wait_for.remote(str(gate))
    kind = functions.kinds.remote([inner], named={"ref": inner})
    assert distpool.get(kind) == ["list", "dict"]
    back = functions.identity.remote([inner])
    del inner
    again = distpool.get(back)[0]
    gate.touch()
    assert distpool.get(again) == str(gate)


def test_a_value_that_was_put_keeps_the_refs_in_it():
    inner = functions.identity.remote("kept")
    number = inner.id
    outer = distpool.put([inner])
    del inner
    assert distpool.get(distpool.get(outer)[0]) == "kept"
    del outer
    assert PROMISES.find(number) is None


def test_large_values_lie_in_the_store_and_are_passed_on_from_there():
    array = functions.zeros.remote(LARGE)
    assert distpool.get(functions.total.remote(array)) == 0.0
    assert distpool.get(functions.total.remote(functions.identity.remote(array))) == 0.0
    pair = functions.identity.options(num_returns=2).remote((np.ones(LARGE), 5))
    assert distpool.get([functions.total.remote(pair[0]), pair[1]]) == [float(LARGE), 5]


def test_a_large_value_is_private_or_read_only():
    ref = functions.zeros.remote(LARGE)
    distpool.get(ref)[0] = 1.0
    shared = distpool.get(ref, readonly=True)
    assert shared[0] == 0.0
    assert not shared.flags.writeable


def test_a_value_is_freed_with_its_last_ref():
    before = objects()
    array = functions.zeros.remote(LARGE)
    total = functions.total.remote(array)
    assert distpool.get(total) == 0.0
    functions.wait_until(lambda: objects() == before + 1)
    del array
    functions.wait_until(lambda: objects() == before)
    other = functions.zeros.remote(LARGE)
    distpool.get(other)
    distpool.release(other)
    functions.wait_until(lambda: objects() == before)
    with pytest.raises(distpool.ObjectLost, match="this ref was released"):
        distpool.get(other)
    functions.zeros.remote(LARGE)
    functions.wait_until(lambda: distpool.get(functions.identity.remote(1)) == 1 and objects() == before)


def test_put_and_task_refs_are_arguments_together():
    stored, array = distpool.put(np.ones(LARGE)), functions.zeros.remote(LARGE)
    sums = functions.kinds.remote(stored, array, np.ones(LARGE), other=functions.identity.remote(1))
    assert distpool.get(sums) == ["ndarray", "ndarray", "ndarray", "int"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_initializers_of_pools_get_values_of_tasks(method):
    array, small = functions.zeros.remote(LARGE), functions.identity.remote("value")
    with distpool.get_context(method).Pool(1, functions.remember, (array, small)) as pool:
        assert pool.apply(functions.remembered) == ["ndarray", "str"]


def test_calls_of_pools_get_values_of_tasks(tmp_path):
    array, small = functions.zeros.remote(LARGE), functions.identity.remote([1, 2])
    with distpool.Pool(1) as pool, distpool.futures.ProcessPoolExecutor(1) as executor:
        assert pool.apply(functions.total.__wrapped__, (array,)) == 0.0
        assert pool.map(functions.plain_total.__wrapped__, [small, [5], small]) == [3, 5, 3]
        assert executor.submit(functions.kinds.__wrapped__, small, [small], other=array).result() == [
            "list",
            "list",
            "ndarray",
        ]
        with pytest.raises(ValueError, match="no"):
            executor.submit(abs, functions.fail.remote()).result()
