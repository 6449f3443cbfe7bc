"""Questions to nodes that the head passes on: each is answered once, and only by who was asked."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from distpool.ids import NodeId
from distpool.logic import questions
from distpool.logic.outbox import Outbox
from distpool.logic.questions import Questions
from distpool.protocol.cluster import AskLog, AskStacks
from distpool.protocol.inquiries import LogTold, NodeTold, NotTold, StacksTold
from tests.logic.machines import tries

NODES = {NodeId("first"): "a", NodeId("second"): "b"}
ASKERS = ("c", "d")


def test_more_than_a_head_can_keep_in_mind_are_refused(monkeypatch):
    monkeypatch.setattr(questions, "_MOST_OPEN", 2)
    outbox = Outbox()
    asked = Questions(outbox)
    for number in (5, 6, 7):
        asked.ask("c", AskStacks(NodeId("first"), number), NODES)
    *passed_on, (to, refused) = outbox.messages
    assert [to for to, _ in passed_on] == ["a", "a"]
    assert (to, refused) == ("c", NodeTold(7, NotTold("2 questions wait for their answers already: ask again")))


def test_a_place_in_a_log_is_passed_on_as_it_is():
    outbox = Outbox()
    asked = Questions(outbox)
    asked.ask("c", AskLog(NodeId("second"), 3, 44, 55), NODES)
    asked.answer("b", NodeTold(outbox.messages.popleft()[1].number, LogTold("text", 44, 59, "there")))
    assert list(outbox.messages) == [("c", NodeTold(3, LogTold("text", 44, 59, "there")))]


class AskedAndAnswered(RuleBasedStateMachine):
    """Against a list of who has asked whom, and has not heard yet."""

    def __init__(self):
        super().__init__()
        self.outbox = Outbox()
        self.questions = Questions(self.outbox)
        self.numbers = 0
        self.on_their_way = []  # (asker, its number, asked, the head's number)

    def said(self):
        messages = list(self.outbox.messages)
        self.outbox.messages.clear()
        return messages

    @rule(asker=st.sampled_from(ASKERS), node=st.sampled_from([*NODES, NodeId("nobody")]))
    def ask(self, asker, node):
        self.numbers += 1
        self.questions.ask(asker, AskStacks(node, self.numbers), NODES)
        ((to, message),) = self.said()
        if node in NODES:
            assert to == NODES[node]
            self.on_their_way.append((asker, self.numbers, to, message.number))
        else:
            assert (to, message.number) == (asker, self.numbers)

    @rule(sender=st.sampled_from([*NODES.values(), *ASKERS]), pick=st.integers(0, 20), repeat=st.booleans())
    def answer(self, sender, pick, repeat):
        number = self.on_their_way[pick % len(self.on_their_way)][3] if self.on_their_way else pick
        for _ in range(1 + repeat):
            self.questions.answer(sender, NodeTold(number, StacksTold([])))
        right = [asked for asked in self.on_their_way if asked[2:] == (sender, number)]
        assert self.said() == [(asker, NodeTold(own, StacksTold([]))) for asker, own, _, _ in right]
        self.on_their_way = [asked for asked in self.on_their_way if asked not in right]

    @rule(member=st.sampled_from([*NODES.values(), *ASKERS]))
    def forget(self, member):
        self.questions.forget(member)
        lost = [asked for asked in self.on_their_way if asked[2] == member]
        assert [(to, message.number) for to, message in self.said()] == [(asked[0], asked[1]) for asked in lost]
        self.on_their_way = [asked for asked in self.on_their_way if member not in (asked[0], asked[2])]

    @invariant()
    def as_many_are_open(self):
        assert len(self.questions._open) == len(self.on_their_way)


TestAskedAndAnswered = AskedAndAnswered.TestCase
TestAskedAndAnswered.settings = tries(40)
