"""Remote functions: how they are made and called, what they say of wrong use, and what becomes of their calls."""

import concurrent.futures
import inspect
import pickle
import threading

import pytest

import distpool
from distpool import TaskRef

from . import functions
from .functions import LIMIT_S

pytestmark = pytest.mark.usefixtures("program")


def test_a_call_gives_a_ref_at_once_and_get_its_value(tmp_path):
    gate = tmp_path / "gate"
    ref = functions.wait_for.remote(str(gate))
    assert isinstance(ref, TaskRef)
    assert not ref.done()
    gate.touch()
    assert distpool.get(ref) == str(gate)
    assert ref.done()


def test_it_is_made_with_and_without_options_and_by_a_call():
    def double(x):
        return 2 * x

    for made in (distpool.remote(double), distpool.remote(num_cpus=1)(double), distpool.remote(lambda x: 2 * x)):
        assert distpool.get(made.remote(4)) == 8


def test_a_function_keeps_its_name_text_and_signature():
    function = functions.identity
    assert (function.__name__, function.__doc__) == ("identity", "Gives `value`.")
    assert list(inspect.signature(function).parameters) == ["value"]


def test_a_call_without_remote_says_what_to_write():
    with pytest.raises(TypeError, match=r"write identity\.remote\(\.\.\.\)"):
        functions.identity(1)


def test_it_can_be_pickled_and_used_in_workers():
    assert pickle.loads(pickle.dumps(functions.identity)) is functions.identity
    copy = distpool.get(functions.identity.remote(functions.add.options(retries=2)))
    assert distpool.get(copy.remote(1, 2)) == 3
    local = distpool.get(functions.identity.remote(distpool.remote(lambda: 5)))
    assert distpool.get(local.remote()) == 5


def test_a_function_that_calls_itself_by_its_name_is_found_in_the_worker():
    @distpool.remote
    def has_itself():
        return type(has_itself).__name__

    assert distpool.get(has_itself.remote()) == "RemoteFunction"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"num_cpu": 1}, TypeError, "did you mean 'num_cpus'"),
        ({"max_retries": 1}, TypeError, "did you mean 'retries'"),
        ({"colour": "red"}, TypeError, "its options are timeout, retries, priority, num_returns"),
        ({"num_cpus": "2"}, TypeError, "num_cpus is '2', a str"),
        ({"num_cpus": -1}, ValueError, "num_cpus is -1; it must be a number of at least 0"),
        ({"num_cpus": float("nan")}, ValueError, "num_cpus is nan"),
        ({"num_returns": 1.5}, TypeError, "num_returns is 1.5, a float"),
        ({"num_returns": -1}, ValueError, "num_returns is -1"),
        ({"retries": -1}, ValueError, "retries is -1"),
        ({"retry_exceptions": [5], "retries": 1}, TypeError, "retry_exceptions has 5"),
        ({"retry_exceptions": True}, ValueError, "but retries is 0"),
        ({"timeout": 0}, ValueError, "timeout is 0"),
        ({"priority": "high"}, TypeError, "priority is 'high'"),
        ({"name": 5}, TypeError, "name is 5, a int"),
    ],
)
def test_wrong_options_are_refused_at_once(options, error, words):
    with pytest.raises(error, match=words):
        distpool.remote(**options)(len)
    with pytest.raises(error, match=words):
        functions.identity.options(**options)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: distpool.remote(), "has no options and no function"),
        (lambda: distpool.remote(5), "takes a function or a class, not 5, a int"),
        (lambda: distpool.remote(len, len), "takes one function"),
        (lambda: distpool.remote(num_cpus=1)(5), "not 5, a int"),
        (lambda: distpool.remote(functions.identity), "is remote already"),
        (lambda: distpool.get(5), "get takes a list of refs or futures, not 5"),
        (lambda: distpool.get([functions.identity]), "number 0 is <RemoteFunction"),
        (lambda: distpool.wait(5), "wait takes"),
        (lambda: distpool.cancel(5), "cancel takes the ref of a task"),
    ],
)
def test_what_is_no_function_or_ref_is_refused(make, words):
    with pytest.raises(TypeError, match=words):
        make()


def test_a_coroutine_is_refused():
    async def fetch():
        pass

    with pytest.raises(TypeError, match="fetch is a coroutine"):
        distpool.remote(fetch)


def test_an_argument_that_cannot_be_pickled_is_named():
    with pytest.raises(TypeError, match=r"argument 1 cannot be pickled: its part \['lock'\] is"):
        functions.add.remote(1, {"lock": threading.Lock()})
    with pytest.raises(TypeError, match="argument 'other' cannot be pickled"):
        functions.add.remote(functions.identity.remote(1), other=threading.Lock())


def test_an_error_of_a_call_is_raised_with_its_remote_traceback_each_time_anew():
    ref = functions.fail.remote("not today")
    errors = [ref.exception() for _ in range(2)]
    assert errors[0] is not errors[1]
    assert all(type(error) is ValueError and "in fail" in str(error.__cause__) for error in errors)
    with pytest.raises(ValueError, match="not today"):
        distpool.get(ref)


def test_each_get_opens_the_value_anew():
    ref = functions.identity.remote([1, 2])
    one, other = distpool.get([ref, ref])
    one.append(3)
    assert other == distpool.get(ref) == [1, 2]


# Several values -------------------------------------------------------------------------------------------------------


def test_several_values_have_a_ref_each():
    one, two = functions.identity.options(num_returns=2).remote(("a", [5]))
    assert distpool.get([two, one]) == [[5], "a"]
    assert distpool.get(functions.add.remote(two, other=[1])) == [5, 1]


def test_no_value_is_asked_for(lines):
    assert functions.note.options(num_returns=0).remote(lines.path, "run") is None
    functions.wait_until(lambda: lines() == ["run"])


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [((1, 2, 3), ValueError, "num_returns=2 values, and returned 3"), (5, TypeError, "returned a int: 5")],
)
def test_a_wrong_number_of_values_is_an_error_of_each(value, error, words):
    for ref in functions.identity.options(num_returns=2).remote(value):
        with pytest.raises(error, match=words):
            distpool.get(ref)


def test_a_task_whose_ref_is_dropped_still_runs(lines):
    functions.note.remote(lines.path, "run")
    functions.wait_until(lambda: lines() == ["run"])


# As futures -----------------------------------------------------------------------------------------------------------


def test_the_standard_functions_take_refs(tmp_path):
    gate = tmp_path / "gate"
    slow = functions.wait_for.remote(str(gate))
    quick = [functions.identity.remote(number) for number in range(5)]
    put = distpool.put("there")
    assert set(concurrent.futures.as_completed([*quick, put], LIMIT_S)) == {*quick, put}
    done, rest = concurrent.futures.wait([slow, *quick], 0)
    assert (done, rest) == (set(quick), {slow})
    failed = functions.fail.remote()
    assert failed in concurrent.futures.wait([slow, failed], LIMIT_S, concurrent.futures.FIRST_EXCEPTION).done
    iterator = concurrent.futures.as_completed([slow, *quick], LIMIT_S)
    assert {next(iterator) for _ in quick} == set(quick)
    gate.touch()
    assert next(iterator) == slow


def test_wait_and_as_completed_take_refs_and_futures(tmp_path):
    gate = tmp_path / "gate"
    slow, put = functions.wait_for.remote(str(gate)), distpool.put(1)
    with distpool.futures.ProcessPoolExecutor(1) as executor:
        future = executor.submit(abs, -1)
        assert distpool.wait([slow, put, future], num_returns=2, timeout=LIMIT_S) == ([put, future], [slow])
    assert distpool.wait([slow], timeout=0) == ([], [slow])
    with pytest.raises(TimeoutError, match="1 of 2 are not ready: 0 "):
        distpool.get([slow, put], timeout=0.01)
    gate.touch()
    assert list(distpool.as_completed([slow, slow])) == [slow]


def test_refs_are_awaited_together():
    import asyncio

    async def gather():
        refs = [functions.identity.remote(number) for number in range(5)]
        assert await asyncio.gather(*refs) == list(range(5))
        with pytest.raises(ValueError, match="no"):
            await functions.fail.remote()

    asyncio.run(gather())


def test_a_future_of_a_ref_and_its_result_and_exception():
    ref = functions.identity.remote(7)
    assert ref.future().result(LIMIT_S) == ref.result(LIMIT_S) == ref.future().result(0) == 7
    assert ref.exception() is None
    assert (ref.done(), ref.cancelled()) == (True, False)
    assert isinstance(functions.fail.remote().future().exception(LIMIT_S), ValueError)


def test_many_threads_get_and_submit():
    def run(number):
        assert distpool.get([functions.add.remote(number, other) for other in range(20)]) == [
            number + other for other in range(20)
        ]

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        list(threads.map(run, range(16)))
