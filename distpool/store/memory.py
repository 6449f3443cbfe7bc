"""A store's shared memory: one sparse memfd. Nobody can guess it, and it is gone with the last process that has it.

Offsets in it are addresses, of which there are enough for good; pages are there where something was written. A write to
fresh pages goes through the kernel, which reports a full machine as an error; a write to warm ones through a mapping
that is kept, at twice the speed.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence

from distpool.store.libc import LIBC
from distpool.store.mappings import Mappings

Buffer = bytes | bytearray | memoryview

_PUNCH_HOLE = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
_IOV_LIMIT = 512
# A copy holds the interpreter's lock: between two pieces other threads get their turn.
_PIECE_BYTES = 8 * 1024 * 1024
_MAPPED_FROM = 256 * 1024
"""Smaller writes do not gain from a mapping."""


class Memory:
    """One process's view of a store's memory. Any thread may use it; who writes where is decided elsewhere."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.mappings = Mappings(descriptor)

    def write(self, offset: int, buffers: Sequence[Buffer], warm: int) -> None:
        """Copy the buffers there, one behind the other. `warm`: how many bytes from there on have pages.

        Raises OSError when the system has no pages left.
        """
        size = sum(map(len, buffers))
        if size > warm or size < _MAPPED_FROM:
            write_all(self.descriptor, offset, buffers)
            return
        with self.mappings.writer(offset, size) as target:
            at = 0
            for buffer in buffers:
                for start in range(0, len(buffer), _PIECE_BYTES):
                    piece = buffer[start : start + _PIECE_BYTES]
                    target[at : at + len(piece)] = piece
                    at += len(piece)

    def read(self, offset: int, size: int) -> bytes:
        """A copy of so many bytes. Where nothing was written they are zeros."""
        if size <= _PIECE_BYTES:
            return os.pread(self.descriptor, size, offset)
        target = bytearray(size)
        self.read_into(offset, memoryview(target))
        return bytes(target)

    def read_into(self, offset: int, target: memoryview) -> None:
        """Copy as many bytes as the target has."""
        while target:
            count = os.preadv(self.descriptor, [target], offset)
            target = target[count:]
            offset += count

    def view(self, offset: int, size: int, on_end: Callable[[], object], *, readonly: bool) -> memoryview:
        """What lies there, mapped (see `Mappings.view`), or a copy when this process can have no more mappings."""
        try:
            return self.mappings.view(offset, size, on_end, readonly=readonly)
        except OSError:
            copy = memoryview(bytearray(self.read(offset, size)))
            on_end()
            return copy.toreadonly() if readonly else copy

    def give_back(self, offset: int, size: int) -> None:
        """Free the pages there."""
        self.mappings.forget(offset)
        punch_hole(self.descriptor, offset, size)

    def close(self) -> None:
        self.mappings.close()
        os.close(self.descriptor)


def write_all(descriptor: int, offset: int, buffers: Sequence[Buffer]) -> None:
    """Write the buffers one behind the other. Raises OSError."""
    for first in range(0, len(buffers), _IOV_LIMIT):
        run = [memoryview(buffer) for buffer in buffers[first : first + _IOV_LIMIT]]
        while run:
            written = os.pwritev(descriptor, run, offset)
            offset += written
            while run and written >= len(run[0]):
                written -= len(run.pop(0))
            if run:
                run[0] = run[0][written:]


def punch_hole(descriptor: int, offset: int, size: int) -> None:
    """Give back the space of a part of a file, which is zeros then. Raises OSError."""
    if LIBC.fallocate(descriptor, _PUNCH_HOLE, offset, size):
        raise OSError(ctypes.get_errno(), f"fallocate of {size} bytes at {offset} failed")
