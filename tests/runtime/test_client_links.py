"""The end of a link that connects: what it does with what it cannot hear, and with an end that cannot hear it."""

import math

import pytest

from distpool.ids import Epoch
from distpool.logic.link import LinkLimits
from distpool.protocol.cluster import Greeting, LinkHeader, NodeGone, Refused, Welcome
from distpool.protocol.codec import encode, encode_header
from distpool.protocol.rights import CALLER_MAY_HEAR
from distpool.runtime.links import ClientLink

SERVER = Epoch(100)
LIMITS = LinkLimits(beat_every_s=0.5)


class FakeConnection:
    """Frames in lists instead of a socket."""

    endpoint = "tcp://there:1"
    try_again_at = math.inf

    def __init__(self):
        self.is_connected = True
        self.is_doubted = False
        self.is_new = True
        self.incoming = []
        self.sent = []
        self.send = self.sent.append

    def has_reconnected(self):
        is_new, self.is_new = self.is_new, False
        return is_new

    def receive(self):
        incoming, self.incoming = self.incoming, []
        return incoming


@pytest.fixture
def connection():
    return FakeConnection()


@pytest.fixture
def link(connection):
    return ClientLink(connection, LIMITS, 0.0, CALLER_MAY_HEAR)


def come(connection, link, number, *frames, unknown=False):
    header = encode_header(LinkHeader(SERVER, link.link.epoch, number, 0, unknown=unknown))
    connection.incoming.append([memoryview(frame) for frame in (header, *frames)])


@pytest.mark.parametrize(
    ("frames", "why"),
    [([b"\xc1"], "a frame that is no message"), (encode(NodeGone("x")), "NodeGone from one who may not say that")],
)
def test_with_a_message_that_cannot_be_heard_the_link_ends_and_nothing_more_is_said(
    connection, link, caplog, frames, why
):
    come(connection, link, 1, *encode(Welcome(7)))
    come(connection, link, 2, *frames)
    come(connection, link, 3, *encode(Welcome(8)))
    assert link.receive(0.1) == [Welcome(7)]
    assert link.refusal == f"it has said what cannot be heard here: {why}"
    assert f"dropped a frame from tcp://there:1: {why} (1 so far)" in caplog.text
    link.send(Greeting("me", 1, 1, "3.11", "0"))
    link.flush(0.1)
    assert connection.sent == []
    link.begin_anew(0.2)
    assert not link.refusal
    link.send(Greeting("me", 1, 1, "3.11", "0"))
    link.flush(0.2)
    assert len(connection.sent) == 1


def test_the_reason_of_an_end_that_cannot_hear_this_one_is_shown_without_what_could_harm(connection, link):
    come(connection, link, 0, *encode(Refused("no\x1b[2J")), unknown=True)
    assert link.receive(0.1) == []
    assert link.refusal == "it cannot hear what was said to it: no\\x1b[2J"
    assert link.link.is_unknown


def test_an_end_that_does_not_know_this_one_gives_no_reason(connection, link):
    come(connection, link, 0, unknown=True)
    link.receive(0.1)
    assert link.link.is_unknown
    assert not link.refusal


def test_a_frame_that_is_none_is_dropped_and_the_link_goes_on(connection, link):
    connection.incoming.append([memoryview(b"\xff")])
    come(connection, link, 1, *encode(Welcome(7)))
    assert link.receive(0.1) == [Welcome(7)]
    assert not link.refusal


def test_a_connection_by_which_two_beats_are_missing_is_doubted_until_something_comes(connection, link):
    come(connection, link, 0)
    link.receive(0.1)
    assert not connection.is_doubted
    link.send(Welcome(7))  # an own message that is not answered changes nothing
    assert link.flush(0.1) <= 1.1
    link.receive(1.05)
    assert not connection.is_doubted
    link.receive(1.1)
    assert connection.is_doubted
    come(connection, link, 0)
    link.receive(1.2)
    assert not connection.is_doubted
    connection.is_connected = False
    link.receive(5.0)
    assert not connection.is_doubted, "there is none"
