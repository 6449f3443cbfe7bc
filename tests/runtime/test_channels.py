"""What is heard by the sockets for transfers, and by whom they can be told to ask."""

from types import SimpleNamespace

import pytest

from distpool.ids import ObjectId, StoreId
from distpool.protocol.codec import encode
from distpool.protocol.transfers import AskObject, Hello, PieceTold, Place
from distpool.runtime.channels import Channels
from distpool.transport.sockets import Incoming
from tests.runtime.test_links import FakeListener

ASKED = AskObject(1, StoreId(7), ObjectId(3), [])
ROUTE = b"\x01"


@pytest.fixture
def listener():
    return FakeListener()


@pytest.fixture
def channels(listener):
    return Channels(None, b"me", listener)


def arrives(listener, message, *more, key="node key", connection=5):
    frames = [*(encode(message) if not isinstance(message, bytes) else [message]), *more]
    listener.incoming.append(Incoming(ROUTE, key, [memoryview(frame) for frame in frames], connection))


def test_a_message_comes_with_what_follows_it(channels, listener):
    arrives(listener, ASKED)
    arrives(listener, PieceTold(1, 0), b"bytes")
    first, second = channels.receive()
    assert (first.channel, first.message, bytes(first.payload)) == (ROUTE, ASKED, b"")
    assert (second.message, bytes(second.payload)) == (PieceTold(1, 0), b"bytes")
    assert channels.is_known(ROUTE)
    assert channels.place_of(ROUTE) is None


def test_one_who_listens_says_where_and_is_there_with_its_own_key(channels, listener):
    arrives(listener, Hello("tcp://10.0.0.2:4000"))
    list(channels.receive())
    assert channels.place_of(ROUTE) == Place("tcp://10.0.0.2:4000", "node key")
    arrives(listener, Hello(""))
    list(channels.receive())
    assert channels.place_of(ROUTE) is None


def test_a_key_that_is_revoked_is_not_heard_by_the_connection_that_is_there(channels, listener):
    arrives(listener, ASKED)
    assert len(list(channels.receive())) == 1
    del listener.members["node key"]
    arrives(listener, ASKED)
    assert list(channels.receive()) == []
    assert channels.dropped == {"a frame with a key that is not let in any more": 1}


def test_nobody_is_heard_on_the_route_of_another(channels, listener):
    arrives(listener, Hello("tcp://10.0.0.2:4000"))
    arrives(listener, Hello("tcp://10.0.0.3:4000"), key="driver key", connection=6)
    arrives(listener, ASKED, key="driver key", connection=6)
    assert len(list(channels.receive())) == 1
    assert channels.place_of(ROUTE) == Place("tcp://10.0.0.2:4000", "node key")
    assert channels.dropped == {"a frame on the route of another": 2}


def test_a_route_is_forgotten_with_its_connection(channels, listener):
    arrives(listener, ASKED, connection=5)
    list(channels.receive())
    listener.ended = [4]
    list(channels.receive())
    assert channels.is_known(ROUTE)
    arrives(listener, ASKED, connection=6)
    list(channels.receive())
    listener.ended = [5]
    list(channels.receive())
    assert channels.is_known(ROUTE), "it has made another connection"
    listener.ended = [6]
    list(channels.receive())
    assert not channels.is_known(ROUTE)


@pytest.mark.parametrize("frames", [(b"",), (b"\xff" * 30,), (b"\x00", b"more"), (encode(ASKED)[0], b"one", b"two")])
def test_garbage_is_dropped_and_counted_and_does_no_harm(channels, listener, frames):
    arrives(listener, *frames)
    arrives(listener, ASKED)
    assert [said.message for said in channels.receive()] == [ASKED]
    assert channels.dropped == {"a frame that is no message of a transfer": 1}


@pytest.mark.parametrize(
    ("was_connected", "is_connected", "is_refused", "for_nodes", "for_programs"),
    [
        (True, False, True, True, True),
        (False, False, True, True, False),
        (True, True, True, False, False),
        (True, False, False, False, False),
    ],
)
def test_where_nobody_listens_any_more(was_connected, is_connected, is_refused, for_nodes, for_programs):
    for listener, has_ended in ((FakeListener(), for_nodes), (None, for_programs)):
        channels = Channels(None, b"me", listener)
        place = Place("tcp://10.0.0.2:4000", "node key")
        connection = SimpleNamespace(
            is_connected=is_connected,
            is_broken=lambda: was_connected and not is_connected,
            is_refused=lambda: is_refused,
        )
        channels._connections[place] = connection
        assert channels.ended() == ([place] if has_ended else [])
