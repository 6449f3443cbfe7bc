"""Scouts find out within moments that the way to a port is open, or that nobody listens there, and leave nothing."""

import socket
import time
from contextlib import closing

import pytest

from distpool.transport import scouts as module
from distpool.transport import sockets
from distpool.transport.keys import KeyFolder, Part
from distpool.transport.scouts import Finding, Scouts
from distpool.transport.sockets import Connection, Listener
from tests.cluster.proxy import proxy
from tests.runtime.programs import until

LIMIT_S = 5.0


@pytest.fixture
def server():
    with closing(socket.create_server(("127.0.0.1", 0))) as made:
        yield made


def endpoint_of(server, host="127.0.0.1"):
    return f"tcp://{host}:{server.getsockname()[1]}"


def first_finding(scouts, now=0.0):
    """What they find, each time as if the next one was due."""
    give_up_at = time.monotonic() + LIMIT_S
    while (found := scouts.look(now)) is Finding.NOTHING:
        assert time.monotonic() < give_up_at
        now = max(now + 0.01, scouts.next_at)
    return found


def test_a_port_where_somebody_listens_is_open(server):
    with closing(Scouts(endpoint_of(server))) as scouts:
        assert first_finding(scouts) is Finding.OPEN


def test_a_port_where_nobody_listens_refuses_at_once(server):
    endpoint = endpoint_of(server)
    server.close()
    with closing(Scouts(endpoint)) as scouts:
        assert first_finding(scouts) is Finding.REFUSED


def test_a_port_that_does_not_answer_is_found_open_as_soon_as_it_does():
    with closing(socket.socket()) as server, closing(socket.socket()) as other:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        other.connect(server.getsockname())  # the queue is full, so the kernel answers nobody
        with closing(Scouts(endpoint_of(server))) as scouts:
            now = 0.0
            for _ in range(30):
                assert scouts.look(now) is Finding.NOTHING
                now = scouts.next_at
            assert len(scouts._under_way) <= 12, "old ones are called back"
            server.accept()[0].close()
            found_at = time.monotonic()
            assert first_finding(scouts, now) is Finding.OPEN
            assert time.monotonic() - found_at < 0.5, "sooner than the kernel repeats what one of them has sent"


def test_where_a_name_leads_is_learned_from_a_connection(server):
    with closing(Scouts(endpoint_of(server, "localhost"))) as scouts:
        assert scouts.look(0.0) is Finding.NOTHING
        assert scouts.next_at == float("inf")
        with socket.create_connection(server.getsockname()) as made:
            scouts.learn(made.fileno())
        assert first_finding(scouts) is Finding.OPEN


def test_what_is_learned_from_a_descriptor_that_is_closed_or_no_connection_is_nothing(server):
    with closing(Scouts(endpoint_of(server, "localhost"))) as scouts:
        scouts.learn(server.fileno())
        first, second = socket.socketpair()
        scouts.learn(first.fileno())
        descriptor = first.detach()
        socket.close(descriptor)
        second.close()
        scouts.learn(descriptor)
        assert scouts.look(0.0) is Finding.NOTHING
        assert scouts.next_at == float("inf")


def test_a_socket_that_is_connected_with_itself_is_not_open():
    with socket.socket() as alone:
        alone.bind(("127.0.0.1", 0))
        alone.connect(alone.getsockname())
        assert module._meaning(alone, 0) is Finding.REFUSED


def test_how_long_nothing_has_come_is_known_for_parts_of_frames_too(server):
    with socket.create_connection(server.getsockname()) as made, server.accept()[0] as other:
        assert until(lambda: module.quiet_s(made.fileno()) > 0.05)
        other.send(b"x")
        made.recv(1)
        assert module.quiet_s(made.fileno()) < 0.05
    assert module.quiet_s(-1) == float("inf")


def test_a_connection_that_is_doubted_is_replaced_where_the_way_is_open_and_kept_where_it_is_not(tmp_path, monkeypatch):
    folder = KeyFolder(tmp_path / "keys")
    folder.make_missing()
    identity = folder.identity(Part.NODE)
    listener = Listener("tcp://127.0.0.1:0", folder.identity(Part.HEAD), folder.allow_list().find)
    with proxy(listener.endpoint) as network:
        connection = Connection(network.address, b"me", identity, identity.head)
        made = []

        def is_connected():
            listener.receive()  # the doorman answers in it
            made.extend([True] * connection.has_reconnected())
            return connection.is_connected

        assert until(is_connected)
        connection.is_doubted = True
        assert is_connected(), "something has come by it just now"
        assert len(made) == 1
        monkeypatch.setattr(sockets, "quiet_s", lambda descriptor: 1.0)
        assert until(lambda: is_connected() and len(made) == 2)
        assert not connection.is_doubted
        assert not connection.is_refused()
        network.refuse_more()
        connection.is_doubted = True
        assert until(lambda: is_connected() and connection.is_refused())
        assert len(made) == 2
        connection.is_doubted = False
        assert is_connected()
        assert not connection.is_refused(), "what was found does not count once something has come"
        connection.close()
    listener.close()
