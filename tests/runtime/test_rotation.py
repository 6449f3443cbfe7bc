"""A head that gets a new pair of keys: its members stay, whoever was away is told why, and the old pair is dead."""

import json
import shutil
import time

import pytest

from distpool.config import SETTINGS
from distpool.errors import HeadUnreachable
from distpool.ids import CLIENT
from distpool.protocol.cluster import AskStatus, HeadKeyChanges
from distpool.protocol.standing import StatusTold
from distpool.runtime.enrolling import enrol
from distpool.runtime.joining import ask, join
from distpool.transport.keys import NEXT_HEAD, Identity, KeyFolder, Part, read_identity, write_identity
from distpool.transport.rotation import (
    accept_head,
    begin_rotation,
    end_rotation,
    expect_head,
    is_rotating,
    rotation_overlap_s,
    take_up_next,
)
from distpool.transport.sockets import OTHER_KEY, Listener
from distpool.transport.tokens import make_token
from tests.runtime.heads import ServedHead
from tests.runtime.heads import head as head

LIMIT_S = 10.0
LONG_S = 600.0


class Program:
    """A driver that has joined."""

    def __init__(self, served, folder):
        self.folder = folder
        self.identity = folder.identity(Part.DRIVER)
        self.remote = join(served.address, "program", self.identity, SETTINGS)

    def until(self, is_so):
        until = time.monotonic() + LIMIT_S
        while not is_so():
            assert time.monotonic() < until
            self.remote.receive(time.monotonic())
            self.remote.flush(time.monotonic())
            time.sleep(0.002)

    def status(self):
        self.remote.outbox.messages.clear()
        return ask(self.remote, AskStatus(), StatusTold, SETTINGS)

    def kept(self):
        identity = self.folder.identity(Part.DRIVER)
        return identity.head, identity.next_head


@pytest.fixture
def program(head, tmp_path):
    """On another machine."""
    folder = KeyFolder(tmp_path / "elsewhere")
    head.folder.add(Part.DRIVER, "me", folder.path_of(Part.DRIVER))
    made = Program(head, folder)
    yield made
    made.remote.close()


def copied(folder, to):
    """The folder of a machine that is away from now on."""
    shutil.copytree(folder.path, to)
    return KeyFolder(to)


def test_a_member_is_told_connects_with_the_new_key_and_keeps_it(head, program):
    old = head.folder.identity(Part.HEAD).public
    links = set(head.host.role.members())
    new = begin_rotation(head.folder, 0.3).public
    program.until(lambda: program.identity.next_head == new)
    assert program.kept() == (old, new)
    assert head.folder.identity(Part.HEAD).public == old
    program.until(lambda: program.identity.head == new)
    assert program.kept() == (new, "")
    assert head.folder.identity(Part.HEAD).public == new
    assert not (head.folder.path / NEXT_HEAD).exists()
    assert program.status().drivers == 1
    assert set(head.host.role.members()) == links, "it is a member as before, by the same link"


def test_the_members_of_the_heads_own_folder_need_not_be_told(head):
    new = begin_rotation(head.folder, 0.1).public
    until = time.monotonic() + LIMIT_S
    while is_rotating(head.folder):
        assert time.monotonic() < until
        time.sleep(0.005)
    for part in (Part.NODE, Part.DRIVER):
        identity = head.folder.identity(part)
        assert (identity.head, identity.next_head) == (new, "")
    join(head.address, "program", head.folder.identity(Part.DRIVER), SETTINGS).leave()


def test_who_comes_while_the_key_is_announced_is_told_too(head, tmp_path):
    late = copied(head.folder, tmp_path / "late")
    new = begin_rotation(head.folder, LONG_S).public
    made = Program(head, late)
    made.until(lambda: made.identity.next_head == new)
    made.remote.leave()
    assert late.identity(Part.DRIVER).next_head == new
    head.folder.add(Part.DRIVER, "me", tmp_path / "me.key")
    assert read_identity(tmp_path / "me.key").next_head == new


def test_who_was_away_is_refused_with_the_reason_and_the_remedy(head, program, tmp_path):
    away = copied(head.folder, tmp_path / "away")
    new = begin_rotation(head.folder, 0.05).public
    program.until(lambda: program.identity.head == new)
    with pytest.raises(HeadUnreachable, match="if the head's was changed while this machine was away, join again with"):
        join(head.address, "program", away.identity(Part.DRIVER), SETTINGS)
    away.path_of(Part.DRIVER).unlink()
    token, _ = make_token(head.folder, Part.DRIVER, None, 60)
    enrol(head.address, token, away, SETTINGS)
    join(head.address, "program", away.identity(Part.DRIVER), SETTINGS).leave()


def test_the_old_pair_gets_nothing_from_who_has_reached_the_head_under_the_new_one(head, program):
    old = head.folder.identity(Part.HEAD)
    new = begin_rotation(head.folder, 0.05).public
    program.until(lambda: program.identity.head == new)
    endpoint = head.address
    head.end()
    thief = Listener(endpoint, old, head.folder.allow_list().find)
    heard = []
    program.until(lambda: heard.extend(thief.receive()) or program.remote.connection.refusal)
    assert program.remote.connection.refusal == OTHER_KEY
    assert heard == []
    thief.close()


def test_a_head_that_is_killed_in_between_goes_on_with_the_change(head, program):
    new = begin_rotation(head.folder, LONG_S).public
    program.until(lambda: program.identity.next_head == new)
    head.end()
    # Started again before its time has come, and after it has taken up the new pair and was killed again.
    for happens in (lambda: None, lambda: take_up_next(head.folder)):
        happens()
        again = ServedHead(head.folder, head.address)
        before = program.remote.heard_at
        program.until(lambda before=before: program.remote.heard_at > before)
        assert program.status().drivers == 1
        again.end()
    assert program.kept() == (new, "")
    assert not is_rotating(head.folder)


def test_two_changes_at_once_and_times_out_of_bounds_are_refused(head):
    for overlap_s in (-1.0, 86_401.0, float("nan")):
        with pytest.raises(ValueError, match="a key can be announced for 0 to 86400 seconds"):
            begin_rotation(head.folder, overlap_s)
    begin_rotation(head.folder, LONG_S)
    assert rotation_overlap_s(head.folder) == LONG_S
    with pytest.raises(ValueError, match="the head's key is being changed already"):
        begin_rotation(head.folder, LONG_S)


def test_tokens_end_with_the_key_that_they_name(head, tmp_path):
    first, second = (make_token(head.folder, Part.NODE, name, 600)[0] for name in ("gpu-1", "gpu-2"))
    head.end()
    new = begin_rotation(head.folder, LONG_S).public
    with pytest.raises(ValueError, match="the head's key is being changed, and with it all tokens end"):
        make_token(head.folder, Part.NODE, "gpu-3", 600)
    again = ServedHead(head.folder, head.address)
    watched = Program(again, head.folder)
    watched.until(lambda: watched.identity.next_head == new)
    # It joins while the key is announced, so it knows both.
    identity = enrol(again.address, first, KeyFolder(tmp_path / "elsewhere"), SETTINGS)
    assert identity.next_head == read_identity(tmp_path / "elsewhere" / "node.key").next_head == new
    watched.remote.leave()
    again.end()
    take_up_next(head.folder)
    end_rotation(head.folder)
    assert head.folder.allow_list().find(second.identity.public) is None
    assert {entry.name for entry in head.folder.allow_list().entries()} == {"node", "driver", "gpu-1"}


def test_what_several_processes_write_into_one_file_does_not_go_back(tmp_path):
    old, new = (Identity.make(Part.HEAD).public for _ in range(2))
    folder = KeyFolder(tmp_path / "keys")
    path = folder.path_of(Part.DRIVER)
    write_identity(path, Identity.make(Part.DRIVER, old))
    quick, slow = read_identity(path), read_identity(path)
    expect_head(quick, new)
    accept_head(quick, new)
    expect_head(slow, new)
    assert (slow.head, slow.next_head) == (old, new)
    there = read_identity(path)
    assert (there.head, there.next_head) == (new, "")
    accept_head(slow, new)
    # Nor is the file of another pair touched, which has taken the place meanwhile.
    write_identity(path, Identity.make(Part.DRIVER, old), replace=True)
    before = path.read_bytes()
    expect_head(quick, Identity.make(Part.HEAD).public)
    assert path.read_bytes() == before


def test_a_key_that_cannot_be_kept_is_told_of_and_used_all_the_same(head, program, caplog):
    program.folder.path_of(Part.DRIVER).chmod(0o644)
    new = begin_rotation(head.folder, 0.05).public
    program.until(lambda: program.identity.head == new)
    assert program.status().drivers == 1
    assert f"the head's new public key is {json.dumps(new)[1:-1]}, but it cannot be kept: " in caplog.text


def test_a_next_key_that_cannot_be_read_is_told_of_once(head, program, caplog):
    (head.folder.path / NEXT_HEAD).write_text("nonsense")
    (head.folder.path / NEXT_HEAD).chmod(0o600)
    for _ in range(3):
        program.status()
    assert caplog.text.count("the change of the head's key does not go on: ") == 1


def test_what_is_no_key_is_not_expected(head, program):
    before = program.kept()
    head.host.role.outbox.put(head.host.role.members()[0], HeadKeyChanges('nonsense"\nhead = "other'))
    assert program.status().drivers == 1
    assert program.kept() == before
    assert program.identity.next_head == ""


def test_only_the_head_can_announce_a_key(head, program):
    program.remote.handle(CLIENT, HeadKeyChanges(Identity.make(Part.HEAD).public), 0.0)
    program.until(lambda: head.host.dropped())
    assert head.host.dropped() == {"HeadKeyChanges from one who may not say that": 1}
