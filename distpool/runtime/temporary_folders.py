"""Temporary folders that belong to one process, which holds a lock in them: so it is known which are left behind."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "distpool-"
_LOCK = "lock"
_SETTLED_S = 60.0
"""The lock of a folder that is younger may be taken in this moment."""


class TemporaryFolder:
    """A new one, of mode 0700."""

    def __init__(self, kind: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}-"))
        self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        """With all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def abandoned_folders(parents: set[Path], now: float | None = None) -> Iterator[Path]:
    """Folders like these of this user, right below the parents, whose process has ended. `now`: as files have it."""
    oldest = (time.time() if now is None else now) - _SETTLED_S
    for parent in parents:
        for path in parent.glob(f"{PREFIX}*"):
            try:
                about = path.lstat()
                is_private = stat.S_ISDIR(about.st_mode) and not about.st_mode & 0o077
                if (
                    is_private
                    and about.st_uid == os.getuid()
                    and about.st_mtime < oldest
                    and not is_locked(path / _LOCK)
                ):
                    yield path
            except OSError:
                continue  # it has no lock, or has just gone


def is_locked(path: Path) -> bool:
    """Some process holds the lock, if only with others. Raises OSError when there is no such file."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
