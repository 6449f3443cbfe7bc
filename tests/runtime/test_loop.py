"""One turn of the loop, with no worker at all."""

import threading
import time

import pytest

from distpool.config import SETTINGS
from distpool.ids import INLINE_FUNCTION
from distpool.logic.calls import Bundle
from distpool.protocol.messages import CallMode, OutcomeKind
from distpool.protocol.resources import Offer
from distpool.runtime.loop import Loop

LONG_S = 5.0


class Told:
    def __init__(self):
        self.outcomes = []

    def begin(self):
        return True

    def put_back(self):
        pass

    def deliver(self, first, outcomes):
        self.outcomes.append((first, outcomes))


@pytest.fixture
def loop():
    loop = Loop(SETTINGS, Offer(1), lambda is_done, timeout_s: None)
    yield loop
    if not loop.is_closed:
        loop.close()


def took_s(act):
    began_at = time.monotonic()
    act()
    return time.monotonic() - began_at


def test_a_turn_does_not_sleep_while_outcomes_wait_to_be_told(loop):
    told = Told()
    loop.completions.append((Bundle(INLINE_FUNCTION, CallMode.CALL, [b""], told), 0, [(OutcomeKind.VALUE, b"")]))
    assert took_s(lambda: loop.turn(LONG_S)) < LONG_S / 2
    loop.run_completions()
    assert told.outcomes == [(0, [(OutcomeKind.VALUE, b"")])]


def test_a_turn_sleeps_until_something_is_posted(loop):
    done = []
    poster = threading.Timer(0.05, loop.post, (done.append, 1))
    poster.start()
    assert took_s(lambda: loop.turn(LONG_S)) < LONG_S / 2
    poster.join()
    assert done == [1]


def test_what_is_posted_before_the_turn_is_done_in_it(loop):
    done = []
    loop.post(done.append, 1)
    loop.turn(0.0)
    assert done == [1]


def test_what_is_posted_to_a_closed_loop_is_done_at_once(loop):
    loop.close()
    done = []
    loop.post(done.append, 1)
    loop.wake()
    assert done == [1]
