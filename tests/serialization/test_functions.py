"""The table of functions: what is sent once by its name, and what travels with each call."""

import functools
import itertools
import math
import operator
import pickle
import sys
import types

import pytest

from distpool.ids import INLINE_FUNCTION
from distpool.protocol.messages import FunctionBlob
from distpool.serialization.functions import FunctionTable, pickles_as_name


class View:
    """A worker's `__main__`, as the test says."""

    def __init__(self, *, complete: bool = True, has: bool = True) -> None:
        self.complete = complete
        self._has = has

    def has(self, value: object) -> bool:
        return self._has


class Table:
    """A table and what it published."""

    def __init__(self, view: View | None = None) -> None:
        self.blobs: list[FunctionBlob] = []
        self.table = FunctionTable(view or View(), itertools.count(1), self.blobs.append)
        self.named = self.table.named
        self.any = self.table.any


def double(value: int) -> int:
    return value * 2


class Counter:
    """Callable, with a state that changes between two calls."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, value: int) -> int:
        self.count += 1
        return self.count + value

    def method(self) -> int:
        return self.count

    @classmethod
    def of_class(cls) -> str:
        return cls.__name__

    @staticmethod
    def alone() -> str:
        return "alone"


class Unhashable(Counter):
    __hash__ = None  # type: ignore[assignment]


class HashRefused(Counter):
    def __hash__(self) -> int:
        raise ValueError("not a key")


NAMED = [double, len, math.sqrt, operator.add, Counter, Counter.alone, dict, ValueError]
WITH_STATE = [
    Counter(),
    Unhashable(),
    Counter().method,
    Counter.of_class,
    functools.partial(double, 3),
    operator.itemgetter(1),
    "text".upper,
    [].append,
]


@pytest.mark.parametrize("function", NAMED)
def test_a_function_of_a_module_is_named_once(function):
    table = Table()
    function_id = table.named(function)
    assert function_id != INLINE_FUNCTION
    assert [table.named(function), table.any(function)] == [function_id, function_id]
    (blob,) = table.blobs
    assert (blob.function, blob.fresh) == (function_id, False)
    assert pickle.loads(blob.blob) is function


@pytest.mark.parametrize("function", WITH_STATE, ids=repr)
def test_what_may_carry_state_travels_with_each_call(function):
    table = Table()
    assert table.named(function) == INLINE_FUNCTION
    assert table.blobs == []


def test_a_callable_that_cannot_be_a_key_travels_with_each_call():
    assert Table().named(HashRefused()) == INLINE_FUNCTION


@pytest.mark.parametrize("function", NAMED + WITH_STATE, ids=repr)
def test_only_names_pickle_as_names(function):
    assert pickles_as_name(function) is (function in NAMED)


def test_functions_get_numbers_of_their_own():
    table = Table()
    numbers = [table.any(function) for function in (double, len, Counter(), functools.partial(double, 1), lambda: 1)]
    assert len(set(numbers)) == 5
    assert INLINE_FUNCTION not in numbers
    assert [blob.function for blob in table.blobs] == numbers


@pytest.mark.parametrize("function", [Counter(), functools.partial(double, 3), Counter().method], ids=repr)
def test_a_callable_with_state_is_unpickled_anew_for_each_call(function):
    table = Table()
    table.any(function)
    (blob,) = table.blobs
    assert blob.fresh


def test_a_callable_whose_state_has_changed_is_another_function():
    table = Table()
    counter = Counter()
    before = [table.any(counter), table.any(counter)]
    counter(1)
    after = table.any(counter)
    assert before[0] == before[1] != after
    assert [pickle.loads(blob.blob).count for blob in table.blobs] == [0, 1]


def test_a_lambda_is_sent_by_value_and_kept():
    table = Table()
    shift = 5
    function_id = table.any(lambda value: value + shift)
    (blob,) = table.blobs
    assert (blob.function, blob.fresh) == (function_id, False)
    assert pickle.loads(blob.blob)(2) == 7


@pytest.mark.parametrize("make", [lambda: lambda value: value, lambda: lambda: (yield)], ids=["plain", "generator"])
def test_a_lambda_is_not_named(make):
    assert Table().named(make()) == INLINE_FUNCTION


def test_a_local_function_that_captured_something_else_is_another_function():
    table = Table()
    functions = [(lambda value, shift=shift: value + shift) for shift in (1, 2)]
    assert table.any(functions[0]) != table.any(functions[1])
    assert [pickle.loads(blob.blob)(0) for blob in table.blobs] == [1, 2]


def test_a_function_that_was_replaced_in_its_module_is_not_taken_for_the_new_one(monkeypatch):
    module = types.ModuleType("replaced_module")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec("def f():\n    return 'old'", module.__dict__)
    old = module.f
    table = Table()
    old_id = table.any(old)
    exec("def f():\n    return 'new'", module.__dict__)
    new_id = table.any(module.f)
    assert old_id != new_id
    assert pickle.loads(table.blobs[1].blob)() == "new"


@pytest.mark.parametrize("has", [True, False])
def test_a_function_of_main_is_named_only_where_the_worker_has_it(monkeypatch, has):
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    exec("def f():\n    return 'of main'", main.__dict__)
    table = Table(View(complete=has, has=has))
    assert (table.named(main.f) != INLINE_FUNCTION) is has
    table.any(main.f)
    # By name it is short; by value its code is in it.
    assert (len(table.blobs[-1].blob) < 60) is has


def test_what_cannot_be_pickled_is_an_error_that_names_the_part():
    counter = Counter()
    counter.source = (number for number in range(3))  # type: ignore[attr-defined]
    table = Table()
    with pytest.raises(TypeError, match=r"the function cannot be pickled: its part \.source is a generator"):
        table.any(counter)
    assert table.blobs == []
