"""Exceptions from a worker to its caller: type, arguments, attributes and notes, the traceback, and strange ones."""

import functools
import pickle
import sys
import threading
import types

import pytest

from distpool.errors import RemoteError
from distpool.serialization.remote_errors import TEXT_LIMIT, decode_failure, encode_failure


class Plain(Exception):
    pass


class TwoRequired(Exception):
    """pickle calls it with its `args` only, and fails."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class KeywordOnly(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class NoRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __reduce__(self) -> str:
        raise TypeError("no pickle")


class NoReduce(Exception):
    def __reduce__(self) -> str:
        raise RuntimeError("no pickle")


class ReducesToText(Exception):
    def __reduce__(self) -> tuple:
        return (str, ("not an exception",))


class FailsToLoad(Exception):
    def __reduce__(self) -> tuple:
        return (refuse_to_load, (ZeroDivisionError,))


class ExitsWhenLoaded(Exception):
    def __reduce__(self) -> tuple:
        return (refuse_to_load, (SystemExit,))


class TextExits(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class WithSlots(Exception):
    __slots__ = ("extra",)


def refuse_to_load(kind: type[BaseException]) -> None:
    raise kind("while it was loaded")


def raised(error: BaseException) -> BaseException:
    """The same, with a traceback."""
    try:
        raise error
    except BaseException as caught:
        return caught


def sent(error: BaseException) -> tuple[BaseException, str]:
    return decode_failure(encode_failure(raised(error)))


# ---- what arrives as it was


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        ValueError("one"),
        KeyError(("a", 1)),
        OSError(2, "No such file", "name"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        SystemExit(3),
        KeyboardInterrupt(),
        StopIteration(5),
        Plain("text", 1, None),
        WithSlots("slots"),
    ],
    ids=repr,
)
def test_type_and_arguments_arrive(error):
    arrived, trace = sent(error)
    assert type(arrived) is type(error)
    assert arrived.args == error.args
    assert str(arrived) == str(error)
    assert type(error).__name__ in trace


def test_attributes_and_notes_arrive():
    error = Plain("text")
    error.code = 7  # type: ignore[attr-defined]
    error.add_note("a note")
    arrived, trace = sent(error)
    assert arrived.code == 7  # type: ignore[attr-defined]
    assert arrived.__notes__ == ["a note"]
    assert "a note" in trace


def test_an_exception_without_a_traceback_arrives():
    arrived, trace = decode_failure(encode_failure(ValueError("never raised")))
    assert repr(arrived) == "ValueError('never raised')"
    assert trace == "ValueError: never raised\n"


def test_a_custom_init_with_required_arguments_arrives():
    arrived, _ = sent(TwoRequired(404, "not found"))
    assert type(arrived) is TwoRequired
    assert (str(arrived), arrived.code, arrived.reason) == ("404: not found", 404, "not found")


def test_a_custom_init_with_keyword_only_arguments_arrives():
    arrived, _ = sent(KeywordOnly(code=5))
    assert type(arrived) is KeywordOnly
    assert (str(arrived), arrived.code) == ("code 5", 5)


def test_the_cause_and_the_context_are_in_the_traceback():
    def fail() -> None:
        try:
            try:
                raise KeyError("context")
            except KeyError:
                raise ValueError("cause")  # noqa: B904  the context is what is tested
        except ValueError as error:
            raise Plain("last") from error

    with pytest.raises(Plain) as caught:
        fail()
    arrived, trace = decode_failure(encode_failure(caught.value))
    assert repr(arrived) == "Plain('last')"
    positions = [trace.index(text) for text in ("KeyError: 'context'", "ValueError: cause", "Plain: last")]
    assert positions == sorted(positions)
    assert "direct cause" in trace
    assert "another exception occurred" in trace


def test_an_exception_group_arrives_with_its_members():
    arrived, trace = sent(ExceptionGroup("several", [ValueError(1), ExceptionGroup("inner", [Plain("x")])]))
    assert isinstance(arrived, ExceptionGroup)
    assert arrived.message == "several"
    assert repr(arrived.exceptions[0]) == "ValueError(1)"
    assert repr(arrived.exceptions[1].exceptions[0]) == "Plain('x')"
    assert "several (2 sub-exceptions)" in trace


def test_a_recursion_error_arrives_with_a_short_traceback():
    def endless(depth: int) -> int:
        return endless(depth + 1)

    with pytest.raises(RecursionError) as caught:
        endless(0)
    arrived, trace = decode_failure(encode_failure(caught.value))
    assert type(arrived) is RecursionError
    assert "endless" in trace
    assert len(trace) < TEXT_LIMIT


# ---- the traceback


def test_the_traceback_begins_with_the_users_function():
    """The worker's own frames, which called it, are of no interest."""
    worker = types.ModuleType("distpool.runtime.pretended")
    exec(
        "def call(function):\n    try:\n        function()\n    except BaseException as error:\n        return error",
        worker.__dict__,
    )

    def users_function() -> None:
        raise ValueError("inside")

    _, trace = decode_failure(encode_failure(worker.call(users_function)))
    assert "users_function" in trace
    assert "in call" not in trace


def test_a_huge_text_is_shortened_in_the_traceback_and_whole_in_the_exception():
    text = "begin" + "x" * (4 * TEXT_LIMIT) + "end"
    arrived, trace = sent(ValueError(text))
    assert arrived.args == (text,)
    assert len(trace) <= TEXT_LIMIT + 100
    assert "[...]" in trace
    assert trace.startswith("Traceback")
    assert trace.endswith("end\n")


def test_a_long_chain_of_calls_is_shortened():
    source = (
        "\n".join(f"def f{n}():\n    f{n + 1}()" for n in range(800)) + "\ndef f800():\n    raise ValueError('deep')\n"
    )
    namespace: dict = {}
    exec(compile(source, "<" + "long" * 40 + ">", "exec"), namespace)
    with pytest.raises(ValueError, match="deep") as caught:
        namespace["f0"]()
    _, trace = decode_failure(encode_failure(caught.value))
    assert len(trace) <= TEXT_LIMIT + 100
    assert trace.endswith("ValueError: deep\n")


# ---- what cannot arrive as it was


def test_an_attribute_that_cannot_be_pickled_is_left_out():
    error = Plain("text")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    error.code = 7  # type: ignore[attr-defined]
    arrived, _ = sent(error)
    assert type(arrived) is Plain
    assert arrived.__dict__ == {"code": 7}
    assert arrived.args == ("text",)


def test_an_argument_that_cannot_be_pickled_arrives_as_its_repr():
    lock = threading.Lock()
    arrived, _ = sent(Plain("text", lock, 3))
    assert type(arrived) is Plain
    assert arrived.args == ("text", repr(lock), 3)


def test_an_argument_without_a_repr_does_no_harm():
    arrived, _ = sent(ValueError("text", NoRepr()))
    assert isinstance(arrived, (ValueError, RemoteError))


def test_a_local_class_arrives_as_a_remote_error_that_says_what_it_was():
    class Local(Exception):
        pass

    arrived, trace = sent(Local("from inside"))
    assert type(arrived) is RemoteError
    assert "Local: from inside" in str(arrived)
    assert "Traceback" in str(arrived)
    assert "from inside" in trace


def test_a_class_that_the_caller_does_not_have_arrives_as_a_remote_error(monkeypatch):
    module = types.ModuleType("only_in_the_worker")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec("class Unknown(Exception): pass", module.__dict__)
    payload = encode_failure(raised(module.Unknown("text")))
    monkeypatch.delitem(sys.modules, module.__name__)
    arrived, _ = decode_failure(payload)
    assert type(arrived) is RemoteError
    assert "only_in_the_worker.Unknown: text" in str(arrived)


def test_a_group_with_a_member_that_cannot_be_pickled_names_it():
    arrived, _ = sent(ExceptionGroup("several", [ValueError(1), TypeError(threading.Lock())]))
    assert isinstance(arrived, (ExceptionGroup, RemoteError))
    assert "several" in str(arrived)


@pytest.mark.parametrize(
    "error", [NoText("x"), NoReduce("x"), FailsToLoad("x")], ids=lambda error: type(error).__name__
)
def test_a_method_that_fails_does_no_harm(error):
    arrived, trace = sent(error)
    assert type(arrived) is type(error)
    assert arrived.args == ("x",)
    assert type(error).__name__ in trace


def test_what_loads_as_something_else_is_a_remote_error():
    arrived, _ = sent(ReducesToText("x"))
    assert isinstance(arrived, (ReducesToText, RemoteError))


@pytest.mark.parametrize("error", [ExitsWhenLoaded("x"), TextExits("x")], ids=lambda error: type(error).__name__)
def test_a_method_that_exits_ends_neither_side(error):
    arrived, _ = sent(error)
    assert isinstance(arrived, (type(error), RemoteError))


@pytest.mark.parametrize("text", ["half a character \ud800", "\udcff from a file name", "null \0", "emoji 🐍"])
def test_any_text_arrives(text):
    arrived, trace = sent(ValueError(text))
    assert arrived.args == (text,)
    assert "ValueError" in trace


def test_a_partial_as_argument_arrives():
    arrived, _ = sent(Plain(functools.partial(int, "7")))
    assert arrived.args[0]() == 7


def test_a_pickle_that_fails_only_here_is_a_remote_error():
    payload = encode_failure(raised(FailsOnlyHere("x")))
    FailsOnlyHere.here = True
    try:
        arrived, _ = decode_failure(payload)
    finally:
        FailsOnlyHere.here = False
    assert type(arrived) is RemoteError
    assert "FailsOnlyHere: x" in str(arrived)


class FailsOnlyHere(Exception):
    here = False

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        if self.here:
            raise pickle.UnpicklingError("not here")
