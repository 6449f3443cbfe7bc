"""Key files: made private, refused when they are not, and never shown."""

import os
import pickle
import stat
import threading
import traceback

import pytest

from distpool.errors import DistpoolError, UnusableKey
from distpool.transport.home import HOME_VARIABLE
from distpool.transport.keys import ALLOWED, Identity, KeyFolder, Part, read_identity, write_identity


@pytest.fixture
def folder(tmp_path):
    before = os.umask(0)  # what others may do is not left to it
    folder = KeyFolder(tmp_path / "keys")
    folder.make_missing()
    yield folder
    os.umask(before)


def test_the_first_start_makes_keys_that_only_their_owner_can_read(folder):
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.path.iterdir()}
    assert files == dict.fromkeys([ALLOWED, "driver.key", "head.key", "lock", "node.key"], 0o600)


def test_the_second_start_finds_them(folder):
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    folder.make_missing()
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


def test_two_heads_that_start_at_once_have_the_same_keys(tmp_path):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(KeyFolder(tmp_path / "keys").make_missing().public))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_nodes_and_drivers_are_let_in_by_their_keys_and_know_their_head(folder):
    head = folder.identity(Part.HEAD)
    allowed = folder.allow_list()
    for part in (Part.NODE, Part.DRIVER):
        identity = folder.identity(part)
        assert identity.head == head.public == head.head
        assert allowed.find(identity.public) == (identity.public, part, part.value)
    assert allowed.find(head.public) is None
    assert allowed.find("x" * 40) is None


def test_a_key_that_is_added_is_let_in_and_one_that_is_revoked_is_not(folder, tmp_path):
    allowed = folder.allow_list()
    identity = folder.add(Part.NODE, "gpu-1", tmp_path / "gpu-1.key")
    assert read_identity(tmp_path / "gpu-1.key").public == identity.public
    assert allowed.find(identity.public) == (identity.public, Part.NODE, "gpu-1")
    assert folder.revoke("gpu-1").public == identity.public
    assert allowed.find(identity.public) is None
    assert len(allowed.members()) == 2


def test_nobody_is_let_in_when_the_list_cannot_be_read(folder):
    allowed = folder.allow_list()
    node = folder.identity(Part.NODE).public
    assert allowed.find(node)
    path = folder.path / ALLOWED
    text = path.read_text()
    for spoil in (lambda: path.write_text(text + "nonsense\n"), lambda: path.chmod(0o644), path.unlink):
        spoil()
        for _ in range(2):  # the second time nothing has changed
            with pytest.raises((DistpoolError, FileNotFoundError)):
                allowed.find(node)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_key_that_others_can_read_is_refused(folder, mode):
    path = folder.path_of(Part.NODE)
    path.chmod(mode)
    with pytest.raises(DistpoolError, match=rf"node.key holds secrets: it must be a file of mode 0600.*{mode:04o}"):
        folder.identity(Part.NODE)


def test_a_folder_that_others_can_enter_is_refused(tmp_path):
    (tmp_path / "keys").mkdir(mode=0o755)
    with pytest.raises(DistpoolError, match="keys must be a folder of mode 0700"):
        KeyFolder(tmp_path / "keys")


def test_links_are_not_followed(folder, tmp_path):
    target = tmp_path / "elsewhere.key"
    folder.path_of(Part.NODE).rename(target)
    folder.path_of(Part.NODE).symlink_to(target)
    with pytest.raises(DistpoolError, match="cannot be read"):
        folder.identity(Part.NODE)
    (tmp_path / "link").symlink_to(folder.path)
    with pytest.raises(DistpoolError, match="must be a folder"):
        KeyFolder(tmp_path / "link")


def test_a_key_that_is_missing_or_of_another_kind_is_an_error_that_says_what_to_do(folder):
    os.replace(folder.path_of(Part.NODE), folder.path_of(Part.DRIVER))
    with pytest.raises(UnusableKey, match=r"there is no .*node.key: `distpool keys new` makes"):
        folder.identity(Part.NODE)
    with pytest.raises(UnusableKey, match=r"driver.key is the key of a node, where that of a driver is needed"):
        folder.identity(Part.DRIVER)


def test_a_damaged_key_is_an_error_that_does_not_show_it(folder):
    path = folder.path_of(Part.NODE)
    whole = path.read_text()
    secret = folder.identity(Part.NODE).secret().decode()
    other = Identity.make(Part.NODE).public
    for text in (
        "",
        whole[:-60],
        whole.replace('"node"', '"king"'),
        whole.replace(secret, secret[:-1]),
        whole.replace(secret, secret[:-1] + "ä"),
        whole.replace(secret, "#" * 40),
        whole.replace("# A key", "\0"),
        whole.replace(folder.identity(Part.NODE).public, other),
        whole.replace("secret =", "secret"),
    ):
        path.write_text(text)
        with pytest.raises(DistpoolError) as caught:
            folder.identity(Part.NODE)
        assert "node.key" in str(caught.value)
        assert secret[:20] not in "".join(traceback.format_exception(caught.value)) + repr(caught.value.__context__)


def test_a_secret_is_not_shown_and_does_not_travel(folder):
    identity = folder.identity(Part.HEAD)
    assert identity.secret().decode() not in f"{identity!r} {identity}"
    with pytest.raises(TypeError, match="must not travel"):
        pickle.dumps(identity)


def test_a_key_file_is_never_overwritten(folder, tmp_path):
    with pytest.raises(FileExistsError):
        write_identity(folder.path_of(Part.NODE), Identity.make(Part.NODE))
    with pytest.raises(FileExistsError):
        folder.add(Part.NODE, "gpu-1", folder.path_of(Part.NODE))
    # And nothing is left of the attempt.
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "allowed",
        "driver.key",
        "head.key",
        "lock",
        "node.key",
    ]
    assert len(folder.allow_list().members()) == 2


@pytest.mark.parametrize("name", ["", "two words", "../up", "-x", "x" * 65, "line\nbreak", "node"])
def test_a_name_that_is_taken_or_no_name_is_refused(folder, tmp_path, name):
    with pytest.raises(ValueError, match=r"of a key must have|of the name 'node' already"):
        folder.add(Part.NODE, name, tmp_path / "some.key")
    assert not (tmp_path / "some.key").exists()


def test_to_revoke_an_unknown_name_lists_those_that_there_are(folder):
    with pytest.raises(ValueError, match="no key of the name 'gpu-9'; there are: driver, node"):
        folder.revoke("gpu-9")


def test_the_folder_is_the_users_own_unless_the_environment_names_another(tmp_path, monkeypatch):
    monkeypatch.delenv(HOME_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert KeyFolder.of_user().path == tmp_path / "distpool"
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "other"))
    assert KeyFolder.of_user().path == tmp_path / "other"
