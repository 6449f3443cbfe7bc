"""Values to pickles: by reference first, by value what cannot be imported; the part that cannot travel is named."""

import functools
import math
import multiprocessing
import os
import pickle
import pickletools
import subprocess
import sys
import textwrap
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import distpool
from distpool.serialization.buffers import parts_of
from distpool.serialization.pickling import (
    PICKLE_ERRORS,
    blame,
    extended_dumps,
    find_unpicklable,
    is_scalar,
)

LIMIT_S = 30


class View:
    """A worker's `__main__`, as the test says."""

    def __init__(self, *, complete: bool = True, has: bool = True) -> None:
        self.complete = complete
        self._has = has

    def has(self, value: object) -> bool:
        return self._has


IMPORTABLE = View()
NOTHING_OF_MAIN = View(complete=False, has=False)


class Node:
    """An importable class with whatever attributes a test gives it."""

    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)

    def method(self) -> object:
        return self.value  # type: ignore[attr-defined]


class WithSlots:
    __slots__ = ("lock",)


class NoRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __reduce__(self) -> str:
        raise TypeError("no pickle")

    def __hash__(self) -> int:
        return 1


class Registered:
    """Gets a reducer while a test runs."""


def double(value: int) -> int:
    return 2 * value


def sent(value: object, main: View = IMPORTABLE) -> Any:
    return pickle.loads(parts_of(value, main))


def names_in(data: bytes) -> set[str]:
    return {argument for _, argument, _ in pickletools.genops(data) if isinstance(argument, str)}


# ---- by reference


@pytest.mark.parametrize(
    "value", [double, Node, math.sqrt, dict, os.path.join, threading.Lock, functools.partial], ids=repr
)
@pytest.mark.parametrize("main", [IMPORTABLE, NOTHING_OF_MAIN], ids=["importable", "nothing of main"])
def test_what_can_be_imported_travels_by_reference(value, main):
    data = parts_of(value, main)
    assert pickle.loads(data) is value
    assert len(data) < 100


@pytest.mark.parametrize("main", [IMPORTABLE, NOTHING_OF_MAIN], ids=["importable", "nothing of main"])
def test_an_instance_of_an_importable_class_keeps_its_class(main):
    node = sent(Node(value=3, inner=Node(value=4)), main)
    assert type(node) is Node
    assert type(node.inner) is Node
    assert node.method() == 3


def test_a_value_that_mixes_both_keeps_references():
    value = sent({"named": double, "local": lambda value: double(value) + 1, "node": Node(value=1)})
    assert value["named"] is double
    assert value["local"](4) == 9
    assert type(value["node"]) is Node


@pytest.mark.parametrize("beside", [double, lambda: 1], ids=["by reference", "by value"])
def test_multiprocessings_own_reducers_are_used(beside):
    multiprocessing.reduction.register(Registered, lambda _: (str, ("reduced",)))
    try:
        assert sent([Registered(), beside])[0] == "reduced"
    finally:
        del multiprocessing.reduction.ForkingPickler._extra_reducers[Registered]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, True), (1.5, True), (True, True), (None, True), (1j, True), ("short", True), ("x" * 257, False)]
    + [(value, False) for value in (b"", (), [], Node())],
)
def test_scalars_are_those_whose_pickle_cannot_fail(value, expected):
    assert is_scalar(value) is expected


def test_a_subclass_of_a_scalar_is_none():
    class Fraction(int):
        pass

    assert not is_scalar(Fraction(1))


# ---- by value


def test_a_lambda_travels_by_value():
    assert sent(lambda value: value + 1)(2) == 3


def test_a_closure_travels_with_what_it_captured():
    base = [10]
    assert sent(lambda value: value + base[0])(2) == 12


def test_defaults_keywords_annotations_and_attributes_travel():
    def function(first: int, second: int = 2, *, third: int = 3) -> tuple[int, ...]:
        """Says what it does."""
        return first, second, third

    function.note = "a note"  # type: ignore[attr-defined]
    copy = sent(function)
    assert copy(1) == (1, 2, 3)
    assert copy(1, third=5) == (1, 2, 5)
    assert (copy.__name__, copy.__doc__, copy.note) == ("function", "Says what it does.", "a note")
    assert copy.__annotations__ == function.__annotations__
    assert copy.__module__ == function.__module__


def test_a_recursive_closure_travels():
    def factorial(number: int) -> int:
        return 1 if number < 2 else number * factorial(number - 1)

    assert sent(factorial)(10) == math.factorial(10)


def test_local_functions_that_call_each_other_travel():
    def is_even(number: int) -> bool:
        return number == 0 or is_odd(number - 1)

    def is_odd(number: int) -> bool:
        return number != 0 and is_even(number - 1)

    for even, odd in (sent((is_even, is_odd)), (sent(is_even), sent(is_odd))):
        assert [even(10), even(11), odd(10), odd(11)] == [True, False, False, True]


def test_a_closure_in_a_closure_in_a_container_travels():
    def outer(depth: int) -> Callable[[int], int]:
        if depth == 0:
            return lambda value: value
        inner = [outer(depth - 1)]
        return lambda value: inner[0](value) + depth

    assert sent(outer(4))(0) == 10


def test_a_function_with_an_empty_cell_travels():
    def function(use: bool) -> object:
        return later if use else "unused"

    if function is None:
        later = 1
    assert sent(function)(False) == "unused"


def test_a_local_generator_function_and_a_decorated_function_travel():
    def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            return ["wrapped", function(*args)]

        return wrapper

    @decorated
    def inside(value: int) -> int:
        return value

    def generate(count: int) -> Any:
        yield from range(count)

    assert sent(inside)(1) == ["wrapped", 1]
    assert list(sent(generate)(3)) == [0, 1, 2]


def test_a_local_class_and_its_instances_travel():
    class Local:
        count = 3

        def __init__(self, value: int) -> None:
            self.value = value

        def total(self) -> int:
            return self.value + self.count

    class Derived(Local):
        def total(self) -> int:
            return super().total() * 10

    kind, one, two = sent((Local, Local(1), Derived(2)))
    assert type(one) is kind
    assert isinstance(two, kind)
    assert (one.total(), two.total()) == (4, 50)


def test_a_local_dataclass_and_a_local_enum_travel():
    from dataclasses import dataclass
    from enum import Enum

    @dataclass(frozen=True)
    class Point:
        x: int
        y: int = 2

    class Colour(Enum):
        RED = 1

    point, red, colours = sent((Point(1), Colour.RED, Colour))
    assert (point.x, point.y) == (1, 2)
    assert red is colours.RED


def test_a_partial_and_a_method_of_local_things_travel():
    class Local:
        def __init__(self, value: int) -> None:
            self.value = value

        def add(self, other: int) -> int:
            return self.value + other

    assert sent(functools.partial(lambda a, b: a - b, 10))(3) == 7
    assert sent(Local(1).add)(2) == 3


def test_functions_that_share_a_captured_object_share_its_copy():
    state = {"count": 0}

    def increase() -> None:
        state["count"] += 1

    def count() -> int:
        return state["count"]

    increase_copy, count_copy = sent((increase, count))
    increase_copy()
    assert (count_copy(), count()) == (1, 0)


# ---- the globals of a function that was sent by value are the worker's


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module that the caller and the worker can import."""
    module = types.ModuleType("module_of_both")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(
        textwrap.dedent("""
        setting = "the caller's"

        def importable():
            return setting

        def make():
            return lambda: (setting, importable())
        """),
        module.__dict__,
    )
    return module


def in_a_worker(data: bytes, monkeypatch: pytest.MonkeyPatch, source: str) -> tuple[Any, types.ModuleType]:
    """Unpickle where the module was imported anew, and where an initializer has run `source`."""
    worker = types.ModuleType("module_of_both")
    exec(textwrap.dedent(source), worker.__dict__)
    monkeypatch.setitem(sys.modules, worker.__name__, worker)
    return pickle.loads(data), worker


def test_a_function_sees_what_the_initializer_has_set(module, monkeypatch):
    data = parts_of(module.make(), IMPORTABLE)
    source = "setting = 'the worker\\'s'\ndef importable(): return 'its own'"
    function, worker = in_a_worker(data, monkeypatch, source)
    assert function() == ("the worker's", "its own")
    worker.setting = "changed"
    assert function()[0] == "changed"
    assert function.__globals__ is worker.__dict__


def test_globals_that_the_worker_lacks_travel(module, monkeypatch):
    data = parts_of(module.make(), IMPORTABLE)
    function, worker = in_a_worker(data, monkeypatch, "def importable(): return 'its own'")
    assert function() == ("the caller's", "its own")
    assert worker.setting == "the caller's"


def test_a_global_that_cannot_be_pickled_is_left_to_the_worker(module, monkeypatch):
    module.setting = threading.Lock()
    data = parts_of(module.make(), IMPORTABLE)
    function, _ = in_a_worker(data, monkeypatch, "setting = 'its own lock'\ndef importable(): pass")
    assert function()[0] == "its own lock"


def test_a_function_may_change_the_workers_globals(module, monkeypatch):
    exec(
        "def make_setter():\n    def f(value):\n        global setting\n        setting = value\n    return f",
        module.__dict__,
    )
    data = parts_of(module.make_setter(), IMPORTABLE)
    function, worker = in_a_worker(data, monkeypatch, "setting = 1")
    function(2)
    assert worker.setting == 2
    assert module.setting == "the caller's"


def test_isinstance_holds_for_a_function_that_was_sent_by_value(module, monkeypatch):
    exec("class Kind: pass\ndef make_check():\n    return lambda value: isinstance(value, Kind)", module.__dict__)
    data = parts_of(module.make_check(), IMPORTABLE)
    function, worker = in_a_worker(data, monkeypatch, "class Kind: pass")
    assert function(worker.Kind())


# ---- __main__


def main_module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    exec("class Kind: pass\ndef function(): return Kind()", main.__dict__)
    return main


def test_what_the_workers_main_has_travels_by_reference(monkeypatch):
    main = main_module(monkeypatch)
    for view in (IMPORTABLE, View(complete=False, has=True)):
        kind, instance, function = sent((main.Kind, main.Kind(), main.function), view)
        assert kind is main.Kind
        assert type(instance) is main.Kind
        assert function is main.function


def test_what_the_workers_main_lacks_travels_by_value(monkeypatch):
    main = main_module(monkeypatch)
    data = parts_of((main.Kind(), main.function), NOTHING_OF_MAIN)
    main.__dict__.pop("Kind")
    main.__dict__.pop("function")
    instance, function = pickle.loads(data)
    assert type(instance).__name__ == "Kind"
    assert type(function()).__name__ == "Kind"


DEFINITIONS = """
import distpool

setting = "unset"

class Kind:
    def __init__(self, value):
        self.value = value

def initialize(value):
    global setting
    setting = value

def before(value):
    return [setting, helper(value), isinstance(value, Kind)]

def helper(value):
    return value.value

def depth(value):
    return 0 if value == 0 else 1 + depth(value - 1)

context = distpool.get_context(METHOD)
"""

CALLS = """
with context.Pool(2) as pool:
    print(pool.apply(before, [Kind(1)]))

    class Later(Kind):
        pass

    def after(value):
        return [setting, helper(value), isinstance(value, Later)]

    print(pool.map(after, [Later(2), Later(3), Kind(4)], chunksize=1))
    print(pool.map(lambda value: [setting, value + 1], [1, 2, 3]))
    print(pool.apply(depth, [5]), pool.apply(setting.upper))
"""

INITIALIZER = """
with context.Pool(2, initialize, ["set"]) as pool:
    print(pool.apply(before, [Kind(1)]))
    print(pool.map(lambda value: [setting, value + 1], [1, 2, 3]))
"""


def run_without_a_file(source: str, method: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", source.replace("METHOD", repr(method))],
        env={**os.environ, "PYTHONPATH": str(Path(distpool.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_functions_of_a_program_without_a_file_travel(method):
    assert run_without_a_file(DEFINITIONS + CALLS, method) == [
        "['unset', 1, True]",
        "[['unset', 2, True], ['unset', 3, True], ['unset', 4, False]]",
        "[['unset', 2], ['unset', 3], ['unset', 4]]",
        "5 UNSET",
    ]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_an_initializer_of_a_program_without_a_file_travels_and_is_seen(method):
    assert run_without_a_file(DEFINITIONS + INITIALIZER, method) == [
        "['set', 1, True]",
        "[['set', 2], ['set', 3], ['set', 4]]",
    ]


# ---- the part that cannot be pickled


def lock_in_a_closure() -> Callable[[], object]:
    lock = threading.Lock()
    return lambda: lock


def lock_behind_a_local_function() -> Callable[[], object]:
    inner = lock_in_a_closure()
    return lambda: inner()


def lock_beside_a_local_function() -> Callable[[], object]:
    a_function, lock = (lambda: 1), threading.Lock()
    return lambda: (a_function, lock)


def parent_and_child() -> Node:
    parent = Node()
    parent.child = Node(parent=parent, lock=threading.Lock())  # type: ignore[attr-defined]
    return parent


def list_of_itself() -> list:
    value: list = []
    value += [value, threading.Lock()]
    return value


UNPICKLABLE = {
    "the value": (threading.Lock, "it is a lock: <unlocked"),
    "in a list in an attribute": (lambda: Node(items=[1, threading.Lock()]), "its part .items[1] is a lock: "),
    "a generator in a dict": (lambda: {"a": 1, "b": (n for n in ())}, "its part ['b'] is a generator: <generator"),
    "in a tuple": (lambda: (1, 2, threading.Lock()), "its part [2] is a lock: "),
    "in a set": (lambda: {threading.Lock()}, "its part [0] is a lock: "),
    "deep": (lambda: Node(a=[{"k": Node(b=(0, threading.Lock()))}]), "its part .a[0]['k'].b[1] is a lock: "),
    "a frame": (lambda: Node(frame=sys._getframe()), "its part .frame is a frame: "),
    "in a closure": (lock_in_a_closure, "its part .<closure>.lock is a lock: "),
    "behind a local function": (lock_behind_a_local_function, "its part .<closure>.inner.<closure>.lock is a lock: "),
    "beside a local function": (lock_beside_a_local_function, "its part .<closure>.lock is a lock: "),
    "beside a lambda": (lambda: [lambda: 1, threading.Lock()], "its part [1] is a lock: "),
    "in a child that knows its parent": (parent_and_child, "its part .child.lock is a lock: "),
    "in a list that holds itself": (list_of_itself, "its part [1] is a lock: "),
    "without a repr": (lambda: [1, NoRepr()], "its part [1] is a NoRepr"),
    "below a key without a repr": (lambda: {NoRepr(): 1}, ""),
    "after many": (lambda: [0] * 150 + [threading.Lock()], ""),
}


@pytest.mark.parametrize("case", UNPICKLABLE)
def test_the_part_that_cannot_be_pickled_is_named(case):
    make, expected = UNPICKLABLE[case]
    error = blamed(make())
    assert isinstance(error, PICKLE_ERRORS)
    assert f"item 7 cannot be pickled: {expected}" in str(error)
    assert len(str(error)) < 500


def blamed(value: object) -> Exception:
    """The error for the second of two items."""
    try:
        parts_of([double, value], IMPORTABLE)
    except Exception as error:
        return blame(error, [("item 6", double), ("item 7", value)], IMPORTABLE)
    pytest.fail("it can be pickled")


def test_a_function_with_an_empty_cell_and_a_lock_is_a_pickling_error():
    lock = threading.Lock()

    def function() -> object:
        return later, lock

    if function is None:
        later = 1
    error = blamed(function)
    assert isinstance(error, PICKLE_ERRORS)
    assert ".<closure>.lock is a lock" in str(error)


def test_the_error_is_of_the_kind_that_pickle_raised():
    for value in ([threading.Lock()], {"a": (n for n in ())}, Node(frame=sys._getframe())):
        ours = blamed(value)
        with pytest.raises(type(ours)) as standard:
            pickle.dumps(value)
        assert str(ours).startswith(str(standard.value))


def test_an_error_of_the_users_own_reducer_passes_unchanged():
    class Refuses:
        def __reduce__(self) -> str:
            raise ZeroDivisionError("by the user")

    with pytest.raises(ZeroDivisionError, match=r"^by the user$"):
        parts_of([Refuses()], IMPORTABLE)


def test_the_search_for_the_part_looks_at_a_bounded_number_of_parts():
    looked_at = []

    class Counted:
        def __reduce__(self) -> tuple:
            looked_at.append(self)
            return (int, ())

    items = [[Counted()] for _ in range(1000)]
    find_unpicklable([items, threading.Lock()], IMPORTABLE)
    assert len(looked_at) < 3000


def test_what_is_pickled_by_value_raises_the_by_value_picklers_error():
    with pytest.raises(TypeError, match="lock"):
        extended_dumps([threading.Lock()], IMPORTABLE)
