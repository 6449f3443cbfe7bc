"""Joining with a token: the head and the newcomer recognise each other, and the token gives nothing but that."""

import io
import threading
import time

import pytest

from distpool.config import SETTINGS
from distpool.errors import DistpoolError, HeadUnreachable
from distpool.ids import CLIENT
from distpool.protocol.cluster import AskStatus, Enrol, Enrolled, Refused
from distpool.protocol.standing import StatusTold
from distpool.runtime.enrolling import enrol, read_token
from distpool.runtime.head_keys import HeadKeys
from distpool.runtime.hosting import RemoteHead
from distpool.runtime.joining import ask, join, reach
from distpool.transport.keys import Identity, KeyFolder, Part
from distpool.transport.private_files import write_private
from distpool.transport.sockets import NOT_LET_IN, Connection
from distpool.transport.tokens import Token, begin_joining, make_token, redeem
from tests.runtime.heads import head as head

LIMIT_S = 10.0


@pytest.fixture
def elsewhere(tmp_path):
    return KeyFolder(tmp_path / "elsewhere")


def token_of(head, part=Part.NODE, name="gpu-1", valid_s=600):
    return make_token(head.folder, part, name, valid_s)[0]


def entries(head):
    return {entry.name: entry for entry in head.folder.allow_list().entries()}


def said_to(head, token, *messages):
    """What the head answers to a holder of a token who says something else than it should, until it is cut off."""
    remote = RemoteHead(head.address, "somebody", SETTINGS, time.monotonic(), token.identity, messages[0])
    for message in messages[1:]:
        remote.handle(CLIENT, message, 0.0)
    until = time.monotonic() + LIMIT_S
    try:
        while sum(head.host.dropped().values()) < len(messages):
            assert time.monotonic() < until
            remote.receive(time.monotonic())
            remote.flush(time.monotonic())
            time.sleep(0.002)
        remote.receive(time.monotonic())
        return [message for _, message in remote.outbox.messages]
    finally:
        remote.close()


def test_a_token_lets_one_in_and_its_own_key_is_used_from_then_on(head, elsewhere, tmp_path):
    token = token_of(head, Part.DRIVER)
    identity = enrol(head.address, token, elsewhere, SETTINGS)
    assert elsewhere.identity(Part.DRIVER).public == identity.public != token.identity.public
    assert identity.head == head.folder.identity(Part.HEAD).public
    assert entries(head)["gpu-1"] == (identity.public, Part.DRIVER, "gpu-1", None)
    remote = join(head.address, "program", identity, SETTINGS)
    assert isinstance(ask(remote, AskStatus(), StatusTold, SETTINGS), StatusTold)
    remote.leave()
    with pytest.raises(HeadUnreachable, match=r": this token was used already, or was revoked: have another one made"):
        enrol(head.address, token, KeyFolder(tmp_path / "third"), SETTINGS)
    assert len(entries(head)) == 3


def test_a_token_that_has_expired_or_was_revoked_is_one_clear_line(head, elsewhere, monkeypatch):
    token_of(head)
    revoked = token_of(head, name="gpu-2")
    head.folder.revoke("gpu-2")
    with pytest.raises(HeadUnreachable, match="was used already, or was revoked"):
        enrol(head.address, revoked, elsewhere, SETTINGS)
    late = token_of(head, name="gpu-3", valid_s=1)
    monkeypatch.setattr(time, "time", lambda: late.until + 1.0)
    with pytest.raises(HeadUnreachable, match=r"this token has expired at \d{4}-\d\d-\d\d") as caught:
        enrol(head.address, late, elsewhere, SETTINGS)
    assert "\n" not in str(caught.value)
    assert not elsewhere.path_of(Part.NODE).exists()


def test_nobody_who_is_not_the_head_of_the_token_gets_anything(head, elsewhere, tmp_path):
    other = KeyFolder(tmp_path / "other")
    other.make_missing()
    token, _ = make_token(other, Part.NODE, "gpu-1", 600)
    with pytest.raises(HeadUnreachable, match="the head there has not made this token, or its key was changed since"):
        enrol(head.address, token, elsewhere, SETTINGS)
    forged = Token(Identity.make(Part.NODE, head.folder.identity(Part.HEAD).public), token.until)
    with pytest.raises(HeadUnreachable, match="was used already, or was revoked"):
        enrol(head.address, forged, elsewhere, SETTINGS)
    assert sorted(entries(head)) == ["driver", "node"]


def test_an_answer_that_was_lost_costs_nothing(head, elsewhere):
    token = token_of(head)
    begun = begin_joining(elsewhere, token)
    redeem(head.folder, token.identity.public, begun.public)  # and the newcomer is killed before it hears of it
    assert enrol(head.address, token, elsewhere, SETTINGS).public == begun.public
    assert elsewhere.identity(Part.NODE).public == begun.public


def test_of_two_who_have_the_same_token_one_gets_in(head, tmp_path):
    token = token_of(head)
    outcomes = []

    def try_it(folder):
        try:
            outcomes.append(enrol(head.address, token, folder, SETTINGS).public)
        except HeadUnreachable as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=try_it, args=(KeyFolder(tmp_path / name),)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (let_in,) = [outcome for outcome in outcomes if outcome == entries(head)["gpu-1"].public]
    (refused,) = [outcome for outcome in outcomes if outcome != let_in]
    assert "this token was used" in refused


def test_so_many_connections_of_one_token_are_let_in_and_no_more(head, elsewhere):
    token = token_of(head)
    silent = [Connection(head.address, bytes([number]), token.identity, token.identity.head) for number in range(4)]
    until = time.monotonic() + LIMIT_S
    while not all(connection.has_reconnected() or connection.is_connected for connection in silent):
        assert time.monotonic() < until
    with pytest.raises(HeadUnreachable, match="others use this token in this moment; if they should not, revoke it"):
        enrol(head.address, token, elsewhere, SETTINGS)
    for connection in silent:
        connection.close()


def test_a_token_is_good_for_nothing_but_joining(head):
    token = token_of(head, Part.DRIVER)
    remote = RemoteHead(head.address, "somebody", SETTINGS, time.monotonic(), token.identity)
    greeting = remote.greeting
    remote.close()
    refusal = Refused("it cannot hear what was said to it: Greeting from one who may not say that")
    assert all(answer == refusal for answer in said_to(head, token, greeting))
    assert head.host.dropped() == {"Greeting from one who may not say that": 1}
    head.host.dropped().clear()
    said_to(head, token, AskStatus())
    assert head.host.dropped() == {"AskStatus from one who may not say that": 1}
    # Nor do nodes let it in.
    members = HeadKeys(head.folder).news_of_members()
    assert token.identity.public not in {public for public, _, _ in members.members}
    assert entries(head)["gpu-1"].until == token.until


@pytest.mark.parametrize("public", ["short", "x" * 41, "é" * 40, "x" * 39 + "\n", "x" * 39 + " "])
def test_what_is_no_key_is_not_let_in(head, public):
    token = token_of(head)
    with pytest.raises(HeadUnreachable, match="what should be let in is no public key"):
        reach(head.address, "somebody", token.identity, Enrolled, SETTINGS, Enrol(public))
    assert entries(head)["gpu-1"].until == token.until


def test_a_key_of_another_member_is_refused_and_the_token_not_used_up(head, elsewhere):
    token = token_of(head)
    member = head.folder.identity(Part.DRIVER).public
    with pytest.raises(HeadUnreachable, match="this key is known already"):
        reach(head.address, "somebody", token.identity, Enrolled, SETTINGS, Enrol(member))
    assert enrol(head.address, token, elsewhere, SETTINGS)


def test_the_connection_of_a_token_that_was_used_is_not_heard_any_more(head):
    token = token_of(head)
    first, second = (Identity.make(Part.NODE).public for _ in range(2))
    remote = RemoteHead(head.address, "somebody", SETTINGS, time.monotonic(), token.identity, Enrol(first))
    until = time.monotonic() + LIMIT_S
    while not any(isinstance(message, Enrolled) for _, message in remote.outbox.messages):
        assert time.monotonic() < until
        remote.receive(time.monotonic())
        remote.flush(time.monotonic())
    remote.handle(CLIENT, Enrol(second), 0.0)
    while not remote.connection.refusal:
        assert time.monotonic() < until
        remote.receive(time.monotonic())
        remote.flush(time.monotonic())
        time.sleep(0.002)
    remote.close()
    assert remote.connection.refusal == NOT_LET_IN
    assert head.host.dropped().keys() == {"a frame with a key that is not let in any more"}
    assert entries(head)["gpu-1"].public == first


def test_whoever_comes_without_a_token_joins_nobody(head):
    """Neither a member, which needs none, nor a process of this machine by a Unix socket."""
    member = head.folder.identity(Part.DRIVER)
    remote = join(head.address, "program", member, SETTINGS)
    remote.handle(CLIENT, Enrol(Identity.make(Part.NODE).public), 0.0)
    until = time.monotonic() + LIMIT_S
    while not head.host.dropped():
        assert time.monotonic() < until
        remote.flush(time.monotonic())
        time.sleep(0.002)
    remote.close()
    assert head.host.dropped() == {"Enrol from one who may not say that": 1}
    assert len(entries(head)) == 2


def test_a_token_is_read_from_a_private_file_only(head, tmp_path, monkeypatch):
    token = token_of(head)
    path = tmp_path / "gpu-1.token"
    write_private(path, token.text())
    assert read_token(str(path)).identity.public == token.identity.public
    path.chmod(0o644)
    with pytest.raises(DistpoolError, match=r"gpu-1\.token holds secrets: it must be a file of mode 0600"):
        read_token(str(path))
    monkeypatch.setattr("sys.stdin", io.StringIO(token.text()))
    assert read_token("-").identity.public == token.identity.public


def test_a_machine_that_has_a_key_keeps_it(head):
    with pytest.raises(FileExistsError, match=r"node\.key is there already: use it, or move it away"):
        enrol(head.address, token_of(head), head.folder, SETTINGS)
    assert entries(head)["gpu-1"].until is not None
