"""Whatever is put or sent arrives bit for bit, and writable."""

import pickle

import numpy as np
import pytest
from hypothesis import given

import distpool
from distpool.objects.apart import pickle_apart
from distpool.objects.known import Known
from distpool.serialization.buffers import Parts, standard_parts
from tests.logic.machines import tries
from tests.objects.values import VALUES, assert_arrived

PATIENCE_S = 60


@pytest.mark.usefixtures("home")
class TestOfPut:
    # One store for all examples of a test, as Hypothesis runs the fixture once.
    @tries(150)
    @given(value=VALUES)
    def test_any_value(self, value):
        ref = distpool.put(value)
        assert_arrived(value, distpool.get(ref))
        assert_arrived(value, distpool.get(ref))  # what the first reader wrote is its own

    def test_two_readers_do_not_see_each_others_changes(self):
        ref = distpool.put(np.zeros(100_000))
        one, other = distpool.get([ref, ref])
        one[5:70_000] = 7
        assert (other == 0).all()
        del one
        assert (distpool.get(ref) == 0).all()

    def test_read_only_is_the_shared_memory_itself(self):
        ref = distpool.put([np.arange(100_000), b"x" * 100_000])
        array, data = distpool.get(ref, readonly=True)
        assert not array.flags.writeable
        assert array[-1] == 99_999
        assert data == b"x" * 100_000
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1

    def test_views_keep_the_value_alive(self, home):
        view = distpool.get(distpool.put(np.arange(200_000)))[100:50_000:7]
        assert home.stats().objects == 1
        # Its memory is not given to others.
        others = [distpool.put(np.zeros(200_000)) for _ in range(3)]
        assert (view == np.arange(100, 50_000, 7)).all()
        del view, others
        assert home.stats().objects == 0

    def test_a_memoryview_arrives_as_one(self):
        numbers = np.arange(100_000.0).reshape(100, 1000)
        got = distpool.get(distpool.put(memoryview(numbers)))
        assert (got.format, got.shape) == ("d", (100, 1000))
        assert (np.asarray(got) == numbers).all()

    def test_values_above_2_gib(self, home, monkeypatch):
        monkeypatch.setattr(home._shelf._stock, "limit", 6 << 30)
        monkeypatch.setattr(home._shelf._stock._arena, "_limit", 6 << 30)
        value = np.zeros((2 << 30) + 5000, np.uint8)
        value[-5000:] = 3
        got = distpool.get(distpool.put(value))
        assert len(got) == len(value)
        assert (got[0], got[-5000:].sum()) == (0, 15_000)


@tries(100)
@given(value=VALUES)
def test_arguments_through_their_small_pickle(value):
    from distpool.objects.stores import home

    parts = standard_parts(value)
    if isinstance(parts, Parts):
        recipe = home().keep(parts, Known())
        pickled = pickle_apart(recipe, home().id, home().pid)
        assert len(pickled) < 70_000 + sum(len(part) for part in parts.stream if len(part) < 65_536)
        assert_arrived(value, pickle.loads(pickled))
    else:
        assert_arrived(value, pickle.loads(parts))


def give_back(value):
    return value


def test_any_value_through_a_pool(pool):
    @tries(40)
    @given(value=VALUES)
    def check(value):
        assert_arrived(value, pool.apply_async(give_back, (value,)).get(PATIENCE_S))
        for got in pool.map_async(give_back, [value] * 3).get(PATIENCE_S):
            assert_arrived(value, got)

    check()
