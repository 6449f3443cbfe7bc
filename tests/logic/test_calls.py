"""The queue of calls and what a worker holds, against plain lists of calls."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from distpool.ids import FunctionId
from distpool.logic.calls import Bundle, CallOptions, CallQueue, Holding, Span
from distpool.protocol.messages import CallMode
from tests.logic.machines import tries

PLENTY = 10**9


class Sink:
    """Notes how often it was told to begin."""

    def __init__(self, *, is_cancelled=False):
        self.is_cancelled = is_cancelled
        self.times_begun = 0

    def begin(self):
        self.times_begun += 1
        return not self.is_cancelled

    def put_back(self):
        self.times_begun -= 1


def bundle(count, *, first=0, entry_bytes=16, is_cancelled=False, priority=0, timeout_s=None):
    sink = Sink(is_cancelled=is_cancelled)
    options = CallOptions(timeout_s=timeout_s, priority=priority)
    return Bundle(FunctionId(1), CallMode.ITEM, [b"x"] * count, sink, first, entry_bytes, options)


def priority_of(call):
    return call[0].options.priority


def calls_of(spans):
    """A list of calls: (bundle, number at its sink)."""
    return [(span.bundle, span.bundle.first + at) for span in spans for at in range(span.start, span.stop)]


class QueueAndHolding(RuleBasedStateMachine):
    """Calls go from a queue to a worker, end there or are taken back; the model is a list for each place.

    The list of those that wait is sorted by priority after each step: sorting keeps the order of equals.
    """

    def __init__(self):
        super().__init__()
        self.queue, self.holding = CallQueue(), Holding()
        self.waiting, self.held, self.bundles = [], [], []

    def wait(self, calls, *, in_front=False):
        self.waiting = [*calls, *self.waiting] if in_front else [*self.waiting, *calls]
        self.waiting.sort(key=priority_of, reverse=True)

    @rule(
        counts=st.lists(st.integers(1, 5), max_size=3),
        first=st.integers(0, 9),
        entry_bytes=st.sampled_from([16, 100, 1000]),
        is_cancelled=st.booleans(),
        priorities=st.lists(st.sampled_from([0, 0, 0, 0, 7, -7, 3]), min_size=3, max_size=3),
    )
    def push(self, counts, first, entry_bytes, is_cancelled, priorities):
        new = [
            bundle(n, first=first, entry_bytes=entry_bytes, is_cancelled=is_cancelled, priority=priority)
            for n, priority in zip(counts, priorities, strict=False)
        ]
        assert self.queue.push(new) == sum(counts)
        self.bundles += new
        self.wait(calls_of([Span(each, 0, len(each.entries)) for each in new]))

    @rule(limit=st.integers(0, 8), bytes_limit=st.sampled_from([-100, 0, 50, 250, PLENTY]))
    def take(self, limit, bytes_limit):
        spans, cancelled = self.queue.take(limit, bytes_limit)
        expected, expected_cancelled, room = [], [], bytes_limit
        while self.waiting and len(expected) < limit:
            each, _ = self.waiting[0]
            if each.sink.is_cancelled:
                expected_cancelled.append(self.waiting.pop(0))
            elif expected and room < each.entry_bytes:
                break
            else:
                expected.append(self.waiting.pop(0))
                room -= each.entry_bytes
        assert calls_of(spans) == expected
        assert calls_of(cancelled) == expected_cancelled
        self.holding.add(spans)
        self.held += expected

    @precondition(lambda self: self.held)
    @rule(share=st.floats(0.0, 1.0))
    def finish(self, share):
        count = round(share * len(self.held))
        outcomes = [(0, str(number).encode()) for number in range(count)]
        done = self.holding.finish(outcomes)
        answered = [(each, first + at) for each, first, ended in done for at in range(len(ended))]
        assert answered == self.held[:count]
        assert [outcome for _, _, ended in done for outcome in ended] == outcomes
        del self.held[:count]

    @precondition(lambda self: self.held)
    @rule(share=st.floats(0.0, 1.0))
    def take_back(self, share):
        count = round(share * len(self.held))
        spans = self.holding.take_back(count)
        rest = len(self.held) - count
        assert calls_of(spans) == self.held[rest:]
        self.queue.push_back(spans)
        self.wait(self.held[rest:], in_front=True)
        del self.held[rest:]

    @precondition(lambda self: self.held)
    @rule()
    def look_at_the_oldest(self):
        span = self.holding.oldest()
        assert (span.bundle, span.bundle.first + span.start) == self.held[0]

    @rule()
    def drop_all(self):
        assert calls_of(self.queue.drop_all()) == self.waiting
        self.waiting = []

    @invariant()
    def the_counts_are_right(self):
        assert self.queue.waiting == len(self.waiting)
        assert self.holding.calls == len(self.held)
        assert self.holding.bytes == sum(each.entry_bytes for each, _ in self.held)

    @invariant()
    def a_sink_is_told_to_begin_at_most_once(self):
        assert all(each.sink.times_begun <= 1 for each in self.bundles)
        assert all(each.sink.times_begun == 1 for each, _ in self.held)


TestQueueAndHolding = QueueAndHolding.TestCase
TestQueueAndHolding.settings = tries(60)


def test_higher_priorities_go_first_and_equal_ones_in_their_order():
    low, first, high, second = (bundle(1, priority=priority) for priority in (-1, 0, 9, 0))
    queue = CallQueue()
    queue.push([low, first, high, second])
    spans, _ = queue.take(9, PLENTY)
    assert [span.bundle for span in spans] == [high, first, second, low]


def test_what_is_put_back_comes_first_among_its_own_priority():
    low, high, other_low = bundle(2, priority=1), bundle(1, priority=2), bundle(1, priority=1)
    queue = CallQueue()
    queue.push([low, other_low])
    taken, _ = queue.take(2, PLENTY)
    queue.push([high])
    queue.push_back(taken)
    spans, _ = queue.take(9, PLENTY)
    assert calls_of(spans) == [(high, 0), (low, 0), (low, 1), (other_low, 0)]


def test_a_large_call_of_a_high_priority_is_not_overtaken_by_a_small_one():
    large, small = bundle(2, priority=1, entry_bytes=100), bundle(1)
    queue = CallQueue()
    queue.push([small, large])
    assert [calls_of(queue.take(9, 150)[0]) for _ in range(3)] == [[(large, 0)], [(large, 1), (small, 0)], []]


def test_priorities_that_are_used_once_leave_nothing_behind():
    queue = CallQueue()
    for priority in range(100):
        queue.push([bundle(1, priority=priority)])
        queue.take(1, PLENTY)
    assert len(queue._by_rank) == 1


def test_a_queue_knows_whether_some_call_has_a_time_limit():
    queue = CallQueue()
    queue.push([bundle(1)])
    assert not queue.has_limits
    queue.push([bundle(1, timeout_s=5.0)])
    assert queue.has_limits


def test_one_call_is_taken_however_large_it_is():
    queue = CallQueue()
    queue.push([bundle(2, entry_bytes=10**6)])
    spans, _ = queue.take(5, 100)
    assert calls_of(spans) == calls_of(spans)[:1]
    assert queue.waiting == 1


def test_a_cancelled_bundle_leaves_room_for_the_next():
    queue = CallQueue()
    queue.push([bundle(3, is_cancelled=True), bundle(1)])
    spans, cancelled = queue.take(1, PLENTY)
    assert (len(calls_of(spans)), len(calls_of(cancelled)), queue.waiting) == (1, 3, 0)


def test_no_more_can_end_or_be_taken_back_than_is_held():
    holding = Holding()
    holding.add([Span(bundle(2), 0, 2)])
    with pytest.raises(ValueError, match="3 outcomes for 2 calls"):
        holding.finish([(0, b"")] * 3)
    with pytest.raises(ValueError, match="3 calls to take back of 2"):
        holding.take_back(3)
    assert holding.calls == 2


def test_what_is_taken_back_is_what_was_sent_last():
    one, two = bundle(2), bundle(2, first=10)
    holding = Holding()
    holding.add([Span(one, 0, 2), Span(two, 0, 2)])
    assert calls_of(holding.take_back(3)) == [(one, 1), (two, 10), (two, 11)]


def test_spans_and_bundles_say_what_they_are():
    assert repr(Span(bundle(5, first=7), 1, 3)) == "<Span 1:3 of <Bundle of 5 calls of function 1 from 7>>"
