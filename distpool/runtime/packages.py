"""A folder as a package that travels to nodes: what of it is taken, in which bytes, and by which hash it is known.

The package is a tar archive in which only names, kinds, modes and contents count, so the same folder gives the same
bytes, and the hash of these is its name.

| entry | what becomes of it |
|---|---|
| file, folder, also an empty one | taken; of the mode whether it may be executed |
| `.git`, `.hg`, `.svn`, `__pycache__`, `*.pyc` | left out |
| folders with `pyvenv.cfg` or `CACHEDIR.TAG`; that with the keys of a cluster | left out |
| what `.distpoolignore` in the folder itself names, with gitignore's syntax; no other such file counts | left out |
| a link to what is in the folder | taken as a link |
| a link that leads out of the folder, or nowhere | left out |
| socket, pipe, device | left out |
| what cannot be read | an error |
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple

from distpool.base_errors import DistpoolError
from distpool.config import Settings
from distpool.logic.sizes import size_text
from distpool.protocol.code import (
    PIECE_BYTES,
)
from distpool.runtime.ignore_rules import IgnoreRules
from distpool.transport.home import home_folder

IGNORE_FILE = ".distpoolignore"

_NEVER = (".git", ".hg", ".svn", "__pycache__", "*.pyc")
_MARKS = ("pyvenv.cfg", "CACHEDIR.TAG")
_NAMED_AT_MOST = 5
_IN_MEMORY_BYTES = 8 * 1024 * 1024
_REMEDY = (
    f"name what workers do not need in a file {IGNORE_FILE} there (it has gitignore's syntax), or choose another "
    "folder with distpool.init(working_dir=...)"
)


class Entry(NamedTuple):
    """`path`: below the folder, with "/" between its parts. `link`: where it leads, relative to where it lies."""

    path: str
    mode: int
    size: int = 0
    link: str = ""


class Package:
    """A folder as it was. `hash`: SHA-256 of all its `size` bytes, as hexadecimal digits."""

    def __init__(self, folder: str, settings: Settings, *, only_modules: bool = False) -> None:
        """`only_modules`: nothing but the Python files that lie directly in it.

        Raises DistpoolError that names what cannot be read, or the largest entries of a folder that is too large.
        """
        self.folder = folder
        entries = list(_modules_of(folder) if only_modules else _entries_of(folder, settings))
        _check_size(folder, entries, settings)
        self.paths = {entry.path for entry in entries}
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 (for as long as this lives)
        with tarfile.open(mode="w|", fileobj=self._file, format=tarfile.PAX_FORMAT, bufsize=PIECE_BYTES) as archive:
            for entry in entries:
                _add(archive, folder, entry)
        self.size = self._file.tell()
        self.hash = hash_of(self._file)

    def piece(self, offset: int) -> bytes:
        """The bytes from there on, at most PIECE_BYTES, compressed."""
        self._file.seek(offset)
        return zlib.compress(self._file.read(PIECE_BYTES), 1)

    def close(self) -> None:
        self._file.close()


def hash_of(file: IO[bytes]) -> str:
    """Of a package: SHA-256 of all its bytes."""
    file.seek(0)
    found = hashlib.sha256()
    while block := file.read(PIECE_BYTES):
        found.update(block)
    return found.hexdigest()


def _add(archive: tarfile.TarFile, folder: str, entry: Entry) -> None:
    """One that was changed meanwhile is an error, as its size is told before its content."""
    about = tarfile.TarInfo(entry.path)
    about.mode = entry.mode
    if entry.link:
        about.type, about.linkname = tarfile.SYMTYPE, entry.link
        archive.addfile(about)
    elif stat.S_ISDIR(entry.mode):
        about.type, about.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(about)
    else:
        about.size = entry.size
        path = os.path.join(folder, entry.path)
        try:
            with open(path, "rb") as file:
                archive.addfile(about, _Exactly(file, entry.size))
        except OSError as error:
            raise _unreadable(path, error) from None
        except EOFError:
            raise DistpoolError(f"{path} became shorter while it was read for the nodes: try again") from None


class _Exactly:
    """So many bytes of a file; EOFError when it has fewer."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int = -1) -> bytes:
        wanted = min(size, self._left)
        data = self._file.read(wanted)
        if len(data) < wanted:
            raise EOFError
        self._left -= wanted
        return data


def _modules_of(folder: str) -> Iterator[Entry]:
    for item in sorted(os.scandir(folder), key=lambda item: item.name):
        if item.name.endswith(".py") and item.is_file():
            yield _file_entry(item.name, item.stat())


def _entries_of(folder: str, settings: Settings) -> Iterator[Entry]:
    root = os.path.realpath(folder)
    keys = os.path.realpath(home_folder())
    rules = IgnoreRules(_text_of(os.path.join(root, IGNORE_FILE)))
    count = 0
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            items = sorted(os.scandir(os.path.join(root, below)), key=lambda item: item.name)
        except OSError as error:
            raise _unreadable(os.path.join(root, below), error) from None
        folders = []
        for item in items:
            path = f"{below}/{item.name}" if below else item.name
            is_folder = item.is_dir(follow_symlinks=False)
            if any(fnmatchcase(item.name, pattern) for pattern in _NEVER) or rules.leave_out(path, is_folder=is_folder):
                continue
            if is_folder and (item.path == keys or any(os.path.lexists(f"{item.path}/{mark}") for mark in _MARKS)):
                continue
            try:
                entry = _entry(root, path, item)
            except OSError as error:
                raise _unreadable(item.path, error) from None
            if entry is None:
                continue
            count += 1
            if count > settings.code_entries_limit:
                raise DistpoolError(f"{folder} has more than {settings.code_entries_limit} entries: {_REMEDY}")
            yield entry
            if is_folder:
                folders.append(path)
        waiting += reversed(folders)


def _entry(root: str, path: str, item: os.DirEntry[str]) -> Entry | None:
    if item.is_symlink():
        target = os.path.realpath(item.path)
        if not (os.path.exists(target) and target.startswith(f"{root}/")):
            return None
        return Entry(path, stat.S_IFLNK | 0o777, 0, os.path.relpath(target, os.path.join(root, os.path.dirname(path))))
    if item.is_dir(follow_symlinks=False):
        return Entry(path, stat.S_IFDIR | 0o755)
    about = item.stat(follow_symlinks=False)
    return _file_entry(path, about) if stat.S_ISREG(about.st_mode) else None


def _file_entry(path: str, about: os.stat_result) -> Entry:
    return Entry(path, 0o755 if about.st_mode & 0o111 else 0o644, about.st_size)


def _check_size(folder: str, entries: list[Entry], settings: Settings) -> None:
    total = sum(entry.size for entry in entries)
    if total <= settings.code_limit_bytes:
        return
    sizes: dict[str, int] = {}
    for entry in entries:
        top = PurePosixPath(entry.path).parts[0]
        sizes[top] = sizes.get(top, 0) + entry.size
    largest = sorted(sizes, key=lambda name: -sizes[name])[:_NAMED_AT_MOST]
    named = ", ".join(f"{name} ({size_text(sizes[name])})" for name in largest)
    raise DistpoolError(
        f"{folder} has {size_text(total)}, and at most {size_text(settings.code_limit_bytes)} are sent to nodes; the "
        f"largest in it: {named}; {_REMEDY}"
    )


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str, error: Any) -> DistpoolError:
    return DistpoolError(f"{path} cannot be read ({error.strerror}), so the nodes cannot get it: {_REMEDY}")
