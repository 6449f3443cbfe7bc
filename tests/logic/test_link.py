"""Links: everything arrives once and in order, over a network that loses, repeats and cuts."""

import random
from collections import deque

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from distpool.ids import Epoch
from distpool.logic.link import Link, LinkLimits
from distpool.protocol.cluster import LinkHeader
from tests.logic.machines import tries

LIMITS = LinkLimits(window_bytes=40, acknowledge_after=4)
A_TICK_S = 0.01


class End:
    """A process at one end: what it has sent, and what has come to it."""

    def __init__(self, epoch, limits=LIMITS):
        self.link = Link(Epoch(epoch), limits, 0.0)
        self.sent = []
        self.came = []
        self.wake_at = None

    def send(self, size=4):
        message = len(self.sent).to_bytes(size, "big")
        self.sent.append(message)
        self.link.send([message])


class Network:
    """Two ends and the frames between them, on connections that can be cut."""

    def __init__(self, limits=LIMITS):
        self.now = 0.0
        self.ends = [End(1, limits), End(2, limits)]
        self.wires = [deque(), deque()]
        """To each end."""
        self.frames = 0

    def decide(self, to=(0, 1)):
        for number in to:
            end = self.ends[number]
            frames, end.wake_at = end.link.decide(self.now)
            self.frames += len(frames)
            self.wires[1 - number].extend(frames)

    def arrive(self, number, *, again=False):
        """The next frame arrives."""
        wire = self.wires[number]
        header, payload = wire[0] if again else wire.popleft()
        end = self.ends[number]
        message = end.link.receive(header, payload, self.now)
        if message is not None:
            end.came.append(b"".join(message))

    def cut(self):
        """All that is on its way is lost, and a new connection is made."""
        for wire in self.wires:
            wire.clear()
        for end in self.ends:
            end.link.reconnected(self.now)

    def run_until_quiet(self, limit_s):
        """Without faults, until no end has anything to do."""
        ends_at = self.now + limit_s
        while True:
            self.decide()
            while any(self.wires):
                for number in (0, 1):
                    while self.wires[number]:
                        self.arrive(number)
                self.decide()
            due = [end.wake_at for end in self.ends if end.wake_at is not None]
            if not due:
                return
            assert min(due) < ends_at, "it does not come to rest"
            self.now = max(self.now, min(due))

    def check(self):
        for end, other in ((self.ends[0], self.ends[1]), (self.ends[1], self.ends[0])):
            assert end.came == other.sent[: len(end.came)]

    def check_complete(self):
        for end, other in ((self.ends[0], self.ends[1]), (self.ends[1], self.ends[0])):
            assert end.came == other.sent
            assert end.link.is_settled()


class AnyNetwork(RuleBasedStateMachine):
    @initialize()
    def connect(self):
        self.network = Network()

    @rule(number=st.integers(0, 1), count=st.integers(1, 5), size=st.sampled_from([4, 30, 50]))
    def send(self, number, count, size):
        for _ in range(count):
            self.network.ends[number].send(size)

    @rule(number=st.integers(0, 1))
    def decide(self, number):
        self.network.decide([number])

    @rule(number=st.integers(0, 1), count=st.integers(1, 8))
    def frames_arrive(self, number, count):
        for _ in range(min(count, len(self.network.wires[number]))):
            self.network.arrive(number)

    @rule(number=st.integers(0, 1))
    def a_frame_comes_twice(self, number):
        if self.network.wires[number]:
            self.network.arrive(number, again=True)

    @rule(number=st.integers(0, 1), count=st.integers(1, 5))
    def frames_are_lost(self, number, count):
        for _ in range(min(count, len(self.network.wires[number]))):
            self.network.wires[number].popleft()

    @rule()
    def the_connection_is_cut(self):
        self.network.cut()

    @rule(seconds=st.sampled_from([0.001, 0.02, 0.3, 5.0]))
    def time_passes(self, seconds):
        self.network.now += seconds

    @invariant()
    def what_came_is_what_was_sent_in_order(self):
        self.network.check()

    def teardown(self):
        # All arrives within seconds once nothing is lost any more, and then nobody has anything to do.
        self.network.run_until_quiet(10.0)
        self.network.check_complete()


TestAnyNetwork = AnyNetwork.TestCase
TestAnyNetwork.settings = tries(300, steps=50)


def test_a_message_and_its_answer_need_no_frame_beside_them():
    network = Network(LinkLimits())
    one, other = network.ends
    one.send()
    network.decide()
    network.arrive(1)
    other.send()
    network.decide()
    network.arrive(0)
    assert network.frames == 2
    assert one.link.is_settled()


def test_an_acknowledgement_without_an_answer_comes_soon_and_alone():
    network = Network(LinkLimits())
    one, other = network.ends
    one.send()
    network.decide()
    network.arrive(1)
    network.decide()
    assert not network.wires[0]
    assert other.wake_at == pytest.approx(0.02)
    network.now = other.wake_at
    network.decide()
    header, payload = network.wires[0][0]
    assert (header.number, header.acknowledged, payload) == (0, 1, ())


def test_a_new_connection_sends_at_once_what_was_not_acknowledged():
    network = Network(LinkLimits())
    one, other = network.ends
    one.send()
    network.run_until_quiet(1.0)
    for _ in range(3):
        one.send()
    network.decide()
    network.cut()
    network.decide()
    for _ in range(3):
        network.arrive(1)
    assert other.came == one.sent


def test_a_gap_is_told_of_at_once_and_once():
    network = Network(LinkLimits())
    one, other = network.ends
    one.send()
    network.run_until_quiet(1.0)
    for _ in range(10):
        one.send()
    network.decide()
    network.wires[1].popleft()
    for _ in range(9):
        network.arrive(1)
        network.decide([1])
    assert [header.missing for header, _ in network.wires[0]] == [True]
    network.arrive(0)
    network.decide([0])
    assert len(network.wires[1]) == 10
    network.run_until_quiet(0.1)
    assert other.came == one.sent


def test_no_more_is_on_its_way_than_the_window_but_one_message():
    network = Network(LinkLimits(window_bytes=100))
    one, _ = network.ends
    one.send()
    network.run_until_quiet(1.0)
    for _ in range(50):
        one.send(30)
    one.send(1000)
    network.decide()
    assert len(network.wires[1]) == 3
    network.run_until_quiet(5.0)
    network.check_complete()


def test_silence_is_met_with_ever_longer_waits():
    link = Link(Epoch(1), LinkLimits(resend_after_s=0.25, resend_at_most_s=1.0), 0.0)
    link.send([b"hello"])
    sent_at, wake_at = [], 0.0
    for _ in range(5):
        now = wake_at
        frames, wake_at = link.decide(now)
        assert len(frames) == 1
        sent_at.append(now)
    assert sent_at == [0.0, 0.25, 0.75, 1.75, 2.75]


def test_only_the_greeting_is_sent_to_a_peer_that_was_not_heard_of():
    link = Link(Epoch(1), LinkLimits(), 0.0)
    link.send([b"hello"])
    link.send([b"run this"])
    (first,), _ = link.decide(0.0)
    assert first == (LinkHeader(Epoch(1), Epoch(0), 1, 0), [b"hello"])
    link.receive(LinkHeader(Epoch(9), Epoch(1), 0, 1), (), 0.0)
    (second,), _ = link.decide(0.0)
    assert second == (LinkHeader(Epoch(1), Epoch(9), 2, 0), [b"run this"])


def test_what_was_meant_for_an_earlier_life_is_not_heard():
    link = Link(Epoch(2), LinkLimits(), 0.0)
    assert link.receive(LinkHeader(Epoch(7), Epoch(1), 1, 5), [b"old"], 0.0) is None
    assert link.peer == 0
    assert link.receive(LinkHeader(Epoch(7), Epoch(0), 1, 0), [b"new"], 0.0) == [b"new"]


def test_an_acknowledgement_of_what_was_never_sent_changes_nothing():
    link = Link(Epoch(1), LinkLimits(), 0.0)
    link.send([b"hello"])
    link.decide(0.0)
    link.receive(LinkHeader(Epoch(7), Epoch(1), 0, 99), (), 0.0)
    assert not link.is_settled()


def test_an_idle_link_is_silent_unless_it_is_to_beat():
    silent, beating = Link(Epoch(1), LinkLimits(), 0.0), Link(Epoch(2), LinkLimits(beat_every_s=0.5), 0.0)
    assert silent.decide(5.0) == ([], None)
    for now in (0.0, 0.5, 1.0):
        (frame,), wake_at = beating.decide(now)
        assert frame[0].number == 0
        assert wake_at == now + 0.5
    assert beating.decide(1.2) == ([], 1.5)
    beating.send([b"hello"])
    (_,), wake_at = beating.decide(1.3)
    assert wake_at == 1.55, "then it is sent again"
    assert beating.decide(1.5) == ([], 1.55)


def test_a_beat_is_heard():
    link = Link(Epoch(1), LinkLimits(), 0.0)
    link.receive(LinkHeader(Epoch(2), Epoch(0), 0, 0), (), 3.0)
    assert link.heard_at == 3.0
    link.receive(LinkHeader(Epoch(9), Epoch(1), 0, 0), (), 4.0)
    assert link.heard_at == 3.0, "that was an earlier life of the peer"


def test_a_link_that_the_peer_does_not_know_is_told_so():
    link = Link(Epoch(1), LinkLimits(), 0.0)
    link.send([b"hello"])
    link.receive(LinkHeader(Epoch(2), Epoch(1), 0, 1), (), 1.0)
    link.receive(LinkHeader(Epoch(3), Epoch(7), 0, 0, unknown=True), (), 1.0)
    assert not link.is_unknown, "that was said to another"
    link.receive(LinkHeader(Epoch(3), Epoch(1), 0, 0, unknown=True), (), 1.0)
    assert link.is_unknown


@pytest.mark.parametrize("seed", range(20))
def test_five_thousand_messages_over_a_bad_network(seed):
    chance = random.Random(seed)
    network = Network(LinkLimits(window_bytes=400))
    for number in range(5000):
        network.ends[number % 2].send()
        if chance.random() < 0.3:
            network.decide()
        for end in (0, 1):
            while network.wires[end] and chance.random() < 0.9:
                fate = chance.random()
                if fate < 0.1:
                    network.wires[end].popleft()
                else:
                    network.arrive(end, again=fate < 0.2)
        if chance.random() < 0.01:
            network.cut()
        network.now += A_TICK_S * chance.random()
    network.run_until_quiet(600.0)
    network.check_complete()
    # Repeats cost something, but do not multiply.
    assert network.frames < 60_000
