"""A pickle in pieces: what is large leaves it, uncopied, to be stored apart.

Buffers leave by pickle's protocol 5. Large `bytes` have no such way, but the pickler writes them as they are.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable

from distpool.serialization.pickling import PICKLE_ERRORS, Leave, MainView, Write, extended_pickler, standard_pickler

LARGE_BYTES = 64 * 1024
"""From this size on a buffer leaves the pickle."""


class Parts:
    """The pieces of one pickle, in order, and the buffers that left it, as flat views of bytes."""

    __slots__ = ("buffers", "stream")

    def __init__(self, stream: list[bytes], buffers: list[memoryview]) -> None:
        self.stream = stream
        self.buffers = buffers


def standard_parts(value: object) -> bytes | Parts:
    """A pickle by the standard pickler, or its parts when it is large. Raises what pickle raises."""
    return _collect(standard_pickler, value)


def parts_of(value: object, main: MainView) -> bytes | Parts:
    """A pickle, or its parts when it is large: by reference first, by value what cannot be imported. Raises what the
    standard pickler raises."""
    first_error: Exception | None = None
    if main.complete:
        try:
            return _collect(standard_pickler, value)
        except PICKLE_ERRORS as error:
            first_error = error
    try:
        return extended_parts(value, main)
    except PICKLE_ERRORS as error:
        raise first_error or error from None


def extended_parts(value: object, main: MainView) -> bytes | Parts:
    """A pickle, or its parts when it is large, with what the worker could not find by value. Raises what cloudpickle
    raises."""
    return _collect(lambda write, leave: extended_pickler(write, main, leave), value)


def _collect(make: Callable[[Write, Leave], pickle.Pickler], value: object) -> bytes | Parts:
    stream: list[bytes] = []
    buffers: list[memoryview] = []

    def stays(buffer: pickle.PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        except BufferError:
            return True  # not contiguous: pickle says so
        if view.nbytes < LARGE_BYTES:
            return True
        buffers.append(view)
        return False

    make(stream.append, stays).dump(value)
    if not buffers:
        if len(stream) == 1:
            if len(stream[0]) < LARGE_BYTES:
                return stream[0]
        elif sum(map(len, stream)) < LARGE_BYTES:
            return b"".join(stream)
    return Parts(stream, buffers)
