"""Objects on disk: in files without names, so that nothing is left of them however their process ends.

A checksum of each object is kept here and compared when it is read back.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from typing import NamedTuple

from distpool.store.memory import Memory, punch_hole, write_all

PREFIX = "distpool-spill-"
"""Of the name that a file has for a moment where it cannot do without one."""

_PIECE_BYTES = 16 * 1024 * 1024
_FILE_BYTES = 1 << 40
"""A file that has grown to this is followed by another: file systems have a limit."""


class _File:
    """One file, and how many objects lie in it."""

    def __init__(self, folder: str) -> None:
        self.descriptor = _open_nameless(folder)
        self.end = 0
        self.objects = 0


class _Place(NamedTuple):
    file: _File
    at: int
    size: int
    checksum: int


class Spill:
    """What one store has on disk, by the offset that it has in memory. Used with the store's lock held."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._file: _File | None = None
        self._places: dict[int, _Place] = {}

    def write(self, memory: Memory, offset: int, size: int) -> None:
        """Copy from the memory. Raises OSError, with nothing changed, when the disk is full."""
        file = self._file
        if file is None or file.end >= _FILE_BYTES:
            file = self._file = _File(self.folder)
        checksum = 0
        try:
            for start, length in _pieces(size):
                piece = memory.read(offset + start, length)
                checksum = zlib.crc32(piece, checksum)
                write_all(file.descriptor, file.end + start, [piece])
        except OSError:
            punch_hole(file.descriptor, file.end, size)
            raise
        self._places[offset] = _Place(file, file.end, size, checksum)
        file.end += size
        file.objects += 1

    def read(self, memory: Memory, offset: int) -> bool:
        """Copy back to the memory; False when it is not what was written. Raises OSError. It stays until `remove`."""
        file, at, size, checksum = self._places[offset]
        found = 0
        for start, length in _pieces(size):
            piece = os.pread(file.descriptor, length, at + start)
            found = zlib.crc32(piece, found)
            write_all(memory.descriptor, offset + start, [piece])
        return found == checksum

    def copy(self, offset: int, size: int) -> bytearray:
        """The first `size` bytes of what lies there. Raises OSError, also when it is not what was written."""
        file, at, whole, checksum = self._places[offset]
        copy = bytearray(whole)
        view = memoryview(copy)
        for start, length in _pieces(whole):
            view[start : start + length] = os.pread(file.descriptor, length, at + start)
        if zlib.crc32(copy) != checksum:
            raise OSError("it was damaged on disk")
        view.release()
        del copy[size:]
        return copy

    def remove(self, offset: int) -> None:
        """It was freed, or lies in memory again."""
        file, at, size, _ = self._places.pop(offset)
        file.objects -= 1
        if file.objects:
            punch_hole(file.descriptor, at, size)
            return
        os.close(file.descriptor)
        if file is self._file:
            self._file = None

    def close(self) -> None:
        files = {place.file.descriptor for place in self._places.values()}
        if self._file is not None:
            files.add(self._file.descriptor)
        for descriptor in files:
            os.close(descriptor)


def default_folder() -> str:
    """Where large temporary files belong; /tmp is memory on some systems."""
    return "/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir()


def _open_nameless(folder: str) -> int:
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except IsADirectoryError:  # this file system lacks them: a name for a moment
        descriptor, path = tempfile.mkstemp(prefix=PREFIX, dir=folder)
        os.unlink(path)
        return descriptor


def _pieces(size: int) -> list[tuple[int, int]]:
    return [(start, min(_PIECE_BYTES, size - start)) for start in range(0, size, _PIECE_BYTES)]
