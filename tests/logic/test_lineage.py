"""What is made again when nodes are lost: each call as often as it may, in the order in which the values are needed."""

import gc
from itertools import count
from weakref import ref

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from distpool.logic.dependencies import Dependencies
from distpool.logic.lineage import Lineage, Remembered
from distpool.logic.promises import Promise
from distpool.protocol.messages import OutcomeKind

HERE = (int(OutcomeKind.VALUE), b"here")
GONE = (int(OutcomeKind.ERROR), b"gone")
STORED = int(OutcomeKind.STORED)
LIMIT = 12
SIZE = 3
SHARED = ("shared", 2)


class Value:
    def __init__(self, lineage, node):
        self.lineage = lineage
        self.node = node
        self.is_lost = False
        self.doubts = {}


class Task:
    def __init__(self, lineage, promises):
        self.lineage = lineage
        self.promises = promises
        self.needed = []

    def end(self, outcome):
        told = [(promise, promise.end(outcome)) for promise in self.promises]
        for promise, watchers in told:
            for watcher in watchers or ():
                watcher.ended(promise)


class OneCall(Lineage):
    """Counts how often its call is handed in."""

    numbers = count(1)

    def __init__(self, promises, needed, retries):
        super().__init__(promises, needed, retries)
        self.runs_left = 1 + retries
        self.forget = None

    def __del__(self):
        if self.forget is not None:
            self.forget(id(self))

    def new_promise(self, name, position):
        return Promise(next(self.numbers), name, None, position)

    def new_task(self, promises):
        return Task(self, promises)

    def gone(self):
        return GONE


def call(needed=(), retries=1, values=1):
    """A task, and its promises."""
    promises = tuple(Promise(next(OneCall.numbers), "f", None, at if values > 1 else -1) for at in range(values))
    lineage = OneCall(promises, needed, retries)
    task = Task(lineage, promises)
    for promise in promises:
        promise.call = task
    return task


def ends_on(task, node, retries_left):
    value = Value(task.lineage, node)
    task.lineage.stays(value, retries_left)
    task.end((STORED, value))
    return value


def test_a_lost_value_is_pending_again_and_whoever_doubted_it_is_told_of_the_next():
    task = call()
    (promise,) = task.promises
    value = ends_on(task, "a", 1)
    told = []

    class Doubting:
        def ended(self, promise):
            told.append(promise)

    value.doubts[promise.number] = [Doubting()]
    again = task.lineage.lose(value)
    assert value.is_lost
    assert (promise.outcome, promise.call) == (None, again)
    assert again.lineage.retries_left == 0
    again.end(HERE)
    assert (promise.outcome, told) == (HERE, [promise])


def test_a_value_that_nobody_has_any_more_is_not_made_again():
    task = call()
    value = ends_on(task, "a", 1)
    lineage = task.lineage
    del task
    gc.collect()
    assert lineage.lose(value) is None
    assert lineage.retries_left == 1


def test_what_was_freed_is_made_again_first_and_freed_again():
    first = call(retries=2, values=2)
    ends_on(first, "a", 2)
    second = call([first.promises[1]], 1)
    second.lineage.is_sent(first.promises[1:])
    value = ends_on(second, "a", 1)
    (kept,), lineage = second.promises, second.lineage
    del first, second
    gc.collect()
    again = lineage.lose(value)
    (needed,), (more,) = lineage.needed()
    assert needed is more.promises[1]
    assert [promise.position for promise in more.promises] == [0, 1]
    assert lineage.needed() == ([needed], []), "it is made once"
    more.end(HERE)
    lineage.is_sent([needed])
    again.end(HERE)
    assert kept.outcome == HERE


def test_what_was_freed_and_may_not_run_again_fails_what_needs_it():
    first = call(retries=1)
    ends_on(first, "a", 1)
    second = call(first.promises, 1)
    second.lineage.is_sent(first.promises)
    value = ends_on(second, "a", 1)
    first.lineage.retries_left = 0
    lineage, (kept,) = second.lineage, second.promises
    del first, second
    gc.collect()
    lineage.lose(value)
    (needed,), more = lineage.needed()
    assert (needed.outcome, more, kept.outcome) == (GONE, [], None)


def test_a_value_that_is_lost_before_it_was_told_of_is_made_again():
    task = call()
    value = Value(task.lineage, "a")
    task.lineage.stays(value, 1)
    assert task.lineage.lose(value) is None
    again = task.lineage.make_again(task.promises)
    assert (task.promises[0].call, task.promises[0].outcome) == (again, None)
    assert task.lineage.retries_left == 0


def test_a_long_chain_is_forgotten_without_recursion():
    task = call()
    for _ in range(20_000):
        ends_on(task, "a", 1)
        following = call(task.promises)
        following.lineage.is_sent(task.promises)
        task = following
    del task, following
    gc.collect()


def test_what_several_calls_need_counts_once():
    remembered = Remembered(10)
    assert remembered.keep("f", 3, [("x", 2)])
    assert remembered.keep("g", 3, [("x", 2)])
    assert remembered.keep("g", 3, [("x", 2)]), "once is enough"
    assert remembered.bytes == 8
    assert not remembered.keep("h", 3, [])
    remembered.drop("f")
    remembered.drop("f")
    assert remembered.bytes == 5
    remembered.drop("g")
    assert remembered.bytes == 0


@pytest.mark.parametrize("limit", [0, 2])
def test_what_does_not_fit_is_not_kept(limit):
    remembered = Remembered(limit)
    assert not remembered.keep("f", 1, [("x", 2)])
    assert remembered.bytes == 0


class Losses(RuleBasedStateMachine):
    """Tasks whose values lie on two nodes, which are lost and come back."""

    def __init__(self):
        super().__init__()
        self.remembered = Remembered(LIMIT)
        self.refs = []
        self.waiting = []
        self.running = []
        self.values = []

    def hand_in(self, *tasks):
        waiting = list(tasks)
        while waiting:
            task = waiting.pop()
            task.needed, more = task.lineage.needed()
            waiting += more
            task.lineage.runs_left -= 1
            assert task.lineage.runs_left >= 0, "it ran more often than it may"
            self.waiting.append(task)

    @rule(retries=st.integers(0, 2), chosen=st.sets(st.integers(0, 5)))
    def submit(self, retries, chosen):
        needed = [self.refs[at] for at in chosen if at < len(self.refs)]
        task = call(needed, retries, values=1 + len(chosen) % 2)
        self.refs += task.promises
        self.hand_in(task)

    @rule(at=st.integers(0, 8))
    def drop(self, at):
        if at < len(self.refs):
            del self.refs[at]

    @precondition(lambda self: self.waiting)
    @rule(at=st.integers(0, 8))
    def send(self, at):
        self._send(self.waiting[at % len(self.waiting)])

    def _send(self, task):
        dependencies = Dependencies(task.needed)
        if not dependencies.watch(self):
            for promise in task.needed:
                promise.unwatch(self)
            return
        self.waiting.remove(task)
        if dependencies.failed is not None:
            task.end(dependencies.failed.outcome)
        else:
            task.lineage.is_sent(task.needed)
            self.running.append(task)

    @precondition(lambda self: self.running)
    @rule(at=st.integers(0, 8), node=st.sampled_from("ab"))
    def finish(self, at, node):
        self._finish(self.running[at % len(self.running)], node)

    def _finish(self, task, node):
        if any(promise.outcome is None for promise in task.needed):
            return  # its worker waits: what it needs was lost after it was sent
        for promise in task.needed:
            kind, value = promise.outcome
            assert kind != STORED or not value.is_lost, "it opens a value of a lost node"
        self.running.remove(task)
        lineage = task.lineage
        if any(promise.has_failed() for promise in task.needed):
            task.end(GONE)
        elif lineage.retries_left and self.remembered.keep(id(lineage), SIZE, [SHARED]):
            lineage.forget = self.remembered.drop
            self.values.append(ref(ends_on(task, node, lineage.retries_left)))
        else:
            task.end(HERE)

    @rule(node=st.sampled_from("ab"))
    def lose(self, node):
        values = [value for held in self.values if (value := held()) is not None and not value.is_lost]
        lost = [value for value in values if value.node == node]
        self.hand_in(*[task for value in lost if (task := value.lineage.lose(value)) is not None])

    @invariant()
    def the_calls_that_are_remembered_are_within_the_limit(self):
        assert 0 <= self.remembered.bytes <= LIMIT

    @invariant()
    def what_is_pending_is_being_made(self):
        made = {id(promise) for task in (*self.waiting, *self.running) for promise in task.promises}
        assert all(promise.outcome is not None or id(promise) in made for promise in self.refs)

    def teardown(self):
        """All end in the end."""
        for _ in range(4 * len(self.waiting) + 4 * len(self.running) + 4):
            for task in list(self.waiting):
                self._send(task)
            for task in list(self.running):
                self._finish(task, "a")
        assert not self.waiting
        assert not self.running
        assert all(promise.outcome is not None for promise in self.refs)


TestLosses = Losses.TestCase
TestLosses.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
