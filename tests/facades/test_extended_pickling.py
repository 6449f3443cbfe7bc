"""What distpool sends and the standard library cannot: lambdas, closures, and classes made inside functions."""

import functools
import pickle
from multiprocessing.pool import MaybeEncodingError

import pytest

from . import tasks
from .comparison import LIMIT_S
from .scripts import run_script

pytestmark = pytest.mark.extension

FACTOR = 3


def multiplier(factor):
    def multiply(x):
        return factor * x

    return multiply


def counter():
    calls = 0

    def count(_):
        nonlocal calls
        calls += 1
        return calls

    return count


def make_local_class():
    class Local:
        def __init__(self, value):
            self.value = value

        def doubled(self):
            return Local(2 * self.value)

        def __call__(self, x):
            return self.value + x

    return Local


@pytest.mark.parametrize(
    ("make_function", "expected"),
    [
        (lambda: lambda x: x + 1, [1, 2, 3]),
        (lambda: multiplier(5), [0, 5, 10]),
        (lambda: lambda x: FACTOR * x, [0, 3, 6]),
        (lambda: lambda x: tasks.square(x), [0, 1, 4]),
        (lambda: make_local_class()(10), [10, 11, 12]),
        (lambda: functools.partial(multiplier(2)), [0, 2, 4]),
        (lambda: lambda x, scale=7: scale * x, [0, 7, 14]),
    ],
    ids=["lambda", "closure", "global", "module", "callable object", "partial", "default"],
)
def test_functions_that_cannot_be_imported_run_in_every_call(pools, executors, make_function, expected):
    pool, executor, function = pools.distpool, executors.distpool, make_function()
    assert pool.map(function, range(3)) == expected
    assert [pool.apply(function, (x,)) for x in range(3)] == expected
    assert pool.starmap(function, [(x,) for x in range(3)]) == expected
    assert list(pool.imap(function, range(3))) == expected
    assert sorted(pool.imap_unordered(function, range(3), chunksize=2)) == sorted(expected)
    assert list(executor.map(function, range(3))) == expected
    assert executor.submit(function, 2).result(LIMIT_S) == expected[2]


def test_functions_and_local_objects_travel_as_arguments(pools, executors):
    local = make_local_class()
    for call in (
        lambda function, *args: pools.distpool.apply_async(function, args).get(LIMIT_S),
        lambda function, *args: executors.distpool.submit(function, *args).result(LIMIT_S),
    ):
        assert call(map_and_sum, lambda x: x * FACTOR, [1, 2]) == 9
        assert call(tasks.add, 1, 2) == 3
        assert call(value_of, local(4)) == 4
        assert call(map_and_sum, local(1), [1, 2]) == 5


def map_and_sum(function, values):
    return sum(map(function, values))


def value_of(thing):
    return thing.value


def test_a_lambda_as_initializer_and_in_initargs(libraries):
    with libraries.distpool.pool(1, lambda function: tasks.hold(function(2)), (lambda x: x + 1,)) as pool:
        assert pool.apply(tasks.read_held) == 3


def test_a_function_keeps_its_state_apart_from_call_to_call_and_from_the_callers(pools):
    count = counter()
    assert count(0) == 1
    results = [pools.distpool.apply(count, (0,)) for _ in range(2)]
    assert all(result >= 2 for result in results)
    assert count(0) == 2


def test_two_lambdas_with_the_same_name_are_not_mixed_up(pools):
    functions = [lambda x, n=n: x + n for n in range(20)]
    results = [pools.distpool.apply_async(function, (100,)) for function in functions]
    assert [result.get(LIMIT_S) for result in results] == [100 + n for n in range(20)]


def test_a_lambda_as_a_result_is_refused_as_in_the_standard_library(pools, executors):
    with pytest.raises(MaybeEncodingError):
        pools.distpool.apply(lambda: lambda: 1)
    with pytest.raises((AttributeError, pickle.PicklingError), match=r"pickle|local object"):
        executors.distpool.submit(lambda: lambda: 1).result(LIMIT_S)


def test_an_error_in_a_lambda_has_its_remote_traceback(pools):
    with pytest.raises(ZeroDivisionError) as caught:
        pools.distpool.map(lambda x: 1 / x, [0])
    assert "ZeroDivisionError: division by zero" in str(caught.value.__cause__)
    assert "in <lambda>" in str(caught.value.__cause__)


def test_a_lambda_of_main_sees_what_the_initializer_set(tmp_path, start_method):
    source = """
        from MP import get_context

        state = "unset"

        def set_state(value):
            global state
            state = value

        class Thing:
            pass

        if __name__ == "__main__":
            with get_context(METHOD).Pool(1, set_state, ("set",)) as pool:
                print(pool.map(lambda x: (state, x), [1, 2]))
                print(pool.apply(lambda thing: isinstance(thing, Thing), (Thing(),)))
                print(type(pool.apply(lambda: Thing())) is Thing)
    """
    run = run_script(tmp_path, "distpool", source, method=start_method)
    assert (run.status, run.output) == (0, ["True", "True", "[('set', 1), ('set', 2)]"]), run.errors


def test_functions_of_a_program_without_a_file_are_sent_by_value(tmp_path, start_method):
    code = f"""
import distpool

def square(x):
    return x * x

class Point:
    def __init__(self, x):
        self.x = x

with distpool.get_context({start_method!r}).Pool(2) as pool:
    print(pool.map(square, range(4)), pool.apply(lambda p: p.x, (Point(5),)))
"""
    run = run_script(tmp_path, "distpool", "", arguments=("-c", code))
    assert (run.status, run.output) == (0, ["[0, 1, 4, 9] 5"]), run.errors
