"""What of a folder becomes a package, that it comes out of it as it was, and what no node unpacks."""

import hashlib
import io
import os
import shutil
import socket
import subprocess
import tarfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distpool.config import SETTINGS
from distpool.errors import DistpoolError
from distpool.protocol.code import (
    PIECE_BYTES,
)
from distpool.runtime.ignore_rules import IgnoreRules
from distpool.runtime.packages import Package
from distpool.runtime.supplier import _decompressed
from distpool.runtime.unpacking import check_hash, unpack


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "folder"


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def paths_of(folder: Path, **options) -> set[str]:
    package = Package(str(folder), SETTINGS, **options)
    package.close()
    return package.paths


def hash_of(folder: Path) -> str:
    package = Package(str(folder), SETTINGS)
    package.close()
    return package.hash


def bytes_of(package: Package) -> bytes:
    pieces = [
        _decompressed(package.piece(offset), min(PIECE_BYTES, package.size - offset))
        for offset in range(0, package.size, PIECE_BYTES)
    ]
    return b"".join(pieces)


def tree(folder: Path) -> dict[str, object]:
    """Each entry's content, or where it leads, and whether it can be executed."""
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else (path.read_bytes(), bool(path.stat().st_mode & 0o111))
        if path.is_file()
        else None
        for path in folder.rglob("*")
    }


def test_a_folder_comes_out_as_it_was_and_is_read_only(folder, tmp_path):
    write(folder, "main.py", "package/__init__.py", "package/ä name.py")
    (folder / "empty" / "below").mkdir(parents=True)
    (folder / "large.bin").write_bytes(os.urandom(3 * PIECE_BYTES))
    (folder / "tool").write_text("#!/bin/sh")
    (folder / "tool").chmod(0o750)
    (folder / "package" / "link").symlink_to("../main.py")
    (folder / "absolute").symlink_to(folder / "package")
    (folder / os.fsdecode(b"no utf-8 \xff")).write_text("x")
    package = Package(str(folder), SETTINGS)
    file = io.BytesIO(bytes_of(package))
    package.close()
    check_hash(file, package.hash)
    unpack(file, tmp_path / "copy")
    before, after = tree(folder), tree(tmp_path / "copy")
    before["absolute"] = "package"
    assert after == before
    assert {path.stat().st_mode & 0o222 for path in (tmp_path / "copy").rglob("*")} == {0}


def test_the_hash_is_that_of_names_modes_and_contents(folder, tmp_path):
    write(folder, "one", "two")
    (tmp_path / "other").mkdir()
    for name in ("two", "one"):  # in another order, at another time
        (tmp_path / "other" / name).write_text(name)
        os.utime(tmp_path / "other" / name, (1, 1))
    first = hash_of(folder)
    assert hash_of(tmp_path / "other") == first
    seen = {first}
    (folder / "one").chmod(0o755)
    seen.add(hash_of(folder))
    (folder / "one").write_text("two")
    seen.add(hash_of(folder))
    (folder / "one").rename(folder / "three")
    seen.add(hash_of(folder))
    assert len(seen) == 4


def test_what_is_left_out(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTPOOL_HOME", str(folder / "keys"))
    write(
        folder,
        "kept.py",
        ".hidden",
        "data/kept.txt",
        ".git/config",
        "data/.git/config",
        "__pycache__/kept.pyc",
        "x.pyc",
    )
    write(
        folder,
        "env/pyvenv.cfg",
        "env/lib/module.py",
        ".cache/CACHEDIR.TAG",
        ".cache/x",
        "keys/head.key",
        "logs/1",
        "a.log",
    )
    write(folder, "data/keep.log", "../outside")
    (folder / ".distpoolignore").write_text("# a comment\n/logs/\n*.log\n!keep.log\n")
    (folder / "out").symlink_to(tmp_path / "outside")
    (folder / "nowhere").symlink_to("missing")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(folder / "socket"))
        assert paths_of(folder) == {
            ".distpoolignore",
            ".hidden",
            "data",
            "data/keep.log",
            "data/kept.txt",
            "kept.py",
        }
    assert paths_of(folder, only_modules=True) == {"kept.py"}


def test_a_folder_that_is_too_large_is_an_error_that_names_the_largest_and_the_remedy(folder):
    write(folder, "small.py")
    (folder / "data").mkdir()
    for name in ("one", "two"):
        (folder / "data" / name).write_bytes(bytes(3 * 2**20))
    (folder / "model.bin").write_bytes(bytes(4 * 2**20))
    limited = msgspec.structs.replace(SETTINGS, code_limit_bytes=8 * 2**20)
    with pytest.raises(DistpoolError, match=r"has 10.0 MiB, and at most 8.0 MiB are sent .*\.distpoolignore") as caught:
        Package(str(folder), limited)
    assert "data (6.0 MiB), model.bin (4.0 MiB), small.py (8 B)" in str(caught.value)
    (folder / ".distpoolignore").write_text("data\n")
    Package(str(folder), limited).close()
    with pytest.raises(DistpoolError, match="has more than 2 entries: name what workers do not need"):
        Package(str(folder), msgspec.structs.replace(SETTINGS, code_entries_limit=2))


@pytest.mark.skipif(os.getuid() == 0, reason="whoever is root can read everything")
@pytest.mark.parametrize("name", ["secret", "secrets"])
def test_what_cannot_be_read_is_an_error_that_names_it(folder, name):
    write(folder, "secret", "secrets/one")
    (folder / name).chmod(0)
    with pytest.raises(DistpoolError, match=rf"folder/{name} cannot be read \(Permission denied\)"):
        Package(str(folder), SETTINGS)
    (folder / name).chmod(0o700)


# ---- the ignore file


@pytest.mark.parametrize(
    ("pattern", "left_out", "kept"),
    [
        ("*.log", ["a.log", "x/b.log"], ["a.log.txt"]),
        ("/build", ["build/x"], ["x/build"]),
        ("build/", ["build/x", "x/build/y"], ["build.txt"]),
        ("x/y", ["x/y"], ["z/x/y"]),
        ("**/cache", ["cache", "a/b/cache"], ["caches"]),
        ("logs/**", ["logs/a", "logs/b/c"], ["x/logs/a"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a/xb"]),
        ("?.txt", ["a.txt"], ["ab.txt"]),
        ("[a-c].txt", ["b.txt"], ["d.txt"]),
        ("[!a].txt", ["b.txt"], ["a.txt"]),
        ("[a-].txt", ["a.txt", "-.txt"], ["b.txt"]),
        ("[--0].txt", ["-.txt", "0.txt"], ["1.txt"]),
        (r"[\d].txt", ["d.txt"], ["1.txt"]),
        ("\\#x", ["#x"], ["x"]),
        ("\\!x", ["!x"], ["x"]),
        ("*\n!kept", ["other"], ["kept"]),
        ("x \ny", ["x", "y"], ["x "]),
        ("a+b(c)", ["a+b(c)"], ["aab(c)"]),
        ("/*\n!/src", ["a", "b/c"], ["src/x"]),
    ],
)
def test_patterns_mean_what_they_mean_to_git(pattern, left_out, kept, folder):
    write(folder, *left_out, *kept)
    (folder / ".distpoolignore").write_text(pattern)
    found = paths_of(folder)
    assert [path for path in left_out if path in found] == []
    assert [path for path in kept if path not in found] == []
    if shutil.which("git") is not None:
        subprocess.run(["git", "init", "-q", folder], check=True, capture_output=True)
        (folder / ".git" / "info" / "exclude").write_text(pattern)
        asked = subprocess.run(
            ["git", "-C", folder, "check-ignore", "-z", "--stdin"],
            input="\0".join([*left_out, *kept]),
            capture_output=True,
            text=True,
            check=False,
        )
        assert asked.stdout.split("\0")[:-1] == left_out


@given(st.text(alphabet="ab*?[]!-\\/ ^", max_size=12), st.text(alphabet="ab-]/", min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
@example("[?--]", "]")
def test_no_pattern_is_an_error(pattern, path):
    IgnoreRules(pattern).leave_out(path, is_folder=True)


# ---- what no peer of ours sends


def archive(*entries: tuple[str, bytes, str]) -> io.BytesIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as made:
        for name, kind, link in entries:
            about = tarfile.TarInfo(name)
            about.type, about.linkname = kind, link
            made.addfile(about)
    return file


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ([("/etc/x", tarfile.REGTYPE, "")], "outside of its folder"),
        ([("../x", tarfile.REGTYPE, "")], "outside of its folder"),
        ([("a", tarfile.DIRTYPE, ""), ("a/../../x", tarfile.REGTYPE, "")], "outside of its folder"),
        ([("a/x", tarfile.REGTYPE, "")], "before its folder"),
        ([("a", tarfile.SYMTYPE, "."), ("a/x", tarfile.REGTYPE, "")], "before its folder"),
        ([("a", tarfile.SYMTYPE, "/etc")], "leads out of its folder"),
        ([("a", tarfile.DIRTYPE, ""), ("a/b", tarfile.SYMTYPE, "../../etc")], "leads out of its folder"),
        ([("a", tarfile.LNKTYPE, "/etc/passwd")], "neither a file nor a folder nor a link"),
        ([("a", tarfile.CHRTYPE, "")], "neither a file nor a folder nor a link"),
        ([("a", tarfile.FIFOTYPE, "")], "neither a file nor a folder nor a link"),
    ],
)
def test_an_archive_that_no_program_of_ours_makes_is_refused(entries, text, tmp_path):
    with pytest.raises(DistpoolError, match=text):
        unpack(archive(*entries), tmp_path / "new")
    assert not (tmp_path / "x").exists()


def test_a_file_that_comes_twice_does_not_replace_the_first(tmp_path):
    with pytest.raises(OSError, match="exists"):
        unpack(archive(("a", tarfile.REGTYPE, ""), ("a", tarfile.REGTYPE, "")), tmp_path / "new")


def test_what_is_damaged_is_an_error(tmp_path):
    with pytest.raises(DistpoolError, match=f"a package of hash {hashlib.sha256(b'x').hexdigest()} came, where 00 was"):
        check_hash(io.BytesIO(b"x"), "00")
    with pytest.raises(DistpoolError, match="a package is damaged"):
        unpack(io.BytesIO(b"x" * 1024), tmp_path / "new")
    with pytest.raises(DistpoolError, match="a piece of a package is damaged"):
        _decompressed(b"no zlib", 10)
    package = Package(str(tmp_path), SETTINGS)
    with pytest.raises(DistpoolError, match="has not the 10 bytes"):
        _decompressed(package.piece(0), 10)
    package.close()
