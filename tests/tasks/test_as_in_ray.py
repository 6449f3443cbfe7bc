"""Programs of Ray's documentation, on distpool, and on Ray itself where it is installed."""

import importlib
import importlib.util
import time

import pytest

import distpool

LIMIT_S = 60


@pytest.fixture(
    params=[
        "distpool",
        pytest.param(
            "ray", marks=pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
        ),
    ],
)
def ray(request):
    """The library, under the name that ported programs use."""
    library = distpool if request.param == "distpool" else importlib.import_module("ray")
    library.init()
    yield library
    library.shutdown()


def test_a_first_task(ray):
    @ray.remote
    def square(x):
        return x * x

    assert ray.get([square.remote(i) for i in range(4)]) == [0, 1, 4, 9]


def test_passing_an_object(ray):
    @ray.remote
    def my_function():
        return 1

    @ray.remote
    def function_with_an_argument(value):
        return value + 1

    first = my_function.remote()
    assert ray.get(first) == 1
    assert ray.get(function_with_an_argument.remote(first)) == 2


def test_a_ref_in_a_list_stays_a_ref(ray):
    @ray.remote
    def echo_and_get(values):
        return [type(value) is int for value in values]

    assert ray.get(echo_and_get.remote([1, ray.put(2)])) == [True, False]


def test_waiting_for_partial_results(ray):
    @ray.remote
    def nap(seconds):
        time.sleep(seconds)
        return seconds

    refs = [nap.remote(seconds) for seconds in (0.0, 0.0, 60.0)]
    ready, remaining = ray.wait(refs, num_returns=2, timeout=LIMIT_S)
    assert (ready, remaining) == (refs[:2], refs[2:])
    ray.cancel(refs[2], force=True)


def test_multiple_returns(ray):
    @ray.remote(num_returns=3)
    def return_multiple():
        return 0, 1, 2

    one, two, three = return_multiple.remote()
    assert ray.get([one, two, three]) == [0, 1, 2]


def test_cancelling(ray):
    @ray.remote
    def blocking_operation():
        time.sleep(60)

    ref = blocking_operation.remote()
    ray.cancel(ref)
    cancelled = distpool.TaskCancelled if ray is distpool else ray.exceptions.TaskCancelledError
    with pytest.raises(cancelled):
        ray.get(ref)


def test_overriding_options(ray):
    @ray.remote(num_cpus=1)
    def three_values():
        return 1, 2, 3

    assert len(three_values.options(num_returns=3, num_cpus=1, name="three").remote()) == 3


def test_an_error_travels_down_a_chain(ray):
    @ray.remote
    def fail():
        raise ValueError("no")

    @ray.remote
    def passed_on(value):
        return value

    with pytest.raises(ValueError, match="no"):
        ray.get(passed_on.remote(passed_on.remote(fail.remote())))


def test_a_timeout_of_get(ray):
    @ray.remote
    def long_running():
        time.sleep(60)

    ref = long_running.remote()
    with pytest.raises(TimeoutError):
        ray.get(ref, timeout=0.1)
    ray.cancel(ref, force=True)


def test_a_tree_of_sums(ray):
    @ray.remote
    def add(one, other):
        return one + other

    values = [ray.put(number) for number in range(16)]
    while len(values) > 1:
        values = [*values[2:], add.remote(values[0], values[1])]
    assert ray.get(values[0]) == 120
