"""A package of a driver's becomes a folder of a node's. Nothing is written outside of it, whatever the archive says."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO

from distpool.base_errors import DistpoolError
from distpool.runtime.packages import hash_of

_BLOCK_BYTES = 1024 * 1024


def check_hash(file: IO[bytes], expected: str) -> None:
    """Raises DistpoolError for a package that has another hash."""
    found = hash_of(file)
    if found != expected:
        raise DistpoolError(f"a package of hash {found} came, where {expected} was expected")


def unpack(file: IO[bytes], folder: Path) -> None:
    """Make the folder. All programs with the same content share it, so files are made to be read only.

    Raises DistpoolError that names an entry that no package of ours has, and OSError.
    """
    file.seek(0)
    folder.mkdir(mode=0o700)
    folders = {PurePosixPath(".")}
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for entry in archive:
                path = PurePosixPath(entry.name)
                _check(entry, path, folders)
                _make(archive, entry, folder / path)
                if entry.isdir():
                    folders.add(path)
    except tarfile.TarError as error:
        raise DistpoolError(f"a package is damaged: {error}") from None
    for path in sorted(folders, reverse=True):
        os.chmod(folder / path, 0o555)


def _check(entry: tarfile.TarInfo, path: PurePosixPath, folders: set[PurePosixPath]) -> None:
    """What it lies in has to come before it, and as a folder: so nothing is written through a link."""
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in entry.name:
        raise DistpoolError(f"a package has an entry outside of its folder: {entry.name!r}")
    if path.parent not in folders:
        raise DistpoolError(f"a package has the entry {entry.name!r} before its folder")
    if not (entry.isreg() or entry.isdir() or entry.issym()) or entry.issparse():
        raise DistpoolError(f"a package has {entry.name!r}, which is neither a file nor a folder nor a link")
    if entry.issym():
        target = os.path.normpath(os.path.join(path.parent, entry.linkname))
        if os.path.isabs(target) or target.split(os.sep)[0] == "..":
            raise DistpoolError(f"a package has the link {entry.name!r}, which leads out of its folder")


def _make(archive: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> None:
    if entry.isdir():
        path.mkdir(mode=0o700)
    elif entry.issym():
        path.symlink_to(entry.linkname)
    else:
        mode = 0o555 if entry.mode & 0o111 else 0o444
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        content = archive.extractfile(entry)
        with open(descriptor, "wb") as file:
            while content is not None and (block := content.read(_BLOCK_BYTES)):
                file.write(block)
