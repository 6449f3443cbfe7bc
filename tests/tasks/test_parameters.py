"""A call that the function cannot take is an error at `remote`, and no other is."""

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import distpool
from distpool.tasks.parameters import parameters_of

from .functions import add

NAMES = ["a", "b", "c", "d"]

pytestmark = pytest.mark.usefixtures("own_program")


@st.composite
def signatures(draw):
    """The text between the parentheses of a definition."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))
    by_place = draw(st.integers(0, len(names)))
    first_default = draw(st.integers(0, by_place))
    parts = [name if at < first_default else f"{name}=0" for at, name in enumerate(names[:by_place])]
    only_by_place = draw(st.integers(0, by_place))
    if only_by_place:
        parts.insert(only_by_place, "/")
    by_name = [name if draw(st.booleans()) else f"{name}=0" for name in names[by_place:]]
    if draw(st.booleans()):
        parts.append("*args")
    elif by_name:
        parts.append("*")
    parts += by_name
    if draw(st.booleans()):
        parts.append("**kwargs")
    return ", ".join(parts)


def defined(text, head="def f"):
    namespace = {}
    exec(f"{head}({text}): pass", namespace)
    return namespace["f"]


def can_be_called(function, args, kwargs):
    try:
        function(*args, **kwargs)
    except TypeError:
        return False
    return True


def is_taken(parameters, args, kwargs):
    try:
        parameters.check("f", args, kwargs)
    except TypeError:
        return False
    return True


calls = st.tuples(
    st.lists(st.just(1), max_size=5).map(tuple), st.dictionaries(st.sampled_from([*NAMES, "e"]), st.just(1), max_size=4)
)


@given(signatures(), st.lists(calls, min_size=1, max_size=8))
@settings(max_examples=400, deadline=None)
def test_what_is_refused_is_what_python_refuses(text, many):
    function = defined(text)
    for args, kwargs in many:
        assert is_taken(parameters_of(function), args, kwargs) == can_be_called(function, args, kwargs), (text, args)


@given(signatures(), calls, st.integers(0, 2), st.dictionaries(st.sampled_from(NAMES), st.just(1), max_size=2))
@settings(max_examples=400, deadline=None)
def test_of_a_partial_function_too(text, call, count, by_name):
    function = functools.partial(defined(text), *range(count), **by_name)
    parameters = parameters_of(function)
    if parameters is not None and can_be_called(function, *call):
        assert is_taken(parameters, *call)


class Called:
    def __call__(self, one):
        return one


def decorated(function):
    @functools.wraps(function)
    def without(*args):
        return function("connection", *args)

    return without


@decorated
def with_connection(connection, value):
    return connection, value


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: add.remote(), "add.remote(one, other=...): missing a required argument: 'one'"),
        (lambda: add.remote(1, 2, 3), "add.remote(one, other=...): too many positional arguments: 3 are given"),
        (lambda: add.remote(1, othr=2), "got an unexpected keyword argument 'othr'; did you mean 'other'?"),
        (lambda: add.remote(1, one=2), "multiple values for argument 'one'"),
        (lambda: add.options(retries=1).remote(), "missing a required argument: 'one'"),
        (lambda: distpool.remote(Called()).remote(), "missing a required argument: 'one'"),
        (lambda: distpool.remote(functools.partial(add.__wrapped__, other=1)).remote(1, othr=2), "mean 'other'?"),
    ],
)
def test_the_error_says_what_is_wrong(call, text):
    with pytest.raises(TypeError) as raised:
        call()
    assert text in str(raised.value)


@distpool.remote
def error_of(function):
    """In a worker."""
    try:
        function()
    except TypeError as error:
        return str(error)


def test_in_a_worker_it_is_an_error_at_once_too():
    assert "missing a required argument: 'one'" in distpool.get(error_of.remote(add.remote))


def test_a_decorator_that_adds_an_argument_is_not_mistaken():
    assert distpool.get(distpool.remote(with_connection).remote(3)) == ("connection", 3)


@pytest.mark.parametrize(("function", "value"), [(len, 2), (max, 7), (sum, 10), (sorted, [3, 7])])
def test_functions_of_c_can_be_called(function, value):
    assert distpool.get(distpool.remote(function).remote([3, 7])) == value


class Actor:
    def plain(self, one, *, other=0):
        return one + other

    def any(*args):
        return len(args)

    @staticmethod
    def static(one):
        return one

    @classmethod
    def of_class(cls, one):
        return cls.__name__, one

    @decorated
    def with_connection(self, me, value):
        """The decorator gives "connection" as `self`."""
        return value

    def items(self, count):
        yield from range(count)


def use(actor):
    """What is wrong and what is right, here or in a worker."""
    errors = []
    for method, args, kwargs in [
        (actor.plain, (), {}),
        (actor.plain, (1, 2), {}),
        (actor.plain, (1,), {"othr": 2}),
        (actor.static, (), {}),
        (actor.of_class, (1, 2), {}),
        (actor.items, (), {}),
    ]:
        with pytest.raises(TypeError) as raised:
            method.remote(*args, **kwargs)
        errors.append(str(raised.value))
    refs = [
        actor.plain.remote(1, other=2),
        actor.any.remote(1, 2),
        actor.static.remote(4),
        actor.of_class.remote(5),
        actor.with_connection.remote(6),
    ]
    assert distpool.get(refs) == [3, 3, 4, ("Actor", 5), 6]
    assert [distpool.get(item) for item in actor.items.remote(2)] == [0, 1]
    return errors


used = distpool.remote(use)


def test_methods_of_an_actor_are_called_as_they_can_be():
    actor = distpool.remote(Actor).remote()
    errors = use(actor)
    assert errors == distpool.get(used.remote(actor))
    assert errors[0] == "Actor.plain.remote(one, *, other=...): missing a required argument: 'one'"
    assert errors[2].endswith("got an unexpected keyword argument 'othr'; did you mean 'other'?")
