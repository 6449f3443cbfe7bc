"""Ctrl-C that waits: noted once, let in at the end, and unknown to what is forked meanwhile."""

import contextlib
import os
import signal

import pytest

from distpool import interrupts
from distpool.interrupts import Deferral, deferred


def patient():
    return Deferral(lambda: None, lambda: False)


@pytest.fixture(autouse=True)
def handler():
    """As from a shell, wherever the tests run."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("inner", [contextlib.nullcontext, deferred])
def test_it_takes_effect_at_the_end_of_the_outer_one(inner):
    reached = []

    def work():
        with deferred():
            with inner():
                signal.raise_signal(signal.SIGINT)
            reached.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == [True]


def test_one_that_was_noted_is_not_forgotten_when_it_begins_again_within_another():
    outer = patient()
    begun = outer.begin()
    signal.raise_signal(signal.SIGINT)
    with deferred():
        assert outer.begin() is None
    assert outer.noted
    with pytest.raises(KeyboardInterrupt):
        outer.end(begun)


def test_what_is_forked_meanwhile_has_the_handler_of_the_program(handler):
    with deferred(), deferred():
        child = os.fork()
        if child == 0:
            os._exit(0 if signal.getsignal(signal.SIGINT) is handler else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert signal.getsignal(signal.SIGINT) is not handler


class InterruptedChange:
    """The module `_signal`, where Ctrl-C comes just before the n-th change of a handler: Python runs the old one."""

    def __init__(self, number):
        self._remaining = number

    def signal(self, signum, handler):
        self._remaining -= 1
        if self._remaining == 0:
            signal.raise_signal(signal.SIGINT)
        return signal.signal(signum, handler)

    def __getattr__(self, name):
        return getattr(signal, name)


@pytest.mark.parametrize("change", [1, 2])
def test_one_that_comes_while_the_handler_is_being_changed_is_let_in(monkeypatch, change):
    monkeypatch.setattr(interrupts, "_signal", InterruptedChange(change))
    deferral = patient()
    reached = []

    def work():
        handler = deferral.begin()
        reached.append("begun")
        deferral.end(handler)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == (["begun"] if change == 2 else [])
    assert not deferral.noted
    work()  # It is as before: one that comes next waits again.
    handler = deferral.begin()
    signal.raise_signal(signal.SIGINT)
    assert deferral.noted
    with pytest.raises(KeyboardInterrupt):
        deferral.end(handler)


def test_an_impatient_one_that_comes_while_the_handler_is_being_changed_back_leaves_no_other(monkeypatch):
    monkeypatch.setattr(interrupts, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(interrupts, "_signal", InterruptedChange(2))
    deferral = Deferral(lambda: None, lambda: True)
    handler = deferral.begin()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        deferral.end(handler)  # The fixture looks whose handler is there.
    assert not deferral.noted
