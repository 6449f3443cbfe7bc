"""Values whose large parts travel in their pickle, where the store has no room for them."""

from __future__ import annotations

import pickle
from typing import Any

from distpool.objects.stores import reading
from distpool.serialization.buffers import Parts


class _Whole:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def __reduce__(self) -> Any:
        buffers = [bytearray(buffer) for buffer in self._parts.buffers]  # writable, where they arrive
        return load_whole, (b"".join(self._parts.stream), buffers)


def whole(parts: Parts | bytes) -> bytes:
    """One pickle."""
    return parts if type(parts) is bytes else pickle.dumps(_Whole(parts), 5)  # type: ignore[arg-type]


def whole_of(pickled: bytes) -> bytes:
    """Of a pickle whose large parts lie in a store: the same with them in it. The value itself is not opened. Raises
    ObjectLost, StoreFull and InvalidRef."""
    with reading(readonly=True, opened=lambda stream, buffers: whole(Parts(stream, buffers))):
        return pickle.loads(pickled)  # type: ignore[no-any-return]


def load_whole(stream: bytes, buffers: list[bytearray]) -> Any:
    """Where such a pickle is opened."""
    return pickle.loads(stream, buffers=buffers)
