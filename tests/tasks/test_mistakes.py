"""What users write by mistake: each is an error at once that says what to write instead, and harms nothing else."""

import functools
import math
import re
import threading

import pytest

import distpool

from . import functions

pytestmark = pytest.mark.usefixtures("own_program")

LOCK = threading.Lock()


class Plain:
    def __init__(self, value=0):
        self.value = value

    def get(self, other=None):
        return self.value


Actor = distpool.remote(Plain)


@pytest.fixture
def actor():
    return Actor.remote(3)


def error_of(kind, function, *args, **kwargs):
    with pytest.raises(kind) as caught:
        function(*args, **kwargs)
    return str(caught.value)


def local_class():
    class Local:
        """Its class travels by value."""

        def __init__(self, *values, **named):
            pass

    return distpool.remote(Local)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: functions.identity.remote(LOCK), "argument 0 cannot be pickled: it is a lock"),
        (
            lambda: functions.identity.remote({"a": [1, LOCK]}),
            "argument 0 cannot be pickled: its part ['a'][1] is a lock",
        ),
        (lambda: functions.identity.remote(value=LOCK), "argument 'value' cannot be pickled: it is a lock"),
        (lambda: Actor.remote(LOCK), "argument 0 cannot be pickled: it is a lock"),
        (lambda: Actor.remote(value=LOCK), "argument 'value' cannot be pickled: it is a lock"),
        (lambda: local_class().remote(1, LOCK), "argument 1 cannot be pickled: it is a lock"),
        (lambda: distpool.put([LOCK]), "the value cannot be pickled: its part [0] is a lock"),
    ],
)
def test_what_cannot_be_pickled_is_named_with_its_own_reason(call, text):
    for run in (lambda function: function(), in_a_worker):
        message = error_of(Exception, run, call)
        assert message.startswith(f"cannot pickle '_thread.lock' object; {text}: <unlocked _thread.lock object")


def in_a_worker(function):
    return distpool.get(called.remote(function))


@distpool.remote
def called(function):
    return function()


def test_so_are_a_method_s_arguments_and_a_class_that_travels_by_value(actor):
    assert "argument 0 cannot be pickled: it is a lock" in error_of(TypeError, actor.get.remote, LOCK)

    class Local:
        lock = LOCK

    message = error_of(Exception, distpool.remote(Local).remote)
    assert message.startswith(
        "cannot pickle '_thread.lock' object; the class cannot be pickled: its part .lock is a lock"
    )
    assert distpool.get(actor.get.remote()) == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "a list of refs or futures, not 5, a int"),
        (None, "not None, a NoneType: a call with num_returns=0 gives no ref"),
        ([[1]], "refs or futures; number 0 is [1], a list: make one list of all refs"),
        ({"a": 1}, "not {'a': 1}, a dict: write get([*refs.values()])"),
        ({1}, "not {1}, a set: write get([*refs])"),
        ([1], "refs or futures; number 0 is 1, a int"),
        (functions.add, "a RemoteFunction: call it by its remote(...), which gives a ref"),
        (functions.add.remote, "a method: call it, which gives a ref"),
    ],
)
def test_get_says_what_it_takes(value, text):
    message = error_of(TypeError, distpool.get, value)
    assert message.startswith("get takes ")
    assert message.endswith(text)


def test_get_of_what_only_leads_to_a_ref_says_how(actor):
    by_a_method = "call a method of it, as in actor.method.remote(...), which gives a ref"
    assert error_of(TypeError, distpool.get, actor).endswith(by_a_method)
    assert error_of(TypeError, distpool.get, [actor.get]).endswith("call it by its remote(...), which gives a ref")
    with distpool.Pool(1) as pool:
        result = pool.apply_async(abs, (-1,))
        assert error_of(TypeError, distpool.get, result).endswith("a AsyncResult: its own get() gives the value")
        assert result.get() == 1


@pytest.mark.parametrize("timeout", [math.nan, -1, "5", True])
def test_a_timeout_that_makes_no_sense_is_an_error_and_ends_nothing(actor, timeout):
    ref = functions.identity.remote(1)
    kind = TypeError if type(timeout) in (str, bool) else ValueError
    for function, value in ((distpool.get, ref), (distpool.wait, [ref]), (distpool.as_completed, [ref])):
        message = error_of(kind, function, value, timeout=timeout)
        assert message.startswith(f"timeout is {timeout!r}")
        assert message.endswith("it must be a number of seconds of at least 0, or None for no limit")
    assert distpool.get([ref, actor.get.remote()], timeout=math.inf) == [1, 3]


def test_no_wait_of_the_standard_library_s_with_a_time_that_is_no_number_ends_workers(tmp_path):
    gate = str(tmp_path / "gate")
    with distpool.Pool(1) as pool, distpool.Executor(1) as executor:
        result, future = (
            pool.apply_async(functions.wait_for.__wrapped__, (gate,)),
            executor.submit(functions.wait_for.__wrapped__, gate),
        )
        ref, items = functions.wait_for.remote(gate), pool.imap(abs, [-1])
        waits = [
            functools.partial(result.get, math.nan),
            functools.partial(result.wait, math.nan),
            functools.partial(items.next, math.nan),
            functools.partial(future.result, math.nan),
            functools.partial(future.exception, math.nan),
            functools.partial(ref.result, math.nan),
            functools.partial(distpool.futures.wait, [future], math.nan),
            lambda: list(distpool.futures.as_completed([future], math.nan)),
            lambda: list(distpool.futures.as_completed([future, ref], math.nan)),
        ]
        for wait in waits:
            assert re.search("timeout is nan|Invalid value NaN", error_of(ValueError, wait))
        (tmp_path / "gate").touch()
        assert [result.get(), future.result(), ref.result(), items.next()] == [gate, gate, gate, 1]


def test_to_wait_for_nothing_does_not_wait():
    assert distpool.wait([]) == ([], [])
    assert distpool.wait([], num_returns=3, timeout=5) == ([], [])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: distpool.remote(5), "remote takes a function or a class, not 5, a int"),
        (lambda: distpool.remote(Actor), "<ActorClass Plain> is remote already: call it by its remote(...)"),
        (lambda: distpool.method(Plain.get), "@distpool.method(num_returns=2)"),
        (lambda: distpool.release(5), "5 is a int; release takes refs"),
        (lambda: distpool.release([5]), "5 is a int; release takes refs"),
        (lambda: distpool.cancel([]), "not [], a list: cancel them one after another"),
        (lambda: distpool.kill(functions.identity.remote(1)), "a TaskRef: distpool.cancel ends a task"),
        (lambda: Actor(), "Plain is the class of an actor: start one with Plain.remote(...)"),
        (lambda: Actor.remote(1, 2), "Plain.remote(value=...): too many positional arguments: 2 are given"),
        (lambda: Actor.options(retries=2), "did you mean 'max_task_retries'?"),
        (lambda: functions.add.options(max_restarts=2), "did you mean 'retries'?"),
        (lambda: distpool.Pool(1, num_gpu=1), "did you mean 'num_gpus'?"),
        (lambda: distpool.Pool(1, retries=1), "it is for calls: with_options(retries=...) takes it"),
        (lambda: distpool.Executor(1, timeout=1), "it is for calls: with_options(timeout=...) takes it"),
        (lambda: distpool.Executor("2"), "max_workers is '2', a str; it must be an int of at least 1, or None"),
    ],
)
def test_the_error_says_what_to_write(call, text):
    assert text in error_of(TypeError, call)


def test_methods_are_called_through_a_handle_and_stay_with_it(actor):
    message = error_of(AttributeError, lambda: Actor.get)
    assert message.endswith("so start one with Plain.remote(...), and call its get.remote(...)")
    assert error_of(AttributeError, lambda: Actor.gett) == "'ActorClass' object has no attribute 'gett'"
    assert "is remote already: call it by its remote" in error_of(TypeError, distpool.remote, actor.get)
    assert "distpool.kill ends an actor" in error_of(TypeError, distpool.cancel, actor)
    sent = "cannot be sent to another process: send the handle of its actor, and call it there"
    assert sent in error_of(TypeError, functions.identity.remote, actor.get)
    with distpool.Pool(1) as pool:
        assert sent in error_of(TypeError, pool.apply, actor.get)
    assert sent in error_of(TypeError, in_a_worker, lambda: functions.identity.remote(actor.get))


def test_what_has_no_name_of_its_own_is_called_as_it_may_be():
    partial = distpool.remote(functools.partial(functions.plain_total.__wrapped__, [1, 2]))
    assert distpool.get(partial.remote()) == 3
    assert "write plain_total.remote(...)" in error_of(TypeError, partial)
    assert distpool.get(called.remote(lambda: distpool.get(partial.remote()))) == 3
