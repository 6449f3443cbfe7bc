"""`distpool cleanup`: what ended processes have left behind goes, and nothing else."""

import os
import socket
from pathlib import Path

import pytest

from distpool.runtime.own_log import HEAD, keeping_log, log_path
from distpool.runtime.temporary_folders import TemporaryFolder
from distpool.transport.keys import KeyFolder
from tests.cli.conftest import json_of

LONG_AGO = (1_000_000_000.0, 1_000_000_000.0)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The folders where something may be left, as paths: temporary files, the spill folder, the cluster's folder."""
    temporary, spill = tmp_path / "temporary", tmp_path / "spill"
    for folder in (temporary, spill):
        folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    keys = KeyFolder(tmp_path / "keys")
    keys.make_missing()
    return temporary, spill, keys.path


def aged(path: Path) -> Path:
    os.utime(path, LONG_AGO)
    return path


def abandoned(temporary: Path) -> Path:
    """The folder of a process that was killed: its lock is there, and nobody holds it."""
    folder = temporary / "distpool-run-abcdefgh"
    (folder / "keys").mkdir(parents=True)
    folder.chmod(0o700)
    (folder / "lock").touch()
    return aged(folder)


def contact(keys: Path, host: str) -> Path:
    path = keys / "head.contact"
    path.write_text(f'address = "tcp://127.0.0.1:7117"\nhost = "{host}"\npid = 1\n')
    path.chmod(0o600)
    (keys / "head.lock").touch()
    return aged(path)


def removed(run, *arguments, spill):
    done = run("cleanup", "--json", *arguments, DISTPOOL_SPILL_FOLDER=str(spill))
    return {Path(entry["path"]) for entry in json_of(done)["removed"]}


def test_what_is_left_goes_and_a_dry_run_only_shows_it(places, run):
    temporary, spill, keys = places
    left = {abandoned(temporary), contact(keys, socket.gethostname())}
    for path in (spill / "distpool-spill-12345678", keys / ".node.key-abcd_123"):
        path.touch()
        left.add(aged(path))
    with keeping_log(keys, "gone"):
        pass
    left.add(aged(log_path(keys, "gone")))
    assert removed(run, "--dry-run", spill=spill) == left
    assert all(path.exists() for path in left)
    text = run("cleanup", "--dry-run", DISTPOOL_SPILL_FOLDER=str(spill)).output
    assert text.count("would be removed") == len(left)
    assert removed(run, spill=spill) == left
    assert not any(path.exists() for path in left)
    assert removed(run, spill=spill) == set()
    assert run("cleanup", DISTPOOL_SPILL_FOLDER=str(spill)).output == "nothing was left behind\n"
    assert {path.name for path in keys.iterdir()} == {
        "allowed", "driver.key", "head.key", "head.lock", "lock", "logs", "node.key",
    }  # fmt: skip


def test_what_a_live_process_has_stays_however_old_it_is(places, run):
    _, spill, keys = places
    folder = TemporaryFolder("run")
    aged(folder.path)
    with keeping_log(keys, HEAD):
        aged(log_path(keys, HEAD))
        assert removed(run, spill=spill) == set()
    folder.remove()


def test_what_is_young_another_users_or_of_another_kind_stays(places, run, monkeypatch):
    temporary, spill, keys = places
    contact(keys, "another-machine")
    (spill / "distpool-spill-12345678").touch()
    (spill / "distpool-spill-folder").mkdir()
    aged(spill / "distpool-spill-folder")
    (keys / ".notes").touch()
    aged(keys / ".notes")
    young = abandoned(temporary)
    os.utime(young)
    for name, mode in (("distpool-mine", 0o755), ("distpool-without-lock", 0o700)):
        (temporary / name).mkdir(mode=mode)
        (temporary / name).chmod(mode)
    (temporary / "distpool-mine" / "lock").touch()
    aged(temporary / "distpool-mine")
    (temporary / "distpool-link").symlink_to(keys)
    with keeping_log(keys, "recent"):
        pass
    assert removed(run, spill=spill) == set()
    assert removed(run, "--dry-run", "--older-than", "1ms", spill=spill) == {log_path(keys, "recent")}
    aged(young)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert removed(run, spill=spill) == set()


def test_what_cannot_be_removed_is_told_and_the_rest_goes(places, run, monkeypatch):
    temporary, spill, _ = places
    stuck = spill / "distpool-spill-stuck123"
    stuck.touch()
    aged(stuck)
    gone = abandoned(temporary)

    def refuse(path, **options):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        done = run("cleanup", DISTPOOL_SPILL_FOLDER=str(spill))
    assert done.status == 1
    assert f"NOT removed  {stuck}" in done.output
    assert "Permission denied" in done.output
    assert stuck.exists()
    assert not gone.exists()
