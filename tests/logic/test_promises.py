"""Promises: one outcome each, told once to whoever asked, and found by number for as long as somebody keeps them."""

import pytest

from distpool.logic.promises import Promise, Promises
from distpool.protocol.messages import OutcomeKind

VALUE = (int(OutcomeKind.VALUE), b"value")
ERROR = (int(OutcomeKind.ERROR), b"error")


class Watcher:
    def ended(self, promise):
        raise AssertionError("whoever ends a promise tells")


def test_the_first_outcome_stays():
    promise = Promise(1, "f")
    assert promise.end(VALUE) == []
    assert promise.end(ERROR, "g") is None
    assert (promise.outcome, promise.cause) == (VALUE, "")


def test_whoever_watches_is_to_be_told_once():
    promise, first, second = Promise(1, "f"), Watcher(), Watcher()
    assert promise.watch(first)
    assert promise.watch(second)
    promise.unwatch(first)
    assert promise.end(VALUE) == [second]
    assert not promise.watch(first)
    assert promise.watchers is None


def test_an_end_forgets_the_call():
    promise = Promise(1, "f", call=object())
    promise.end(VALUE)
    assert promise.call is None


@pytest.mark.parametrize("kind", OutcomeKind)
def test_only_values_are_no_failures(kind):
    promise = Promise(1, "f")
    assert not promise.has_failed()
    promise.end((int(kind), b""))
    assert promise.has_failed() == (kind not in (OutcomeKind.VALUE, OutcomeKind.STORED))


def test_a_promise_is_found_once_it_was_published_and_while_it_lives():
    table, promise = Promises(), Promise(7, "f")
    assert table.find(7) is None
    table.publish(promise)
    assert table.find(7) is promise
    del promise
    assert table.find(7) is None


def test_holders_keep_promises_and_what_is_said_twice_changes_nothing():
    table, promise = Promises(), Promise(7, "f")
    table.publish(promise)
    for holder in ("worker 1", "worker 1", "worker 2"):
        assert table.keep(7, holder)
    del promise
    table.release(7, "worker 2")
    table.release(7, "worker 2")
    assert table.find(7) is not None
    table.drop("worker 1")
    table.drop("worker 1")
    assert table.find(7) is None
    assert not table.keep(7, "worker 1")
