"""How one object lies in a store's memory: a header, and then what is large of a value, each part aligned.

A value is a recipe: the stream of its pickle, in which a large `bytes` is a piece of a segment, and the pieces that are
its buffers. A value that was put has its recipe in its own segment; that of a call travels with the call.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from distpool.base_errors import StoreFull
from distpool.ids import ObjectId
from distpool.objects.known import Known
from distpool.serialization.buffers import LARGE_BYTES, Parts
from distpool.store.addresses import address_of
from distpool.store.memory import Buffer, Memory

_MAGIC = b"distpool"
_HEADER = struct.Struct("<8sQQQ")
"""Magic, the object's id, where its own recipe begins, and how long that is (0: it has none)."""

_ALIGNED = 64


class Piece(NamedTuple):
    """`size` bytes from `start` in the segment of an object, which lies at `offset` in the memory."""

    object: ObjectId
    offset: int
    start: int
    size: int


class Room(NamedTuple):
    """Memory for a new object; `hold` keeps it."""

    object: ObjectId
    offset: int
    warm: int
    hold: Any


Allocate = Callable[[int], Room]
Result = TypeVar("Result")


class Recipe(NamedTuple):
    """A value whose large parts lie in the store; `holds` keep them."""

    stream: list[bytes | Piece]
    buffers: list[Piece]
    holds: list[Any]


def write_whole(
    write: Callable[[Allocate], Result], allocate: Allocate, give_up: Callable[[list[Room]], None]
) -> Result:
    """Have something written with memory from `allocate`. What cannot be written whole is given up, with StoreFull."""
    rooms: list[Room] = []

    def noted(size: int) -> Room:
        rooms.append(allocate(size))
        return rooms[-1]

    try:
        return write(noted)
    except OSError as error:
        give_up(rooms)
        raise StoreFull(f"the system has no memory for the store: {error}") from error


def write_value(parts: Parts, memory: Memory, allocate: Allocate, known: Known) -> Recipe:
    """Store what is large of a value, as one object, but for what is known; the recipe."""
    stream: list[Any] = []
    buffers: list[Any] = []
    holds: list[Any] = []
    new: list[tuple[list[Any], int, tuple[int, int], Buffer]] = []
    planned: dict[tuple[int, int], int] = {}
    same: list[tuple[list[Any], int, int]] = []
    for into, part, is_large in _all_parts(parts, stream, buffers):
        if not is_large:
            into.append(part)
            continue
        key = (address_of(part), len(part))
        found = known.find(key)
        if found is not None:
            into.append(found[0])
            holds.append(found[1])
        elif key in planned:
            same.append((into, len(into), planned[key]))
            into.append(None)
        else:
            planned[key] = len(new)
            new.append((into, len(into), key, part))
            into.append(None)
    if new:
        starts, size = _lay_out([part for *_, part in new])
        room = allocate(size)
        _write(memory, room, 0, 0, starts, [part for *_, part in new])
        holds.append(room.hold)
        for start, (into, position, key, part) in zip(starts, new, strict=True):
            into[position] = piece = Piece(room.object, room.offset, start, len(part))
            known.add(key, piece, room.hold, part)
        for into, position, number in same:
            first, at, *_ = new[number]
            into[position] = first[at]
    return Recipe(stream, buffers, list(dict.fromkeys(holds)))


def write_object(parts: Parts | bytes, memory: Memory, allocate: Allocate) -> tuple[Room, int]:
    """Store a value with its recipe, as one object: where, and its size."""
    stream: list[Any] = []
    buffers: list[Any] = []
    contents: list[Buffer] = []
    places: list[tuple[list[Any], int]] = []
    for into, part, is_large in _all_parts(parts, stream, buffers):
        if is_large:
            places.append((into, len(into)))
            contents.append(part)
        into.append(part)
    starts, end = _lay_out(contents)
    for (into, position), start, content in zip(places, starts, contents, strict=True):
        into[position] = (start, len(content))
    recipe = pickle.dumps((stream, buffers), 5)
    size = end + len(recipe)
    room = allocate(size)
    _write(memory, room, end, len(recipe), [*starts, end], [*contents, recipe])
    return room, size


def read_recipe(segment: memoryview, object_id: ObjectId, offset: int) -> Recipe | None:
    """That of an object that was put, from its segment; None when it does not lie there."""
    magic, found, start, size = _HEADER.unpack(segment[: _HEADER.size])
    if magic != _MAGIC or found != object_id or not size:
        return None
    stream, buffers = pickle.loads(segment[start : start + size])
    return Recipe(
        [part if type(part) is bytes else Piece(object_id, offset, *part) for part in stream],
        [Piece(object_id, offset, *part) for part in buffers],
        [],
    )


def lies_there(memory: Memory, object_id: ObjectId, offset: int) -> bool:
    """Whether the memory there is this object's."""
    magic, found, _, _ = _HEADER.unpack(memory.read(offset, _HEADER.size))
    return bool(magic == _MAGIC and found == object_id)


def moved(recipe: Recipe, places: dict[ObjectId, tuple[ObjectId, int]]) -> Recipe:
    """The recipe with copies of its objects, by (the copy's id, where it lies), in their place."""

    def at_copy(part: bytes | Piece) -> Any:
        return part if type(part) is bytes else Piece(*places[part.object], part.start, part.size)  # type: ignore[union-attr]

    return Recipe([at_copy(part) for part in recipe.stream], [at_copy(piece) for piece in recipe.buffers], recipe.holds)


def readdressed(beginning: memoryview, object_id: ObjectId) -> bytes:
    """The beginning of an object's segment, as that of a copy which has another id."""
    magic, _, start, size = _HEADER.unpack(beginning[: _HEADER.size])
    return _HEADER.pack(magic, object_id, start, size) + bytes(beginning[_HEADER.size :])


class Store(Protocol):
    """What a value is loaded from."""

    def view(self, object_id: ObjectId, offset: int, size: int, *, readonly: bool) -> memoryview:
        """The beginning of an object's segment: a private copy, or else the shared memory itself.

        Raises ObjectLost when it is gone, and StoreFull when it is on disk and has no room in memory.
        """
        ...


Segments = dict[ObjectId, memoryview]


Opened = Callable[[list[bytes | memoryview], list[memoryview]], Any]


def load(
    recipe: Recipe, store: Store, segments: Segments, *, readonly: bool = False, opened: Opened | None = None
) -> Any:
    """The value. Its buffers are the segments' memory; `bytes` and what else has memory of its own are copied.

    `segments`: those that are there already; the others are looked for in the store. `opened`: what makes the value of
    the pickle's stream and its buffers.
    """
    opened = opened or _opened
    pieces = [*recipe.buffers, *(part for part in recipe.stream if not isinstance(part, bytes))]
    ends: dict[tuple[ObjectId, int], int] = {}
    for object_id, offset, start, size in pieces:
        if object_id not in segments:
            ends[object_id, offset] = max(start + size, ends.get((object_id, offset), 0))
    for (object_id, offset), end in ends.items():
        segments[object_id] = store.view(object_id, offset, end, readonly=readonly)
    buffers = [_part_of(segments, piece) for piece in recipe.buffers]
    stream = [part if isinstance(part, bytes) else _part_of(segments, part) for part in recipe.stream]
    segments.clear()
    return opened(stream, buffers)


def _opened(stream: list[bytes | memoryview], buffers: list[memoryview]) -> Any:
    if len(stream) == 1:
        return pickle.loads(stream[0], buffers=buffers)
    return pickle.Unpickler(_StreamReader(stream), buffers=buffers).load()


def _part_of(segments: Segments, piece: Piece) -> memoryview:
    return segments[piece.object][piece.start : piece.start + piece.size]


class _StreamReader:
    """A pickle's stream as a file."""

    def __init__(self, stream: Sequence[bytes | memoryview]) -> None:
        self._rest = list(reversed(stream))
        self._part = memoryview(b"")

    def read(self, size: int) -> bytes:
        target = bytearray(size)
        return bytes(target[: self.readinto(target)])

    def readline(self) -> bytes:
        """Only opcodes of old protocols ask for it, and they are not written."""
        line = bytearray()
        while not line.endswith(b"\n") and (byte := self.read(1)):
            line += byte
        return bytes(line)

    def readinto(self, target: bytearray | memoryview) -> int:
        view = memoryview(target)
        done = 0
        while done < len(view):
            if not self._part:
                if not self._rest:
                    break
                self._part = memoryview(self._rest.pop())
                continue
            count = min(len(view) - done, len(self._part))
            view[done : done + count] = self._part[:count]
            self._part = self._part[count:]
            done += count
        return done


def _all_parts(parts: Parts | bytes, stream: list[Any], buffers: list[Any]) -> Any:
    """(the list where it belongs, the part, whether it leaves the pickle)"""
    if type(parts) is bytes:
        yield stream, parts, False
        return
    small: list[bytes] = []
    for part in parts.stream:  # type: ignore[union-attr]
        if len(part) < LARGE_BYTES:
            small.append(part)
            continue
        if small:
            yield stream, b"".join(small), False
            small = []
        yield stream, part, True
    if small:
        yield stream, b"".join(small), False
    for buffer in parts.buffers:  # type: ignore[union-attr]
        yield buffers, buffer, True


def _lay_out(contents: Sequence[Buffer]) -> tuple[list[int], int]:
    """Where each begins in the segment, and where the last one ends."""
    starts = []
    end = _HEADER.size
    for content in contents:
        start = -(-end // _ALIGNED) * _ALIGNED
        starts.append(start)
        end = start + len(content)
    return starts, end


def _write(
    memory: Memory, room: Room, recipe_at: int, recipe_bytes: int, starts: Sequence[int], contents: Sequence[Buffer]
) -> None:
    run: list[Buffer] = [_HEADER.pack(_MAGIC, room.object, recipe_at, recipe_bytes)]
    end = _HEADER.size
    for start, content in zip(starts, contents, strict=True):
        if start > end:
            run.append(bytes(start - end))
        run.append(content)
        end = start + len(content)
    memory.write(room.offset, run, room.warm)
