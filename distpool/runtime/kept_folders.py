"""Folders that are made once and kept under a key, for several processes, up to a limit: what was used last stays.

Beside each folder lies a file that is its lock, and that holds its size in bytes once it is complete. Whoever uses the
folder holds the lock shared; whoever makes or removes it holds it alone. So nobody sees half a folder, however its
maker ended, and none is removed that is in use.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from distpool.base_errors import DistpoolError
from distpool.transport.private_files import make_private_folder

_LOCK = ".lock"


class Hold:
    """The right to use a folder, until `release`, or the end of the process."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def release(self) -> None:
        os.close(self._lock)


class KeptFolders:
    """Used by any thread. Every method may wait for another process that makes the same folder."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        """`folder`: made when it is needed, with mode 0700."""
        self._folder = folder
        self._limit_bytes = limit_bytes

    def hold(self, key: str) -> Hold | None:
        """None: it was not made yet, or not kept. Raises DistpoolError when the folder of all is not private."""
        make_private_folder(self._folder)
        lock = self._locked(key, fcntl.LOCK_SH)
        if os.fstat(lock).st_size == 0:
            os.close(lock)
            return None
        os.utime(lock)
        return Hold(self._folder / key, lock)

    def hold_or_make(self, key: str, make: Callable[[Path], None]) -> Hold:
        """`make` is given the path where the folder is to be. Raises what it raises, and nothing is left then."""
        while (held := self.hold(key)) is None:
            lock = self._locked(key, fcntl.LOCK_EX)
            try:
                if os.fstat(lock).st_size == 0:
                    self._make(self._folder / key, lock, make)
            finally:
                os.close(lock)
        self.remove_old()
        return held

    def _make(self, path: Path, lock: int, make: Callable[[Path], None]) -> None:
        _remove_tree(path)  # of a maker that was killed
        try:
            make(path)
        except BaseException:
            _remove_tree(path)
            raise
        size = max(1, _size_of(path))
        if size > self._limit_bytes:
            _remove_tree(path)
            raise DistpoolError(f"it has {size} bytes on disk, and no more than {self._limit_bytes} are kept")
        os.write(lock, str(size).encode())

    def remove_old(self) -> None:
        """Down to the limit, but for those in use; and what makers have left that were killed."""
        if not self._folder.is_dir():
            return
        total = 0
        for key, _ in sorted(self._used_at().items(), key=lambda item: -item[1]):
            size = self._size(key)
            total += size
            if size == 0 or total > self._limit_bytes:
                self._remove(key)

    def _used_at(self) -> dict[str, int]:
        found = {}
        for item in os.scandir(self._folder):
            if item.name.endswith(_LOCK):
                try:
                    found[item.name.removesuffix(_LOCK)] = item.stat(follow_symlinks=False).st_mtime_ns
                except FileNotFoundError:
                    continue  # another process has removed it
        return found

    def _size(self, key: str) -> int:
        try:
            return int(self._lock_of(key).read_text() or "0")
        except FileNotFoundError:
            return 0

    def _remove(self, key: str) -> None:
        """Unless somebody uses it."""
        try:
            lock = os.open(self._lock_of(key), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            _remove_tree(self._folder / key)
            os.unlink(self._lock_of(key))
        except BlockingIOError:
            pass
        finally:
            os.close(lock)

    def _locked(self, key: str, how: int) -> int:
        while True:
            lock = os.open(self._lock_of(key), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, how)
            if os.fstat(lock).st_nlink:
                return lock
            os.close(lock)  # it was removed while it was waited for

    def _lock_of(self, key: str) -> Path:
        return self._folder / f"{key}{_LOCK}"


def _size_of(folder: Path) -> int:
    """What its files take on disk."""
    total = 0
    for below, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            total += os.lstat(os.path.join(below, name)).st_blocks * 512
    return total


def _remove_tree(path: Path) -> None:
    """Folders in it may be closed for writing."""
    if not path.exists():
        return
    for below, _, _ in os.walk(path):
        os.chmod(below, 0o700)
    shutil.rmtree(path)
