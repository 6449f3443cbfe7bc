"""Calls on their way: bundles of them, the queue of those not sent, and what one worker holds.

A bundle is what a caller hands over in one go: one call, or many calls of one function. A span is a run of calls of
one bundle. Everything here moves spans and never looks at arguments; who gets how many is decided by `Group`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from distpool.ids import FunctionId
from distpool.protocol.messages import CallMode

Outcome = tuple[int, bytes]
"""(OutcomeKind, payload)"""

Entry = object
"""The arguments of one call: `bytes` are a pickle; anything else is a scalar that is pickled when it is sent."""


SCALAR_BYTES = 16
"""What a scalar argument is counted as."""


class Sink(Protocol):
    """Who receives what becomes of a bundle's calls."""

    def begin(self) -> bool:
        """The bundle's first call is about to be sent. False: it was cancelled and must not run."""
        ...


class Bundle:
    """Calls of one function whose results go to one sink. `first` is the sink's number of the first of them."""

    __slots__ = ("begun", "entries", "entry_bytes", "first", "function", "mode", "sink")

    def __init__(
        self,
        function: FunctionId,
        mode: CallMode,
        entries: list[Entry],
        sink: Sink,
        first: int = 0,
        entry_bytes: int = SCALAR_BYTES,
    ) -> None:
        self.function = function
        self.mode = mode
        self.entries = entries
        self.sink = sink
        self.first = first
        self.entry_bytes = entry_bytes
        self.begun = False

    def __repr__(self) -> str:
        return f"<Bundle of {len(self.entries)} calls of function {self.function} from {self.first}>"


class Span:
    """Calls `start` to `stop` (exclusive) of a bundle."""

    __slots__ = ("bundle", "start", "stop")

    def __init__(self, bundle: Bundle, start: int, stop: int) -> None:
        self.bundle = bundle
        self.start = start
        self.stop = stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __repr__(self) -> str:
        return f"<Span {self.start}:{self.stop} of {self.bundle!r}>"


class CallQueue:
    """Calls that no worker holds, in the order in which they are to be sent."""

    def __init__(self) -> None:
        self._spans: deque[Span] = deque()
        self.waiting = 0

    def push(self, bundle: Bundle) -> None:
        self._spans.append(Span(bundle, 0, len(bundle.entries)))
        self.waiting += len(bundle.entries)

    def push_back(self, spans: Iterable[Span]) -> None:
        """Put calls that were taken back before all others; `spans` are in their sending order."""
        taken = list(spans)
        self._spans.extendleft(reversed(taken))
        self.waiting += sum(map(len, taken))

    def take(self, limit: int, bytes_limit: int) -> tuple[list[Span], list[Span]]:
        """Remove at most `limit` calls: those to send, and those that turn out to be cancelled (not counted).

        Stops when about `bytes_limit` bytes of arguments are reached, but not before the first call.
        """
        to_send: list[Span] = []
        cancelled: list[Span] = []
        while limit > 0 and self._spans:
            span = self._spans[0]
            bundle = span.bundle
            if not bundle.begun:
                bundle.begun = True
                if not bundle.sink.begin():
                    cancelled.append(self._spans.popleft())
                    self.waiting -= len(span)
                    continue
            count = min(len(span), limit, max(bytes_limit // bundle.entry_bytes, 0 if to_send else 1))
            if count == 0:
                break
            if count == len(span):
                self._spans.popleft()
            else:
                span.start += count
                span = Span(bundle, span.start - count, span.start)
            to_send.append(span)
            self.waiting -= count
            limit -= count
            bytes_limit -= count * bundle.entry_bytes
        return to_send, cancelled

    def drop_all(self) -> list[Span]:
        spans = list(self._spans)
        self._spans.clear()
        self.waiting = 0
        return spans


class Holding:
    """The calls that one worker holds, oldest first: a worker runs and answers them in this order."""

    def __init__(self) -> None:
        self._spans: deque[Span] = deque()
        self.calls = 0
        self.bytes = 0

    def add(self, spans: Iterable[Span]) -> None:
        for span in spans:
            self._spans.append(span)
            self.calls += len(span)
            self.bytes += len(span) * span.bundle.entry_bytes

    def finish(self, outcomes: list[Outcome]) -> list[tuple[Bundle, int, list[Outcome]]]:
        """The oldest calls ended like this: (bundle, number of the first call at its sink, outcomes)."""
        if len(outcomes) > self.calls:
            raise ValueError(f"{len(outcomes)} outcomes for {self.calls} calls")
        self.calls -= len(outcomes)
        done = []
        at = 0
        while at < len(outcomes):
            span = self._spans[0]
            count = min(len(span), len(outcomes) - at)
            done.append((span.bundle, span.bundle.first + span.start, outcomes[at : at + count]))
            span.start += count
            at += count
            self.bytes -= count * span.bundle.entry_bytes
            if span.start == span.stop:
                self._spans.popleft()
        return done

    def take_back(self, count: int) -> list[Span]:
        """Remove the `count` calls sent last, and return them in their sending order."""
        if count > self.calls:
            raise ValueError(f"{count} calls to take back of {self.calls}")
        self.calls -= count
        taken: deque[Span] = deque()
        while count > 0:
            span = self._spans[-1]
            if len(span) <= count:
                taken.appendleft(self._spans.pop())
                count -= len(span)
            else:
                span.stop -= count
                taken.appendleft(Span(span.bundle, span.stop, span.stop + count))
                count = 0
        self.bytes -= sum(len(span) * span.bundle.entry_bytes for span in taken)
        return list(taken)
