"""A pickle in pieces: what is large leaves it, uncopied, to be stored apart.

Buffers leave by pickle's protocol 5. Large `bytes` have no such way, but the pickler writes them as they are.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable

from distpool.serialization.pickling import (
    PICKLE_ERRORS,
    Leave,
    MainView,
    Write,
    extended_pickler,
    standard_pickler,
    update_reducers,
)

LARGE_BYTES = 64 * 1024
"""From this size on a buffer leaves the pickle. What is made of many small values stays in it, whatever its size."""


_FRAME = pickle.FRAME[0]


class Parts:
    """The pieces of one pickle, in order, and the buffers that left it, as flat views of bytes."""

    __slots__ = ("buffers", "stream")

    def __init__(self, stream: list[bytes], buffers: list[memoryview]) -> None:
        self.stream = stream
        self.buffers = buffers


class _Collector:
    """What a pickler writes, and the buffers that leave it."""

    def __init__(self) -> None:
        self.stream: list[bytes] = []
        self.buffers: list[memoryview] = []

    def stays(self, buffer: pickle.PickleBuffer) -> bool:
        """Whether a buffer stays in the pickle."""
        try:
            view = buffer.raw()
        except BufferError:
            return True  # not contiguous: pickle says so
        if view.nbytes < LARGE_BYTES:
            return True
        self.buffers.append(view)
        return False

    def take(self) -> bytes | Parts:
        """What was pickled."""
        stream, buffers = self.stream, self.buffers
        if len(stream) == 1 and not buffers:
            return stream[0]
        if buffers or any(len(part) >= LARGE_BYTES and not _is_frame(part) for part in stream):
            return Parts(list(stream), list(buffers))
        return b"".join(stream)


def _is_frame(part: bytes) -> bool:
    """A part that the pickler has made, of many small values, and not a large value itself."""
    start = 2 if part.startswith(b"\x80\x05") else 0
    return part[start] == _FRAME and int.from_bytes(part[start + 1 : start + 9], "little") == len(part) - start - 9


class _Reused(threading.local):
    """One pickler of each thread, which is used again and again: to make one takes longer than to pickle little."""

    def __init__(self) -> None:
        self.collector = _Collector()
        self.pickler = standard_pickler(self.collector.stream.append, self.collector.stays)
        self.is_busy = False


_reused = _Reused()


def standard_parts(value: object) -> bytes | Parts:
    """A pickle by the standard pickler, or its parts when it is large. Raises what pickle raises."""
    reused = _reused
    if reused.is_busy:  # by code of the value's own
        return _collect(standard_pickler, value)
    reused.is_busy = True
    pickler, collector = reused.pickler, reused.collector
    try:
        update_reducers(pickler)
        pickler.dump(value)
        return collector.take()
    finally:
        pickler.clear_memo()
        collector.stream.clear()
        if collector.buffers:
            collector.buffers.clear()
        reused.is_busy = False


def parts_of(value: object, main: MainView) -> bytes | Parts:
    """A pickle, or its parts when it is large: by reference first, by value what cannot be imported. Raises what the
    standard pickler raises."""
    first_error: Exception | None = None
    if main.complete:
        try:
            return standard_parts(value)
        except PICKLE_ERRORS as error:
            first_error = error
    try:
        return extended_parts(value, main)
    except PICKLE_ERRORS as error:
        raise first_error or error from None
    finally:
        # It refers to this frame, and so to whoever pickles: a cycle that would keep what was stored.
        first_error = None


def extended_parts(value: object, main: MainView) -> bytes | Parts:
    """A pickle, or its parts when it is large, with what the worker could not find by value. Raises what cloudpickle
    raises."""
    return _collect(lambda write, leave: extended_pickler(write, main, leave), value)


def _collect(make: Callable[[Write, Leave], pickle.Pickler], value: object) -> bytes | Parts:
    collector = _Collector()
    make(collector.stream.append, collector.stays).dump(value)
    return collector.take()
