"""Folders that are made once: by whom, how long they stay, and what a maker leaves that was killed."""

import os
import signal
import threading
from pathlib import Path

import pytest

from distpool.errors import DistpoolError
from distpool.runtime.kept_folders import KeptFolders

BLOCK = 64 * 1024


def maker(made: list[Path], blocks: int = 1):
    def make(path: Path) -> None:
        made.append(path)
        path.mkdir()
        (path / "file").write_bytes(os.urandom(blocks * BLOCK))

    return make


def keys_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()}


def test_a_folder_is_made_once_for_all_who_want_it(tmp_path):
    kept, made = [KeptFolders(tmp_path / "kept", 100 * BLOCK) for _ in range(2)], []
    assert kept[0].hold("a") is None
    threads = [threading.Thread(target=lambda: kept[1].hold_or_make("a", maker(made)).release()) for _ in range(5)]
    for thread in threads:
        thread.start()
    hold = kept[0].hold_or_make("a", maker(made))
    for thread in threads:
        thread.join()
    assert made == [tmp_path / "kept" / "a"] == [hold.path]
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
    hold.release()


def test_what_was_used_last_stays_and_so_does_what_is_in_use(tmp_path):
    kept, made = KeptFolders(tmp_path / "kept", 10 * BLOCK), []
    holds = {key: kept.hold_or_make(key, maker(made, 4)) for key in ("a", "b")}
    for key, hold in holds.items():
        hold.release()
        os.utime(tmp_path / "kept" / f"{key}.lock", (0 if key == "a" else 1,) * 2)
    kept.hold("a").release()
    kept.hold_or_make("c", maker(made, 4)).release()
    assert keys_in(tmp_path / "kept") == {"a", "c"}
    used = kept.hold("a")
    for key in ("d", "e", "f"):
        os.utime(tmp_path / "kept" / "a.lock", (0, 0))
        kept.hold_or_make(key, maker(made, 4)).release()
    assert keys_in(tmp_path / "kept") >= {"a", "f"}
    assert len(keys_in(tmp_path / "kept")) <= 3
    used.release()


def test_what_is_larger_than_all_that_is_kept_is_an_error(tmp_path):
    kept = KeptFolders(tmp_path / "kept", BLOCK)
    with pytest.raises(DistpoolError, match="bytes on disk, and no more than 65536 are kept"):
        kept.hold_or_make("a", maker([], 2))
    assert keys_in(tmp_path / "kept") == set()


def test_a_maker_that_fails_leaves_nothing_and_the_next_one_makes_it(tmp_path):
    kept, made = KeptFolders(tmp_path / "kept", 100 * BLOCK), []

    def fail(path: Path) -> None:
        path.mkdir()
        (path / "closed").mkdir(mode=0o500)
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        kept.hold_or_make("a", fail)
    assert keys_in(tmp_path / "kept") == set()
    kept.hold_or_make("a", maker(made)).release()
    assert len(made) == 1


def test_half_a_folder_of_a_maker_that_was_killed_is_never_used(tmp_path):
    kept, made = KeptFolders(tmp_path / "kept", 100 * BLOCK), []

    def die(path: Path) -> None:
        path.mkdir()
        (path / "half").touch()
        os.kill(os.getpid(), signal.SIGKILL)

    for key in ("a", "b"):
        pid = os.fork()
        if pid == 0:
            kept.hold_or_make(key, die)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert keys_in(tmp_path / "kept") == {"a", "b"}
    assert kept.hold("a") is None
    with_a = kept.hold_or_make("a", maker(made))
    assert os.listdir(with_a.path) == ["file"]
    assert keys_in(tmp_path / "kept") == {"a"}, "what is left of the other is removed too"
    with_a.release()
