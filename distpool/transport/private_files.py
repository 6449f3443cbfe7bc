"""Files and folders that only their owner may read: made so, and not used when they are not."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from distpool.base_errors import DistpoolError

_LARGEST_FILE = 1 << 20


def make_private_folder(path: Path) -> None:
    """Make it, with mode 0700, if it is missing. Raises DistpoolError when it is not this user's own or not private."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DistpoolError(f"the folder {path} cannot be made: {error.strerror}") from None
    about = path.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise DistpoolError(f"{path} must be a folder of mode 0700 that belongs to user {os.getuid()}")


def read_private(path: Path) -> str:
    """The text of a file of mode 0600. Raises DistpoolError when others may read it, or it is another user's; and
    FileNotFoundError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DistpoolError(f"{path} cannot be read: {error.strerror}") from error
    with open(descriptor, encoding="utf-8", errors="replace") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
            raise DistpoolError(
                f"{path} holds secrets: it must be a file of mode 0600 that belongs to user {os.getuid()}; "
                f"it has mode {stat.S_IMODE(about.st_mode):04o} and belongs to user {about.st_uid}"
            )
        if about.st_size > _LARGEST_FILE:
            raise DistpoolError(f"{path} has {about.st_size} bytes; it should have a few hundred")
        return file.read()


def write_private(path: Path, text: str, *, replace: bool = False) -> None:
    """Write a file of mode 0600, whole or not at all. Raises FileExistsError, unless it may `replace` what is there."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mkstemp gives it mode 0600
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        if replace:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)
    finally:
        if not replace or os.path.exists(temporary):
            os.unlink(temporary)
