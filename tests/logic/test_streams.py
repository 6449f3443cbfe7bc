"""Items of a generator: each has a place, is taken once, and the generator is told how far it may go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distpool.logic.promises import Promise
from distpool.logic.streams import NOBODY, Stream, Window
from distpool.protocol.messages import OutcomeKind

VALUE = (int(OutcomeKind.VALUE), b"value")


def made():
    return Stream(lambda: Promise(1, "f"))


def test_the_place_after_the_last_item_is_pending():
    stream = made()
    first = stream.look(0)
    assert stream.arrive(0) is first
    second = stream.look(1)
    assert second is not first
    assert not second.has_failed()
    assert stream.arrived == 1


def test_an_item_that_comes_again_is_dropped_and_one_that_is_missing_is_an_error():
    stream = made()
    assert stream.arrive(0) is not None
    assert stream.arrive(0) is None
    with pytest.raises(ValueError, match="item 2 of a generator came, and item 1 did not"):
        stream.arrive(2)


def test_the_failure_of_the_call_is_the_last_item_and_its_end_is_none():
    failed, ended = made(), made()
    for stream in (failed, ended):
        stream.arrive(0)
    assert failed.end(has_failed=True) is failed.look(1)
    assert failed.look(2) is None
    ended.end(has_failed=False)
    assert ended.is_over(1)
    assert ended.look(1) is None
    assert ended.arrive(1) is None


def test_what_was_taken_can_be_looked_at_until_the_next_is():
    stream = made()
    stream.arrive(0)
    first = stream.look(0)
    stream.take(0)
    assert stream.look(0) is first
    stream.look(1)
    with pytest.raises(ValueError, match="item 0 of a generator is asked for, which has items 1 to 1"):
        stream.look(0)
    with pytest.raises(ValueError, match="item 2"):
        stream.look(2)


def test_whoever_waits_for_items_to_be_taken_is_told_once():
    stream, told = made(), []
    for place in range(3):
        stream.arrive(place)
    assert stream.when_taken(2, told.append)
    assert stream.take(0) == []
    assert stream.take(1) == [told.append]
    assert stream.take(2) == []
    assert not stream.when_taken(2, told.append)


def test_nobody_waits_for_a_stream_that_is_not_wanted_or_has_ended():
    abandoned, ended, told = made(), made(), []
    assert abandoned.when_taken(1, told.append)
    abandoned.abandon()
    assert abandoned.give_up_waiting() == [told.append]
    ended.end(has_failed=True)
    for stream in (abandoned, ended):
        assert not stream.when_taken(1, told.append)
        assert stream.arrive(0) is None
        assert stream.arrive(5) is None


@given(limit=st.integers(1, 100), takes=st.lists(st.integers(0, 40), max_size=50))
def test_never_more_wait_than_the_window_has_room_for_and_it_opens_before_all_are_taken(limit, takes):
    window, taken = Window(limit), 0
    for take in takes:
        while not window.awaited():
            window.sent += 1
        assert window.sent - taken == limit
        assert taken < window.awaited() <= window.sent
        taken = min(window.sent, taken + take)
        window.taken(taken)


def test_a_window_without_a_limit_is_always_open():
    window = Window(-1)
    window.sent = 1_000_000
    assert not window.awaited()
    assert NOBODY < 0
