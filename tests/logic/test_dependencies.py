"""Calls that wait for the values of others, in a world that starts, ends, cancels and forgets them in any order."""

import weakref
from collections import deque

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from distpool.logic.dependencies import Dependencies
from distpool.logic.promises import Promise, Promises
from distpool.protocol.messages import OutcomeKind
from tests.logic.machines import tries

VALUE = (int(OutcomeKind.VALUE), b"")
CANCELLED = (int(OutcomeKind.CANCELLED), b"")
ERROR = int(OutcomeKind.ERROR)


class Call:
    """A call, until it has ended."""

    def __init__(self, world, promise, needed):
        self.world = world
        self.promise = promise
        self.dependencies = Dependencies(needed)
        self.is_decided = False

    def ended(self, promise):
        if self.dependencies.ended(promise, self):
            self.world.decided.append(self)


class AnyCalls(RuleBasedStateMachine):
    """What each call needs, by numbers, and what became of it, beside the real promises."""

    def __init__(self):
        super().__init__()
        self.table = Promises()
        self.refs = {}
        self.weak = {}
        self.needs = {}
        self.ended = {}
        self.calls = {}
        self.ready = []
        self.decided = deque()
        self.kept = set()

    # What happens -----------------------------------------------------------------------------------------------------

    @rule(data=st.data(), count=st.integers(0, 3))
    def start(self, data, count):
        needed = [data.draw(st.sampled_from(sorted(self.refs))) for _ in range(count if self.refs else 0)]
        number = len(self.needs)
        promise = Promise(number, f"call {number}")
        self.table.publish(promise)
        self.refs[number], self.weak[number], self.needs[number] = promise, weakref.ref(promise), needed
        call = self.calls[number] = Call(self, promise, [self.refs[other] for other in needed])
        promise.call = call
        if call.dependencies.watch(call):
            self.decided.append(call)
        self.obey()

    @rule(data=st.data(), fails=st.booleans())
    def finish(self, data, fails):
        if self.ready:
            number = data.draw(st.sampled_from(self.ready))
            self.ready.remove(number)
            self.end(number, (ERROR, str(number).encode()) if fails else VALUE)
            self.calls.pop(number)

    @rule(data=st.data())
    def cancel(self, data):
        pending = sorted(self.calls.keys() - self.ended.keys())
        if pending:
            self.end(data.draw(st.sampled_from(pending)), CANCELLED)

    @rule(data=st.data())
    def drop_a_ref(self, data):
        if self.refs:
            del self.refs[data.draw(st.sampled_from(sorted(self.refs)))]

    @rule(data=st.data(), holder=st.sampled_from(["worker", "value"]), twice=st.booleans())
    def keep(self, data, holder, twice):
        if self.refs:
            number = data.draw(st.sampled_from(sorted(self.refs)))
            for _ in range(1 + twice):
                assert self.table.keep(number, holder)
            self.kept.add((number, holder))

    @rule(data=st.data())
    def release(self, data):
        if self.kept:
            pair = data.draw(st.sampled_from(sorted(self.kept)))
            self.table.release(*pair)
            self.kept.remove(pair)

    @rule(holder=st.sampled_from(["worker", "value"]))
    def holder_ends(self, holder):
        self.table.drop(holder)
        self.kept = {pair for pair in self.kept if pair[1] != holder}

    # What follows -----------------------------------------------------------------------------------------------------

    def end(self, number, outcome, cause=""):
        promise = self.calls[number].promise
        watchers = promise.end(outcome, cause)
        if number in self.ended:
            assert watchers is None, "it ends once"
            return
        self.ended[number] = outcome
        for watcher in watchers:
            watcher.ended(promise)
        self.obey()

    def obey(self):
        """What was decided happens: a call becomes ready, or fails."""
        while self.decided:
            call = self.decided.popleft()
            number = call.promise.number
            assert not call.is_decided, "it is decided once"
            call.is_decided = True
            failed = call.dependencies.failed
            if failed is None:
                assert all(self.ended[other] == VALUE for other in self.needs[number]), "it runs after what it needs"
                self.ready.append(number)
            else:
                assert failed.number in self.needs[number]
                self.end(number, failed.outcome, failed.name)
                self.calls.pop(number)

    @invariant()
    def what_can_be_decided_is(self):
        for number, call in self.calls.items():
            outcomes = [self.ended.get(other) for other in self.needs[number]]
            is_due = all(outcomes) or any(outcome not in (None, VALUE) for outcome in outcomes)
            assert call.is_decided == is_due

    @invariant()
    def a_failure_is_that_of_a_call_that_was_needed(self):
        for number, outcome in self.ended.items():
            if outcome[0] == ERROR and outcome[1] != str(number).encode():
                assert outcome in [self.ended.get(other) for other in self.needs[number]]

    @invariant()
    def a_promise_lives_for_as_long_as_somebody_holds_it(self):
        held = {*self.refs, *self.calls, *(number for number, _ in self.kept)}
        held.update(other for number in self.calls for other in self.needs[number])
        for number, weak in self.weak.items():
            assert (weak() is not None) == (number in held)
            assert (self.table.find(number) is not None) == (number in held)


TestAnyCalls = AnyCalls.TestCase
TestAnyCalls.settings = tries(150)
