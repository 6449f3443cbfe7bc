"""Feeds the items of `imap` to the workers from a thread of its own: a user's iterator may block."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from distpool.interrupts import deferred
from distpool.logic.calls import CallOptions, Entry
from distpool.options import check_repeatable
from distpool.protocol.messages import CallMode
from distpool.results import IMapIterator
from distpool.runtime.workers import Workers
from distpool.serialization.functions import name_of
from distpool.serialization.pickling import SCALARS

AHEAD_LIMIT = 16384
"""Items of one input that are read before their results have come back."""

_LOOK_EVERY = 16
"""Items of a quick input between two looks at whether any more are wanted."""

_GAP = object()
"""Stands in the buffer for an item that could not be pickled, so that the following ones keep their numbers."""


class Feed:
    """One input on its way: items gather in a buffer, and whoever holds the loop takes all that are there at once.

    `buffersize`: how many items may be read beyond those whose results have been taken, at least one chunk of them;
    None leaves it to the workers.
    """

    def __init__(
        self,
        workers: Workers,
        function: Any,
        items: Iterator[Any],
        chunksize: int,
        result: IMapIterator,
        options: CallOptions,
        buffersize: int | None,
    ) -> None:
        self._result = result
        self._workers = workers
        self._function = function
        self._items = items if chunksize == 1 else iter(lambda: list(islice(items, chunksize)), [])
        self._mode = CallMode.ITEM if chunksize == 1 else CallMode.CHUNK
        self._chunksize = chunksize
        self._options = options
        self._most = None if buffersize is None else buffersize // chunksize
        self._taken = 0
        self._function_id: Any = None
        self._buffer: deque[Entry] = deque()
        self._is_posted = False
        self._is_stopped = False
        self._first = 0

    def run(self) -> None:
        """On the feed's thread: until the input ends, fails, is wanted no more, or the pool is over."""
        sent = 0
        look_at = 0
        demand_at = AHEAD_LIMIT
        plain: frozenset[object] = frozenset() if self._mode is CallMode.CHUNK else SCALARS
        append = self._buffer.append
        try:
            self._wait_for_room(0)
            for item in self._items:
                if type(item) in plain and self._function_id:
                    append(item)
                    if not self._is_posted:
                        self._post()
                        look_at = 0
                else:
                    self._push(sent, item)
                sent += 1
                if sent < look_at:
                    continue
                # Now and then, unless somebody counts the items.
                look_at = sent + (_LOOK_EVERY if self._most is None else 1)
                if sent >= demand_at:
                    demand_at = sent + AHEAD_LIMIT
                    self._result.wait_for_demand(sent, AHEAD_LIMIT // 2)
                self._wait_for_room(sent)
                if self._is_stopped or self._workers.is_over():
                    break
        except BaseException as error:
            self._result.end(sent, error)
        else:
            self._result.end(sent)

    def stop(self) -> None:
        """Nobody wants more of it."""
        self._is_stopped = True
        self._result.notify()

    def note_taken(self, count: int) -> None:
        """So many results, or chunks of them, have been taken in all."""
        self._taken = count
        self._result.notify()

    def _wait_for_room(self, sent: int) -> None:
        most = self._most
        if most is not None:
            self._result.wait_until(lambda: sent - self._taken < most or self._is_stopped)

    def _push(self, position: int, item: Any) -> None:
        try:
            entry = self._entry(position, item)
        except Exception as error:
            self._result.fail(position, error)
            entry = _GAP
        self._buffer.append(entry)
        if not self._is_posted:
            self._post()

    def _post(self) -> None:
        self._is_posted = True
        self._workers.post(self._flush)

    def _entry(self, position: int, item: Any) -> Entry:
        if self._options.retries:
            items = [item] if self._mode is CallMode.ITEM else item
            check_repeatable(
                self._options,
                ((f"item {number}", each) for number, each in enumerate(items, position * self._chunksize)),
            )
        if self._mode is CallMode.CHUNK:
            self._function_id, chunk = self._workers.arguments.pickle_chunk(
                self._function, item, position * self._chunksize
            )
            return chunk
        if self._function_id is None:
            self._function_id = self._workers.arguments.function_for_items(self._function)
        return self._workers.arguments.entry(self._function_id, self._function, item, position)

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
            self._workers.hand_in(
                self._function_id,
                self._mode,
                entries,
                self._result,
                self._first,
                self._options,
                "" if self._function_id else name_of(self._function),
                self._chunksize,
            )
            self._workers.take_in()
            self._first += len(entries)


class Bounded:
    """The results of an input that is read only as they are taken; with it goes the wish for more."""

    def __init__(self, feed: Feed, result: IMapIterator, *, by_chunks: bool) -> None:
        self._feed = feed
        self._result = result
        self._by_chunks = by_chunks
        weakref.finalize(self, feed.stop).atexit = False

    def __iter__(self) -> Bounded:
        return self

    def next(self, timeout: float | None = None) -> Any:
        """The next result; see `IMapIterator.next`."""
        if self._by_chunks:
            # Who asks for a chunk has taken all of the one before, and nobody knows earlier.
            self._feed.note_taken(self._result.taken())
        try:
            return self._result.next(timeout)
        finally:
            if not self._by_chunks:
                self._feed.note_taken(self._result.taken())

    __next__ = next


class Feeder:
    """The feeds of one pool. Each has its own thread, so that an input that blocks holds up no other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: dict[threading.Thread, Feed] = {}
        self._when_idle: Callable[[], None] | None = None

    def add(self, feed: Feed) -> None:
        thread = threading.Thread(target=self._run, args=(feed,), name="distpool-feed", daemon=True)
        with deferred(), self._lock:
            self._threads[thread] = feed
            try:
                thread.start()
            except RuntimeError:  # no thread is to be had
                del self._threads[thread]
                raise

    def close(self, when_idle: Callable[[], None]) -> None:
        """Call `when_idle` when the last feed has ended; now, if there is none."""
        with self._lock:
            if self._threads:
                self._when_idle = when_idle
                return
        when_idle()

    def stop(self) -> None:
        """No feed is wanted any more."""
        with self._lock:
            feeds = list(self._threads.values())
        for feed in feeds:
            feed.stop()

    def join(self) -> None:
        """Wait for the feeds' threads."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def _run(self, feed: Feed) -> None:
        feed.run()
        with self._lock:
            self._threads.pop(threading.current_thread(), None)
            when_idle = None if self._threads else self._when_idle
        if when_idle is not None:
            when_idle()
