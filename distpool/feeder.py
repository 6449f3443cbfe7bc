"""Feeds the items of `imap` to the workers from a thread of its own: a user's iterator may block."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from distpool.logic.calls import Entry
from distpool.protocol.messages import CallMode
from distpool.results import IMapIterator
from distpool.runtime.session import Workers

AHEAD_LIMIT = 16384
"""Items of one input that are read before their results have come back."""

_GAP = object()
"""Stands in the buffer for an item that could not be pickled, so that the following ones keep their numbers."""


class Feed:
    """One input on its way: items gather in a buffer, and whoever holds the loop takes all that are there at once."""

    def __init__(
        self, workers: Workers, function: Any, items: Iterator[Any], chunksize: int, result: IMapIterator
    ) -> None:
        self._result = result
        self._workers = workers
        self._function = function
        self._items = items if chunksize == 1 else iter(lambda: list(islice(items, chunksize)), [])
        self._mode = CallMode.ITEM if chunksize == 1 else CallMode.CHUNK
        self._chunksize = chunksize
        self._function_id: Any = None
        self._buffer: deque[Entry] = deque()
        self._is_posted = False
        self._first = 0

    def run(self) -> None:
        """On the feed's thread: until the input ends, fails, or the pool is over."""
        sent = 0
        try:
            for item in self._items:
                self._push(sent, item)
                sent += 1
                if sent % AHEAD_LIMIT == 0:
                    self._result.wait_for_demand(sent, AHEAD_LIMIT // 2)
                if self._workers.is_over():
                    break
        except BaseException as error:
            self._result.end(sent, error)
        else:
            self._result.end(sent)

    def _push(self, position: int, item: Any) -> None:
        try:
            entry = self._entry(position, item)
        except Exception as error:
            self._result.fail(position, error)
            entry = _GAP
        self._buffer.append(entry)
        if not self._is_posted:
            self._is_posted = True
            self._workers.post(self._flush)

    def _entry(self, position: int, item: Any) -> Entry:
        if self._mode is CallMode.CHUNK:
            self._function_id, chunk = self._workers.arguments.pickle_chunk(
                self._function, item, position * self._chunksize
            )
            return chunk
        if self._function_id is None:
            self._function_id = self._workers.arguments.function_for_items(self._function)
        return self._workers.arguments.entry(item, position)

    def _flush(self) -> None:
        """By the holder of the loop: hand in what has gathered."""
        self._is_posted = False
        entries: list[Entry] = []
        while self._buffer:
            entry = self._buffer.popleft()
            if entry is _GAP:
                self._submit(entries)
                entries = []
                self._first += 1
            else:
                entries.append(entry)
        self._submit(entries)

    def _submit(self, entries: list[Entry]) -> None:
        if entries:
            self._workers.hand_in(self._function_id, self._mode, entries, self._result, self._first)
            self._workers.take_in()
            self._first += len(entries)


class Feeder:
    """The feeds of one pool. Each has its own thread, so that an input that blocks holds up no other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._when_idle: Callable[[], None] | None = None

    def add(self, feed: Feed) -> None:
        thread = threading.Thread(target=self._run, args=(feed,), name="distpool-feed", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def close(self, when_idle: Callable[[], None]) -> None:
        """Call `when_idle` when the last feed has ended; now, if there is none."""
        with self._lock:
            if self._threads:
                self._when_idle = when_idle
                return
        when_idle()

    def join(self) -> None:
        """Wait for the feeds' threads."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def _run(self, feed: Feed) -> None:
        feed.run()
        with self._lock:
            self._threads.discard(threading.current_thread())
            when_idle = None if self._threads else self._when_idle
        if when_idle is not None:
            when_idle()
