"""Results in memory shared by a worker and its caller, so that a finished call is known even when its worker is killed.

One writer, one reader. Positions only grow; each side writes only its own words of the header. A record is eight bytes
of kind and length and then the payload, padded to eight bytes, so that the eight never cross the end.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable

PAGE = mmap.PAGESIZE
_WRITTEN, _READ, _WRITER_WAITS, _BUSY_NS, _ITEMS_BEGUN, _READER_LOOKS, _LOGGED, _INTERRUPT, _HAS_WAY_UP, _ITEMS_TOLD = (
    range(10)
)
_HEARD = 1 << 63
_RECORD = struct.Struct("<II")
SMALL_BYTES = 256
_SMALL_HEADERS = [_RECORD.pack(0, size) for size in range(SMALL_BYTES + 1)]


NUMBERED = 1 << 16
"""Added to a record's kind: its payload begins with the number of the call, which need not be the oldest."""
_NUMBER_BYTES = 8


def with_number(kind: int, number: int, payload: bytes) -> tuple[int, bytes]:
    """The record of a call that runs beside others."""
    return kind | NUMBERED, number.to_bytes(_NUMBER_BYTES, "little") + payload


def without_number(kind: int, payload: bytes) -> tuple[int, int, bytes]:
    """(kind, number, payload) of such a record."""
    return kind & ~NUMBERED, int.from_bytes(payload[:_NUMBER_BYTES], "little"), payload[_NUMBER_BYTES:]


def ring_size(data_bytes: int) -> int:
    """The bytes that a ring takes in its memory file: a page of header, and the data in whole pages."""
    return PAGE + -(-data_bytes // PAGE) * PAGE


class Ring:
    """One end of a ring that lies at `offset` of the memory file `fd`. `data_bytes` is its capacity."""

    def __init__(self, fd: int, offset: int, data_bytes: int) -> None:
        self._capacity = ring_size(data_bytes) - PAGE
        self._map = mmap.mmap(fd, ring_size(data_bytes), offset=offset)
        self._view = memoryview(self._map)
        self._words = self._view[:128].cast("Q")
        # One word: how many items of the chunk that runs have begun. A worker sets it before each of them.
        self.items = self._view[8 * _ITEMS_BEGUN : 8 * _ITEMS_BEGUN + 8].cast("Q")

    def clear(self) -> None:
        """Before a new worker gets it."""
        for word in range(_ITEMS_TOLD + 1):
            self._words[word] = 0

    def close(self) -> None:
        self._words.release()
        self.items.release()
        self._view.release()
        self._map.close()

    def written_to(self) -> int:
        """Bytes that were ever written."""
        return self._words[_WRITTEN]

    def read_to(self) -> int:
        """Bytes that were ever read."""
        return self._words[_READ]

    # The worker's side ----------------------------------------------------------------------------------------------

    def write(self, kind: int, payload: bytes, busy_ns: int) -> bool:
        """Append a record; False when there is no room for it now. `busy_ns`: time in calls since the start."""
        size = len(payload)
        words = self._words
        position = words[_WRITTEN]
        needed = 8 + (size + 7 & ~7)
        if needed > self._capacity - position + words[_READ]:
            return False
        at = position % self._capacity + PAGE
        ring = self._map
        end = self._capacity + PAGE
        record = _RECORD.pack(kind, size) + payload
        if at + 8 + size <= end:
            ring[at : at + 8 + size] = record
        else:
            head = end - at
            ring[at:end] = record[:head]
            ring[PAGE : PAGE + 8 + size - head] = record[head:]
        words[_BUSY_NS] = busy_ns
        # The position comes last: a reader, or one that comes after the writer was killed, sees whole records only.
        words[_WRITTEN] = position + needed
        return True

    def small_writer(self) -> Callable[[bytes, int], bool]:
        """A quicker `write` for payloads of kind 0 and at most SMALL_BYTES bytes.

        It keeps its place by itself: nothing else may write while it is in use.
        """
        words, ring, capacity, end = self._words, self._map, self._capacity, self._capacity + PAGE
        headers = _SMALL_HEADERS
        position = words[_WRITTEN]
        at = position % capacity + PAGE
        full_at = words[_READ] + capacity

        def write(payload: bytes, busy_ns: int) -> bool:
            nonlocal position, at, full_at
            size = len(payload)
            step = size + 15 & ~7
            if position + step > full_at:
                full_at = words[_READ] + capacity
                if position + step > full_at:
                    return False
            if at + step >= end:
                if not self.write(0, payload, busy_ns):
                    return False
                position += step
                at = position % capacity + PAGE
                return True
            ring[at : at + 8 + size] = headers[size] + payload
            at += step
            position += step
            words[_BUSY_NS] = busy_ns
            words[_WRITTEN] = position
            return True

        return write

    def is_half_full(self) -> bool:
        return (self._words[_WRITTEN] - self._words[_READ]) * 2 > self._capacity

    def has_records(self) -> bool:
        """Either side: something was written that the reader has not taken."""
        return self._words[_WRITTEN] != self._words[_READ]

    def reader_looks(self) -> bool:
        """The reader watches the ring in this moment, and need not be told of what was written."""
        return self._words[_READER_LOOKS] == 1

    def note_log_record(self) -> None:
        """A log record was sent by the lane; whoever finds later results here reads it first."""
        self._words[_LOGGED] += 1

    def note_items(self) -> None:
        """Items of a generator were sent by the lane; whoever finds later results here reads them first. By one thread
        at a time."""
        self._words[_ITEMS_TOLD] += 1

    def note_way_up(self) -> None:
        """The way up was sent by the lane; whoever finds later results here reads it first."""
        self._words[_HAS_WAY_UP] = 1

    def is_interrupted(self) -> bool | None:
        """Whether the call that runs now is the one to be interrupted, and has not heard of it; None: no call here ever
        was. Signals that come later, or twice, are of a call that has."""
        mark = self._words[_INTERRUPT]
        return mark == self._words[_WRITTEN] + 1 if mark else None

    def hear_interrupt(self) -> None:
        """The call that runs was interrupted."""
        self._words[_INTERRUPT] |= _HEARD

    def wait_for_room(self) -> None:
        """Ask the reader to say when it has read."""
        self._words[_WRITER_WAITS] = 1

    # The caller's side ----------------------------------------------------------------------------------------------

    def frames_told(self) -> int:
        """How many frames with log records or items the writer has sent by the lane."""
        return self._words[_LOGGED] + self._words[_ITEMS_TOLD]

    def has_way_up(self) -> bool:
        """The writer has sent its way up by the lane."""
        return self._words[_HAS_WAY_UP] == 1

    def look(self, *, on: bool) -> None:
        """Say that the ring is being watched, or is not any more; after the latter, look once more."""
        self._words[_READER_LOOKS] = on

    def mark_interrupt(self) -> bool:
        """Have the call interrupted whose result is to be the next that is read, if it is not written yet; False: that
        was heard already."""
        mark = self._words[_READ] + 1
        if self._words[_INTERRUPT] == _HEARD | mark:
            return False
        self._words[_INTERRUPT] = mark
        return True

    def let_interrupts(self) -> None:
        """Have whatever call runs interrupted: all that the worker does is to end. As if no call ever was."""
        self._words[_INTERRUPT] = 0

    def read_all(self) -> list[tuple[int, bytes]]:
        """Remove all records: (kind, payload)."""
        words = self._words
        position, written = words[_READ], words[_WRITTEN]
        if position == written:
            return []
        # One copy of it all: to cut bytes is cheaper than to cut the mapping.
        start, stop = position % self._capacity + PAGE, written % self._capacity + PAGE
        end = self._capacity + PAGE
        data = self._map[start:stop] if start < stop else self._map[start:end] + self._map[PAGE:stop]
        records = []
        unpack = _RECORD.unpack_from
        at, length = 0, len(data)
        while at < length:
            kind, size = unpack(data, at)
            at += 8
            records.append((kind, data[at : at + size]))
            at += size + 7 & ~7
        words[_READ] = written
        return records

    def busy_ns(self) -> int:
        """Time that the worker has spent in calls, in nanoseconds."""
        return self._words[_BUSY_NS]

    def items_begun(self) -> int:
        """Of the chunk that the worker runs, or ran last."""
        return self.items[0]

    def take_wait(self) -> bool:
        """Whether the writer waits for room; asked once."""
        if not self._words[_WRITER_WAITS]:
            return False
        self._words[_WRITER_WAITS] = 0
        return True
