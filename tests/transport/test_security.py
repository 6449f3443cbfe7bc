"""Who gets anything out of an open port: whoever has a key that is let in, and nobody else."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import zmq

from distpool.errors import DistpoolError
from distpool.transport import admissions, security
from distpool.transport.keys import Identity, KeyFolder, Part
from distpool.transport.sockets import NOT_LET_IN, OTHER_KEY, TOO_MANY, Connection, Listener

LIMIT_S = 10.0
NOTHING_S = 0.4
HANDSHAKE_LIMIT_S = 5.0


@pytest.fixture
def folder(tmp_path):
    folder = KeyFolder(tmp_path / "keys")
    folder.make_missing()
    return folder


@pytest.fixture
def listener(folder) -> Iterator[Listener]:
    listener = Listener("tcp://127.0.0.1:0", folder.identity(Part.HEAD), folder.allow_list().find)
    yield listener
    listener.close()


@pytest.fixture
def connect(listener):
    """Connect with an identity, to whatever key the server is taken to have."""
    made = []

    def connect(identity, route=b"me", server=None):
        made.append(Connection(listener.endpoint, route, identity, server or identity.head))
        return made[-1]

    yield connect
    for connection in made:
        connection.close()


def received(listener, limit_s=LIMIT_S, frames=1):
    """What comes within the limit."""
    until = time.monotonic() + limit_s
    messages = []
    while time.monotonic() < until and len(messages) < frames:
        messages += listener.receive()
        time.sleep(0.002)
    return messages


def until_connected(listener, connection):
    until = time.monotonic() + LIMIT_S
    while not (connection.has_reconnected() or connection.is_connected):
        assert time.monotonic() < until
        assert listener.receive() == []
        time.sleep(0.002)


def is_heard(listener, connection, route=b"me"):
    """Whether something that is sent again and again comes, and nothing else does."""
    until = time.monotonic() + NOTHING_S
    while time.monotonic() < until:
        connection.has_reconnected()
        connection.send([b"hello"])
        messages = listener.receive()
        assert all(message.frames == [b"hello"] for message in messages)
        if any(message.route == route for message in messages):
            return True
        time.sleep(0.005)
    return False


def until_heard(listener, connection, route=b"me"):
    until = time.monotonic() + LIMIT_S
    while not is_heard(listener, connection, route):
        assert time.monotonic() < until


def test_whoever_has_a_key_that_is_let_in_is_heard_and_known_by_it(listener, connect, folder):
    node = folder.identity(Part.NODE)
    connection = connect(node)
    until_connected(listener, connection)
    assert connection.send([b"one", b"two"])
    ((route, key, frames, _),) = received(listener)
    assert (route, key, frames) == (b"me", node.public, [b"one", b"two"])
    assert listener.send(b"me", [b"answer"])
    until = time.monotonic() + LIMIT_S
    while not (answers := connection.receive()):
        assert time.monotonic() < until
    assert answers == [[b"answer"]]


def test_an_unknown_key_is_refused_and_is_told_so(listener, connect, folder, caplog):
    stranger = Identity.make(Part.NODE, folder.identity(Part.HEAD).public)
    connection = connect(stranger)
    assert not is_heard(listener, connection)
    assert connection.refusal == "this process's key is not let in"
    assert listener.doorman.refused["127.0.0.1"] >= 1
    assert "refused a connection from 127.0.0.1 with a key that is not let in (1 so far)" in caplog.text
    assert stranger.secret().decode() not in caplog.text


def test_a_key_of_another_cluster_is_refused(listener, connect, folder, tmp_path):
    other = KeyFolder(tmp_path / "other")
    other.make_missing()
    assert not is_heard(listener, connect(other.identity(Part.NODE), server=folder.identity(Part.HEAD).public))


def test_nobody_speaks_to_a_server_that_has_another_key_than_expected(listener, connect, folder):
    node = folder.identity(Part.NODE)
    connection = connect(node, server=Identity.make(Part.HEAD).public)
    assert not is_heard(listener, connection)
    assert not connection.is_connected


@pytest.mark.parametrize("mechanism", ["none", "plain", "curve without a key of its own"])
def test_another_mechanism_is_refused(listener, folder, mechanism):
    with zmq.Context() as context, context.socket(zmq.DEALER) as client:
        client.linger = 0
        if mechanism == "plain":
            client.plain_username = b"user"
            client.plain_password = b"password"
        elif mechanism != "none":
            public, secret = zmq.curve_keypair()
            client.curve_publickey, client.curve_secretkey = public, secret
            client.curve_serverkey = folder.identity(Part.HEAD).public.encode()
        client.connect(listener.endpoint)
        with suppress(zmq.Again):  # it may be refused by now
            client.send(b"hello", zmq.NOBLOCK)
        assert received(listener, NOTHING_S) == []
        assert not client.poll(0)


def test_a_key_that_is_revoked_opens_no_new_connection(listener, connect, folder, tmp_path):
    identity = folder.add(Part.NODE, "gpu-1", tmp_path / "gpu-1.key")
    assert is_heard(listener, connect(identity))
    folder.revoke("gpu-1")
    # The one that there is goes on, so whoever reads it asks for each message (see the links).
    assert listener.doorman.find(identity.public) is None
    assert not is_heard(listener, connect(identity, b"again"), b"again")


def test_nobody_is_let_in_while_the_list_cannot_be_read(listener, connect, folder, caplog):
    (folder.path / "allowed").write_text("nonsense\n")
    assert not is_heard(listener, connect(folder.identity(Part.NODE)))
    assert "nobody is let in: line 1 of" in caplog.text


def test_a_server_without_a_doorman_lets_in_nobody(folder):
    from distpool.transport.security import connect_securely, serve_securely

    with zmq.Context() as context, context.socket(zmq.ROUTER) as server, zmq.Context() as other:
        serve_securely(server, folder.identity(Part.HEAD))
        port = server.bind_to_random_port("tcp://127.0.0.1")
        with other.socket(zmq.DEALER) as client:
            client.linger = 0
            connect_securely(client, folder.identity(Part.NODE), folder.identity(Part.HEAD).public)
            client.connect(f"tcp://127.0.0.1:{port}")
            with suppress(zmq.Again):  # it may be refused by now
                client.send(b"hello", zmq.NOBLOCK)
            assert not server.poll(NOTHING_S * 1000)


@pytest.mark.parametrize("garbage", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\xff" * 4096, bytes(64)])
def test_garbage_is_cut_off_and_others_are_heard_meanwhile(listener, connect, folder, garbage):
    host, port = listener.endpoint.removeprefix("tcp://").split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(50)]
    for connection in silent:
        connection.sendall(garbage)
    assert is_heard(listener, connect(folder.identity(Part.NODE)))
    until = time.monotonic() + HANDSHAKE_LIMIT_S
    for connection in silent:
        connection.settimeout(max(0.01, until - time.monotonic()))
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass
        finally:
            connection.close()


def test_a_listener_that_changes_its_key_is_reached_under_the_new_one_only(listener, connect, folder):
    node, new, endpoint = folder.identity(Part.NODE), Identity.make(Part.HEAD), listener.endpoint
    told, untold = connect(node), connect(node, b"untold")
    for connection, route in ((told, b"me"), (untold, b"untold")):
        until_heard(listener, connection, route)
    told.expect(new.public)
    listener.change_key(new)
    assert listener.endpoint == endpoint
    until_heard(listener, told)
    assert (told.server, untold.server) == (new.public, node.head)
    assert not is_heard(listener, untold, b"untold")
    assert untold.refusal == OTHER_KEY
    told.forget_others()
    listener.change_key(folder.identity(Part.HEAD))
    assert not is_heard(listener, told), "the old one is not trusted any more"
    assert told.refusal == OTHER_KEY


def test_a_key_has_so_many_connections_and_no_more(listener, connect, folder, monkeypatch, caplog):
    monkeypatch.setattr(security, "CONNECTIONS_OF_A_KEY", 2)
    node = folder.identity(Part.NODE)
    first = Connection(listener.endpoint, b"1", node, node.head)
    assert is_heard(listener, first, b"1")
    second = connect(node, b"2")  # which says nothing
    until = time.monotonic() + LIMIT_S
    while not (second.has_reconnected() or second.is_connected):
        assert time.monotonic() < until
        listener.receive()
    third = connect(node, b"3")
    assert not is_heard(listener, third, b"3")
    assert third.refusal == TOO_MANY
    assert "with the key 'node', which has as many connections as one may have (1 so far)" in caplog.text
    assert is_heard(listener, connect(folder.identity(Part.DRIVER), b"4"), b"4")
    first.close()
    until = time.monotonic() + LIMIT_S
    while not is_heard(listener, third, b"3"):
        assert time.monotonic() < until
        listener.broken()


def test_who_was_refused_while_the_list_could_not_be_read_gets_in_after_that(listener, connect, folder):
    whole = (folder.path / "allowed").read_text()
    (folder.path / "allowed").write_text("nonsense\n")
    connection = connect(folder.identity(Part.NODE))
    assert not is_heard(listener, connection)
    assert connection.refusal == NOT_LET_IN
    (folder.path / "allowed").write_text(whole)
    until_heard(listener, connection)
    assert connection.refusal == ""


def test_who_has_connected_and_says_nothing_is_cut_off(listener, connect, folder, monkeypatch):
    silent, other = connect(folder.identity(Part.NODE)), connect(folder.identity(Part.DRIVER), b"other")
    for connection in (silent, other):
        until_connected(listener, connection)
    assert is_heard(listener, other, b"other")
    listener.broken()
    assert not silent.is_broken()
    monkeypatch.setattr(admissions, "SPEAK_WITHIN_S", 0.0)
    until = time.monotonic() + LIMIT_S
    while not silent.is_broken():
        assert time.monotonic() < until
        listener.broken()
        silent.has_reconnected()
    other.has_reconnected()
    assert other.is_connected


def test_refusals_are_counted_for_so_many_addresses_only(listener, connect, folder, monkeypatch):
    monkeypatch.setattr(security, "_ADDRESSES_COUNTED", 0)
    assert not is_heard(listener, connect(Identity.make(Part.NODE, folder.identity(Part.HEAD).public)))
    assert listener.doorman.refused.keys() == {"elsewhere"}


def test_without_keys_nothing_listens_and_nothing_connects_beyond_unix_sockets():
    with pytest.raises(DistpoolError, match="can be reached by others: to listen there, keys are needed"):
        Listener("tcp://127.0.0.1:0")
    with pytest.raises(DistpoolError, match="to connect to it, a key is needed"):
        Connection("tcp://127.0.0.1:7117", b"me")


def test_a_port_that_is_taken_is_an_error_that_names_it(listener, folder):
    with pytest.raises(DistpoolError, match=f"cannot listen at {listener.endpoint}: Address already in use"):
        Listener(listener.endpoint, folder.identity(Part.HEAD), folder.allow_list().find)


def test_a_frame_for_somebody_who_is_not_there_is_dropped(listener):
    assert listener.send(b"nobody", [b"hello"]) is False


def test_a_connection_that_ends_is_told_of_by_the_number_that_its_messages_had(listener, connect, folder):
    node = folder.identity(Part.NODE)
    connection, other = Connection(listener.endpoint, b"me", node, node.head), connect(node, b"other")
    numbers = {}
    until = time.monotonic() + LIMIT_S
    while len(numbers) < 2:
        assert time.monotonic() < until
        for each in (connection, other):
            each.send([b"hello"])
        numbers.update((message.route, message.connection) for message in listener.receive())
    assert listener.broken() == []
    connection.close()
    while not (ended := listener.broken()):
        assert time.monotonic() < until
    assert ended == [numbers[b"me"]]
