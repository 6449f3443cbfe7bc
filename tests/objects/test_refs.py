"""Refs: what they are, what keeps their objects, and what is said when that is gone."""

import asyncio
import gc
import pickle
import signal
import threading
from concurrent.futures import Future

import numpy as np
import pytest

import distpool
from distpool.objects.refs import ObjectRef


def test_a_ref_is_hashable_and_equal_to_its_copies(home):
    ref = distpool.put([1])
    copy = pickle.loads(pickle.dumps(ref))
    assert copy == ref
    assert len({ref, copy, distpool.put([1])}) == 2
    assert ref != [1]


def test_the_object_is_freed_with_the_last_ref_to_it(home):
    ref = distpool.put(np.zeros(100_000))
    copy = pickle.loads(pickle.dumps(ref))
    del ref
    assert distpool.get(copy)[0] == 0
    assert home.stats().objects == 1
    del copy
    assert home.stats().objects == 0


def test_an_object_holds_those_that_it_names(home):
    inner = distpool.put(np.arange(100_000))
    outer = distpool.put({"inner": [inner]})
    del inner
    again = distpool.get(outer)["inner"][0]
    assert isinstance(again, ObjectRef)
    assert distpool.get(again)[7] == 7
    del again
    assert home.stats().objects == 2
    del outer
    assert home.stats().objects == 0


def test_release_frees_at_once_and_may_be_repeated(home):
    refs = [distpool.put(np.zeros(100_000)) for _ in range(3)]
    distpool.release(refs[0])
    distpool.release(refs[0])
    distpool.release(refs[1:])
    assert home.stats().objects == 0
    with pytest.raises(
        distpool.ObjectLost, match=rf"object {refs[0].id} of process \d+ is gone: this ref was released"
    ):
        distpool.get(refs[0])


def test_a_value_outlives_the_release_of_its_ref(home):
    ref = distpool.put(np.arange(100_000))
    value = distpool.get(ref)
    distpool.release(ref)
    others = [distpool.put(np.zeros(100_000)) for _ in range(3)]
    assert (value == np.arange(100_000)).all()
    del value, others


def test_a_ref_whose_object_was_freed_before_it_arrived_is_lost(home):
    ref = distpool.put([1])
    pickled = pickle.dumps(ref)
    del ref
    with pytest.raises(distpool.ObjectLost, match="its object was freed before the ref arrived"):
        distpool.get(pickle.loads(pickled))


def test_a_ref_of_a_store_out_of_reach_is_invalid(home):
    ref = ObjectRef(99, 7, 0, 4096, 4242)
    with pytest.raises(distpool.InvalidRef, match="object 7 belongs to the store of process 4242, which process"):
        distpool.get(ref)
    with pytest.raises(distpool.InvalidRef):
        ref.future().result()


def test_a_ref_can_be_awaited_and_gives_a_future(home):
    async def main(ref):
        return await ref, await asyncio.gather(*[asyncio.wrap_future(ref.future()) for _ in range(3)])

    ref = distpool.put({"a": 1})
    assert asyncio.run(main(ref)) == ({"a": 1}, [{"a": 1}] * 3)


def test_get_takes_one_or_a_list_of_refs_and_futures(home):
    done = Future()
    done.set_result("x")
    assert distpool.get([distpool.put(1), done, distpool.put(2)]) == [1, "x", 2]
    assert distpool.get(done) == "x"
    assert distpool.get([]) == []


def test_a_get_that_takes_too_long_says_which_are_not_ready(home):
    with pytest.raises(TimeoutError, match=r"after 0.01 s 1 of 2 are not ready: 1 \(<Future at .* state=pending>\)"):
        distpool.get([distpool.put(1), Future()], timeout=0.01)


def test_wait_returns_as_many_as_asked_for_in_their_order(home):
    ref, late, later = distpool.put(1), Future(), Future()
    assert distpool.wait([late, ref, later]) == ([ref], [late, later])
    assert distpool.wait([late, ref, later], num_returns=2, timeout=0.01) == ([ref], [late, later])
    threading.Timer(0.05, late.set_result, [2]).start()
    assert distpool.wait([late, ref, later], num_returns=2) == ([late, ref], [later])
    assert distpool.wait([ref, ref], num_returns=2) == ([ref, ref], [])
    threading.Timer(0.05, later.set_result, [3]).start()
    assert distpool.wait([later, ref, later], num_returns=3) == ([later, ref, later], [])


def test_wait_leaves_nothing_in_the_futures_that_are_not_ready(home):
    late, ready = Future(), Future()
    threading.Timer(0.05, ready.set_result, [1]).start()
    assert distpool.wait([late, ready]) == ([ready], [late])
    assert distpool.wait([late], timeout=0) == ([], [late])
    assert not late._waiters


def test_a_time_out_of_the_programs_own_is_not_taken_for_that_of_wait(home):
    def interrupt(*_):
        raise TimeoutError("the program's own")

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(TimeoutError, match="the program's own"):
            distpool.wait([Future()], timeout=60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: distpool.get(5), TypeError, "get takes a list of refs or futures, not 5, a int"),
        (lambda: distpool.get([5]), TypeError, "get takes refs or futures; number 0 is 5, a int"),
        (lambda: distpool.wait(5), TypeError, "wait takes a list"),
        (lambda: distpool.wait([Future()], num_returns=2), ValueError, "num_returns is 2; it must be from 1 to 1"),
        (lambda: distpool.wait([Future()], num_returns="1"), TypeError, "num_returns is '1', a str"),
        (lambda: distpool.release(5), TypeError, "5 is a int; release takes refs that put returned"),
        (lambda: distpool.release([5]), TypeError, "5 is a int; release takes refs that put returned"),
        (lambda: distpool.put(distpool.put(1)), TypeError, "is a ref already"),
    ],
)
def test_bad_input_is_named(home, call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_a_put_of_what_cannot_be_pickled_names_the_part(home):
    with pytest.raises(TypeError, match=r"the value cannot be pickled: its part \['a'\]\[1\] is a lock"):
        distpool.put({"a": [np.zeros(100_000), threading.Lock()]})
    assert home.stats().objects == 0


def test_cycles_of_values_are_freed_by_the_collector(home):
    cycle = [distpool.get(distpool.put(np.zeros(100_000)))]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert home.stats().objects == 0


def test_many_threads_put_get_and_drop(home):
    errors = []

    def work(number):
        try:
            for step in range(60):
                value = np.full(20_000 + 50 * number, number * 1000 + step)
                ref = distpool.put(value)
                assert (distpool.get(ref) == value).all()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert home.stats().objects == 0
