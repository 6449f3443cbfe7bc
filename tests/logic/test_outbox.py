"""What a role wants done, in the order in which it wants it."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from distpool.ids import HEAD, FunctionId, LeaseId
from distpool.logic.calls import Bundle, Span
from distpool.logic.outbox import Outbox
from distpool.protocol.messages import CallMode, ExitWorker, OutcomeKind
from tests.logic.machines import tries


def bundle(calls, first):
    return Bundle(FunctionId(0), CallMode.ITEM, [b""] * calls, None, first)


class EverythingInOrder(RuleBasedStateMachine):
    """The model: two lists, of messages and of single calls that ended."""

    def __init__(self):
        super().__init__()
        self.outbox = Outbox()
        self.messages, self.ended = [], []

    @rule(to=st.sampled_from([HEAD, LeaseId(1), LeaseId(2)]))
    def put(self, to):
        message = ExitWorker()
        self.outbox.put(to, message)
        self.messages.append((to, message))

    @rule(first=st.integers(0, 9), calls=st.integers(1, 4))
    def complete(self, first, calls):
        each = bundle(calls, first)
        outcomes = [(OutcomeKind.VALUE, bytes([number])) for number in range(calls)]
        self.outbox.complete([(each, first, outcomes)])
        self.ended += [(each, first + at, *outcome) for at, outcome in enumerate(outcomes)]

    @rule(
        spans=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), max_size=3),
        kind=st.sampled_from([OutcomeKind.LOST, OutcomeKind.CANCELLED]),
    )
    def end_all(self, spans, kind):
        each = bundle(9, 20)
        self.outbox.end_all([Span(each, start, start + size) for start, size in spans], kind, "wörds")
        for start, size in spans:
            self.ended += [(each, 20 + at, kind, "wörds".encode()) for at in range(start, start + size)]

    @invariant()
    def nothing_is_lost_or_reordered(self):
        assert list(self.outbox.messages) == self.messages
        flat = [
            (each, first + at, *outcome)
            for each, first, outcomes in self.outbox.completions
            for at, outcome in enumerate(outcomes)
        ]
        assert flat == self.ended


TestEverythingInOrder = EverythingInOrder.TestCase
TestEverythingInOrder.settings = tries(30, steps=20)
