"""Calls that rest, each time for longer, before they run again."""

from distpool.ids import FunctionId
from distpool.logic.calls import Bundle, Span
from distpool.logic.resting import Resting


def call(attempts):
    return Span(Bundle(FunctionId(1), 0, [b""], None, attempts=attempts), 0, 1)


def test_a_rest_begins_when_it_is_asked_for_and_doubles_up_to_the_longest():
    resting = Resting(1.0, 5.0)
    calls = [call(attempts) for attempts in (1, 2, 3, 4, 1000)]
    for each in calls:
        resting.add(each)
    assert resting.due() is None
    assert resting.take_rested(100.0) == []
    ends = []
    while resting.calls:
        ends.append(resting.due())
        assert resting.take_rested(ends[-1] - 0.01) == []
        resting.take_rested(ends[-1])
    assert ends == [101.0, 102.0, 104.0, 105.0], "the last two together"
    assert resting.due() is None


def test_calls_of_a_pool_that_ends_do_not_rest():
    resting = Resting(1.0, 5.0)
    first, second = call(1), call(1)
    resting.add(first)
    resting.take_rested(0.0)
    resting.add(second)
    assert resting.drop_all() == [first, second]
    assert not resting.calls
    assert resting.take_rested(100.0) == []
