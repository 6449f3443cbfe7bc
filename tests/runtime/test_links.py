"""What a server hears: each message once, from whom it comes, and nothing from those who may not say it."""

from types import SimpleNamespace

import pytest

from distpool.config import SETTINGS
from distpool.ids import Epoch
from distpool.logic.link import LinkLimits
from distpool.protocol.cluster import AskStatus, Greeting, LinkHeader, PeerLost, Refused, Welcome
from distpool.protocol.codec import decode_header, decode_link, encode, encode_header
from distpool.protocol.messages import RegisterNode
from distpool.protocol.rights import DRIVER_MAY_SAY, NODE_MAY_SAY
from distpool.runtime import links as module
from distpool.runtime.links import ServerLinks
from distpool.transport.keys import Allowed, Part
from distpool.transport.sockets import Incoming

SERVER = Epoch(100)
GREETING = Greeting("gpu-1", 7, 1, "3.11", "0.1.0")
MAY_SAY = {Part.NODE: NODE_MAY_SAY, Part.DRIVER: DRIVER_MAY_SAY}
SILENCE_S = SETTINGS.silence_limit_s
RECONNECT_S = SETTINGS.reconnect_limit_s


class FakeListener:
    """Frames in lists instead of sockets."""

    def __init__(self):
        self.members = {"node key": Allowed("node key", Part.NODE, "n"), "driver key": Allowed("k", Part.DRIVER, "d")}
        self.doorman = SimpleNamespace(find=self.members.get)
        self.incoming = []
        self.ended = []
        self.sent = []
        self.cuts = []
        self.cut = self.cuts.append

    def broken(self):
        ended, self.ended = self.ended, []
        return ended

    def receive(self):
        incoming, self.incoming = self.incoming, []
        return incoming

    def send(self, route, frames):
        self.sent.append((route, decode_header(frames[0]), frames[1:]))
        return True


class Client:
    """One that has connected, and numbers what it says."""

    def __init__(self, listener, route=b"\x01", key="node key", epoch=5):
        self.listener = listener
        self.route = route
        self.key = key
        self.epoch = Epoch(epoch)
        self.connection = epoch
        self.number = 0

    def say(self, *messages, receiver=None):
        for message in messages:
            self.number += 1
            known = receiver if receiver is not None else (0 if self.number == 1 else SERVER)
            header = LinkHeader(self.epoch, Epoch(known), self.number, 0)
            self.raw(encode_header(header), *encode(message))

    def raw(self, *frames):
        self.listener.incoming.append(
            Incoming(self.route, self.key, [memoryview(frame) for frame in frames], self.connection)
        )


@pytest.fixture
def listener():
    return FakeListener()


@pytest.fixture
def links(listener):
    limits = LinkLimits(beat_every_s=0.5)
    return ServerLinks(
        listener, SERVER, limits, SETTINGS, lambda allowed, message: isinstance(message, MAY_SAY[allowed.part])
    )


def test_messages_come_once_in_order_and_are_answered(links, listener):
    client = Client(listener)
    client.say(GREETING, RegisterNode("gpu-1", 4))
    listener.incoming += listener.incoming  # all of it twice
    assert links.receive(0.0) == [("01", GREETING), ("01", RegisterNode("gpu-1", 4))]
    links.send("01", Welcome(3))
    links.flush(0.0)
    ((route, header, payload),) = listener.sent
    assert (route, header) == (b"\x01", LinkHeader(SERVER, Epoch(5), 1, 2))
    assert decode_link(b"".join(payload)) == Welcome(3)


def test_whoever_is_not_known_and_does_not_greet_is_told_so(links, listener):
    client = Client(listener)
    client.number = 7
    client.say(RegisterNode("gpu-1", 4))
    assert links.receive(0.0) == []
    ((_, header, _),) = listener.sent
    assert header == LinkHeader(SERVER, Epoch(5), 0, 0, unknown=True)


def test_two_that_do_not_know_each_other_do_not_answer_each_other_for_ever(links, listener):
    Client(listener).raw(encode_header(LinkHeader(Epoch(5), Epoch(9), 0, 0, unknown=True)))
    assert links.receive(0.0) == []
    assert listener.sent == []


def test_one_who_is_silent_for_too_long_is_lost_once_and_unknown_after_that(links, listener):
    client = Client(listener)
    client.say(GREETING)
    links.receive(0.0)
    assert links.flush(0.0) <= SILENCE_S
    assert links.receive(SILENCE_S - 0.1) == []
    assert links.receive(SILENCE_S + 0.1) == [("01", PeerLost())]
    assert links.receive(SILENCE_S + 0.2) == []
    client.say(RegisterNode("gpu-1", 4))
    assert links.receive(SILENCE_S + 0.3) == []
    assert listener.sent[-1][1].unknown


def test_a_program_may_be_silent_for_as_long_as_its_connection_lives(links, listener):
    driver = Client(listener, key="driver key")
    driver.say(GREETING)
    links.receive(0.0)
    assert links.receive(1000.0) == []
    listener.ended.append(77)  # another's
    assert links.receive(1001.0) == []
    driver.say(AskStatus())
    assert links.receive(1002.0) == [("01", AskStatus())]


def test_a_program_whose_connection_has_ended_is_lost_unless_it_makes_another_one_soon(links, listener):
    driver = Client(listener, key="driver key")
    driver.say(GREETING)
    links.receive(0.0)
    listener.ended.append(driver.connection)
    assert links.receive(10.0) == []
    assert links.flush(10.0) <= 10.0 + RECONNECT_S
    driver.connection = 78
    driver.say(AskStatus())
    assert links.receive(10.0 + RECONNECT_S / 2) == [("01", AskStatus())]
    assert links.receive(500.0) == []
    listener.ended.append(78)
    assert links.receive(600.0) == []
    assert links.receive(600.0 + RECONNECT_S) == [("01", PeerLost())]


def test_nobody_is_lost_with_connections_that_were_ended_here_before_its_time(links, listener):
    driver = Client(listener, key="driver key")
    driver.say(GREETING)
    links.receive(0.0)
    links.wait_for_all(40.0)
    listener.ended.append(driver.connection)
    assert links.receive(10.0) == []
    assert links.receive(39.9) == []
    assert links.receive(40.0) == [("01", PeerLost())]


def test_what_is_read_late_of_a_connection_that_has_ended_is_no_sign_of_life(links, listener):
    driver = Client(listener, key="driver key")
    driver.say(GREETING)
    links.receive(0.0)
    driver.say(AskStatus())
    listener.ended.append(driver.connection)
    assert links.receive(5.0) == [("01", AskStatus())]
    assert links.receive(5.0 + RECONNECT_S) == [("01", PeerLost())]


def test_a_program_whose_connection_has_ended_before_its_greeting_is_read_is_lost_too(links, listener):
    driver = Client(listener, key="driver key")
    driver.say(GREETING)
    listener.ended.append(driver.connection)
    assert links.receive(5.0) == [("01", GREETING)]
    assert links.flush(5.0) <= 5.0 + RECONNECT_S
    assert links.receive(5.0 + RECONNECT_S) == [("01", PeerLost())]


def test_who_begins_a_new_link_by_a_new_connection_has_ended_the_old_one(links, listener):
    driver = Client(listener, key="driver key")
    driver.say(GREETING)
    links.receive(0.0)
    again = Client(listener, key="driver key", epoch=6)
    again.say(GREETING, AskStatus())
    assert links.receive(1.0) == [("01", PeerLost()), ("01", GREETING), ("01", AskStatus())]
    driver.say(AskStatus())
    assert links.receive(2.0) == []


def test_who_begins_a_new_link_by_the_connection_that_it_has_has_ended_the_old_one(links, listener):
    """A beat that came before a greeting, which was dropped, is answered by "unknown", and that may come late."""
    driver = Client(listener, key="driver key")
    driver.raw(encode_header(LinkHeader(driver.epoch, Epoch(0), 0, 0)))
    assert links.receive(0.0) == []
    assert [header.unknown for _, header, _ in listener.sent] == [True]
    driver.say(GREETING)  # sent again, before that was heard
    assert links.receive(0.1) == [("01", GREETING)]
    again = Client(listener, key="driver key", epoch=6)
    again.connection = driver.connection
    again.say(GREETING, AskStatus())
    assert links.receive(0.2) == [("01", PeerLost()), ("01", GREETING), ("01", AskStatus())]


def test_a_key_may_say_only_what_it_is_for(links, listener):
    node, driver = Client(listener), Client(listener, b"\x02", "driver key", 6)
    node.say(GREETING, AskStatus())
    driver.say(GREETING, AskStatus(), RegisterNode("mine", 4))
    assert links.receive(0.0) == [
        ("01", GREETING),
        ("01", PeerLost()),
        ("02", GREETING),
        ("02", AskStatus()),
        ("02", PeerLost()),
    ]
    assert links.dropped == {
        "AskStatus from one who may not say that": 1,
        "RegisterNode from one who may not say that": 1,
    }


def test_with_a_message_that_cannot_be_heard_the_link_ends_and_its_sender_is_told_why(links, listener):
    client = Client(listener)
    client.say(GREETING)
    links.receive(0.0)
    listener.sent.clear()
    client.raw(encode_header(LinkHeader(Epoch(5), SERVER, 2, 0)), b"\xc1")
    client.number = 2
    client.say(RegisterNode("gpu-1", 4))
    assert links.receive(0.0) == [("01", PeerLost())]
    assert links.dropped == {"a frame that is no message": 1}
    headers = [header for _, header, _ in listener.sent]
    assert [(header.receiver, header.unknown) for header in headers] == [(Epoch(5), True)] * 2
    assert [decode_link(b"".join(payload)) for _, _, payload in listener.sent if payload] == [
        Refused("a frame that is no message")
    ]
    again = Client(listener, epoch=6)
    again.connection = client.connection
    again.say(GREETING, RegisterNode("gpu-1", 4))
    assert links.receive(0.0) == [("01", GREETING), ("01", RegisterNode("gpu-1", 4))]


def test_a_frame_on_the_route_of_another_is_not_heard(links, listener):
    node, thief = Client(listener), Client(listener, key="driver key")
    node.say(GREETING)
    links.receive(0.0)
    thief.number = 1
    thief.say(AskStatus())
    node.say(RegisterNode("gpu-1", 4))
    assert links.receive(0.0) == [("01", RegisterNode("gpu-1", 4))]
    assert links.dropped == {"a frame on the route of another": 1}


def test_a_key_that_was_revoked_is_not_heard_by_the_connection_that_it_has(links, listener):
    client = Client(listener)
    client.say(GREETING)
    links.receive(0.0)
    del listener.members["node key"]
    client.say(RegisterNode("gpu-1", 4))
    assert links.receive(0.0) == []
    assert links.dropped == {"a frame with a key that is not let in any more": 1}
    assert listener.cuts == [client.connection]


def test_a_key_has_so_many_links_and_no_more(links, listener, monkeypatch):
    monkeypatch.setattr(module, "_LINKS_OF_A_KEY", 2)
    for number in (1, 2, 3):
        Client(listener, bytes([number]), epoch=number + 4).say(GREETING)
    Client(listener, b"\x09", "driver key", 9).say(GREETING)
    assert links.receive(0.0) == [("01", GREETING), ("02", GREETING), ("09", GREETING)]
    assert links.dropped == {"a link more than a key may have": 1}
    assert listener.cuts == [7]


def test_garbage_is_counted_and_after_three_in_a_row_its_sender_is_lost(links, listener, caplog):
    client, other = Client(listener), Client(listener, b"\x02", epoch=6)
    client.say(GREETING)
    other.say(GREETING)
    links.receive(0.0)
    client.raw(b"\xff\xff")
    client.raw()
    other.say(RegisterNode("gpu-2", 4))
    assert links.receive(0.0) == [("02", RegisterNode("gpu-2", 4))]
    client.raw(b"\xff")
    assert links.receive(0.0) == [("01", PeerLost())]
    assert links.dropped == {"a frame that is no message": 2, "a message without a frame": 1}
    assert caplog.text.count("a frame that is no message (1 so far)") == 1


def test_frames_of_another_version_make_no_new_reasons(links, listener):
    client = Client(listener)
    for number in range(2000):
        client.raw(bytes([0xFF]) * (number + 1))
    assert links.receive(0.0) == []
    assert links.dropped == {"a frame that is no message": 2000}


def test_a_large_message_travels_in_parts_and_comes_whole(links, listener):
    client = Client(listener)
    client.say(GREETING)
    links.receive(0.0)
    node = RegisterNode("x" * 3_500_000, 4)
    link = module.Link(Epoch(5), LinkLimits(window_bytes=2**30), 0.0)
    link.peer = SERVER
    link._last_number = 1
    module.say(link, node)
    frames, _ = link.decide(0.0)
    assert [header.more for header, _ in frames] == [True, True, True, False]
    for header, payload in frames:
        client.raw(encode_header(header), *payload)
    assert links.receive(0.0) == [("01", node)]
