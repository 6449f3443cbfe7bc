"""Calls on their way: bundles of them, the queue of those not sent, and what one worker holds.

A bundle is what a caller hands over in one go: one call, or many calls of one function. A span is a run of calls of
one bundle. Everything here moves spans and never looks at arguments; who gets how many is decided by `Group`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Protocol

import msgspec

from distpool.ids import FunctionId, Key, LeaseId

Outcome = tuple[int, bytes]
"""(OutcomeKind, payload)"""

Entry = object
"""The arguments of one call: `bytes` are a pickle; anything else is a scalar that is pickled when it is sent."""


_NO_LIMIT = 1 << 62

SCALAR_BYTES = 16
"""What a scalar argument is counted as."""


class Sink(Protocol):
    """Who receives what becomes of a bundle's calls."""

    def begin(self) -> bool:
        """The bundle's first call is about to be sent. False: it was cancelled and must not run."""
        ...

    def put_back(self) -> None:
        """The call that was about to be sent has not begun and waits again; `begin` comes once more."""
        ...

    def deliver(self, first: int, outcomes: list[Outcome]) -> None:
        """Calls `first` and following ended like this."""
        ...


class Claim(Protocol):
    """What one call needs of the store: `bytes` of memory while it runs. It is given up by being dropped."""

    bytes: int
    foretold_to: LeaseId | None
    """The lease whose node was asked to bring what the call needs."""
    passed_over: int
    """So many others were sent before it, as it waits for that lease."""

    def needs(self) -> list[tuple[Key, int]]:
        """(an object, its bytes), of all stores."""
        ...

    def sent(self) -> None:
        """A worker gets the call."""
        ...

    def waits(self) -> None:
        """It was taken back before it began."""
        ...


class CallOptions(msgspec.Struct, frozen=True, gc=False):
    """What a caller may ask for beyond the call. `timeout_s`: how long it may run; then its worker is ended.
    `retries`: how often it may run again after the death of its worker. `priority`: higher ones are sent first, and of
    equal ones those of a greater `depth`: how many calls it is in, each started by the one before."""

    timeout_s: float | None = None
    retries: int = 0
    priority: int = 0
    depth: int = 0


NO_OPTIONS = CallOptions()


class Bundle(msgspec.Struct, gc=False, eq=False):
    """Calls of one function whose results go to one sink. `first` is the sink's number of the first of them.

    `chunksize`: items in each call of a chunk mode; `skip`: of those, leave out so many; `attempts`: how many times the
    calls have been begun and lost; `name`: of the function, where its id does not tell it; `claims`: by the number of
    their entry, of those calls that need the store.

    Neither bundles nor spans are tracked by the garbage collector, which a burst of calls would otherwise keep busy:
    they are reached from their queue only, and gone with the outcome of their calls.
    """

    function: FunctionId
    mode: int
    entries: Sequence[Entry]
    sink: Sink
    first: int = 0
    entry_bytes: int = SCALAR_BYTES
    options: CallOptions = NO_OPTIONS
    name: str = ""
    chunksize: int = 1
    begun: bool = False
    skip: int = 0
    attempts: int = 0
    claims: dict[int, Claim] | None = None

    def __repr__(self) -> str:
        return f"<Bundle of {len(self.entries)} calls of function {self.function} from {self.first}>"


class Span(msgspec.Struct, gc=False, eq=False):
    """Calls `start` to `stop` (exclusive) of a bundle."""

    bundle: Bundle
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def claims(self) -> list[Claim]:
        """What its calls need of the store."""
        claims = self.bundle.claims
        return [] if not claims else [claims[at] for at in range(self.start, self.stop) if at in claims]

    def __repr__(self) -> str:
        return f"<Span {self.start}:{self.stop} of {self.bundle!r}>"


Rank = tuple[int, int]
"""(-priority, -depth): the lowest is sent first."""

_FIRST_RANK = (0, 0)


class CallQueue:
    """Calls that no worker holds, in the order in which they are to be sent: by priority, depth, then as they came."""

    def __init__(self) -> None:
        # Highest (priority, depth) first; there is one most of the time.
        self._by_rank: list[tuple[Rank, deque[Span]]] = [(_FIRST_RANK, deque())]
        self.waiting = 0
        self.has_limits = False
        """Some call was given a time limit."""

    def push(self, bundles: Iterable[Bundle]) -> int:
        """Add calls at the end: how many."""
        options = None
        spans: deque[Span] = deque()
        waiting = 0
        for bundle in bundles:
            if bundle.options is not options:
                options = bundle.options
                spans = self._spans_of(options)
                self.has_limits = self.has_limits or options.timeout_s is not None
            size = len(bundle.entries)
            spans.append(Span(bundle, 0, size))
            waiting += size
        self.waiting += waiting
        return waiting

    def push_back(self, spans: Iterable[Span]) -> None:
        """Put calls that were taken back before all others of their rank; `spans` are in their sending order."""
        for span in reversed(list(spans)):
            self._spans_of(span.bundle.options).appendleft(span)
            self.waiting += len(span)

    def wait_again(self, spans: Iterable[Span]) -> None:
        """`push_back` of calls that a worker was sent and has not begun: a lone one can be cancelled again."""
        taken = list(spans)
        for span in taken:
            bundle = span.bundle
            if len(bundle.entries) == 1 and not bundle.attempts:
                bundle.begun = False
                bundle.sink.put_back()
        self.push_back(taken)

    def first(self) -> Span | None:
        """What is sent next; None: nothing waits."""
        for _, spans in self._by_rank:
            if spans:
                return spans[0]
        return None

    def _first_spans(self) -> deque[Span]:
        """Those of the highest rank of which some wait."""
        for _, spans in self._by_rank:
            if spans:
                return spans
        return self._by_rank[0][1]

    def depth(self) -> int:
        """Of what is sent next."""
        first = self.first()
        return 0 if first is None else first.bundle.options.depth

    def waiting_together(self) -> int:
        """How many calls may be sent in one go: those of the depth of what is sent next."""
        if len(self._by_rank) == 1:
            return self.waiting
        count, depth = 0, None
        for (_, negated), spans in self._by_rank:
            if spans:
                if depth not in (None, negated):
                    break
                depth = negated
                count += sum(map(len, spans))
        return count

    def next_claims(self, limit: int) -> list[Claim | None]:
        """What each of the calls that wait needs of the store, in the order in which they are to be sent: of at most
        `limit`, all of one rank."""
        found: list[Claim | None] = []
        for span in self._first_spans():
            if len(found) >= limit:
                break
            claims = span.bundle.claims or {}
            found += [claims.get(at) for at in range(span.start, min(span.stop, span.start + limit - len(found)))]
        return found

    def bring_forward(self, position: int) -> bool:
        """Let one of the calls of the highest rank be the first, by its place among them. False, and nothing is
        changed, when its bundle has yet to begin, which it does as one."""
        spans = self._first_spans()
        number = 0
        while position >= len(spans[number]):
            position -= len(spans[number])
            number += 1
        span = spans[number]
        if len(span) > 1 and not span.bundle.begun:
            return False
        at = span.start + position
        around = [Span(span.bundle, span.start, at), Span(span.bundle, at + 1, span.stop)]
        before = [spans.popleft() for _ in range(number)]
        spans.popleft()
        spans.extendleft(reversed([Span(span.bundle, at, at + 1), *before, *filter(len, around)]))
        return True

    def take(self, limit: int, bytes_limit: int) -> tuple[list[Span], list[Span]]:
        """Remove at most `limit` calls of one depth: those to send, and those that turn out to be cancelled (not
        counted).

        Stops when about `bytes_limit` bytes of arguments are reached, but not before the first call.
        """
        to_send: list[Span] = []
        cancelled: list[Span] = []
        by_rank = self._by_rank
        while limit > 0 and by_rank:
            spans = by_rank[0][1]
            while limit > 0 and spans:
                span = spans[0]
                bundle = span.bundle
                size = span.stop - span.start
                if not bundle.begun:
                    bundle.begun = True
                    if not bundle.sink.begin():
                        cancelled.append(spans.popleft())
                        self.waiting -= size
                        continue
                count = min(size, limit)
                if count * bundle.entry_bytes > bytes_limit:
                    count = max(bytes_limit // bundle.entry_bytes, 0 if to_send else 1)
                    if count == 0:
                        return to_send, cancelled
                if count == size:
                    spans.popleft()
                else:
                    span.start += count
                    span = Span(bundle, span.start - count, span.start)
                to_send.append(span)
                self.waiting -= count
                limit -= count
                bytes_limit -= count * bundle.entry_bytes
            # An empty one goes, as every call may have a priority of its own; a lone one stays for the next call.
            if spans or len(by_rank) == 1:
                break
            (_, depth), _ = by_rank.pop(0)
            if to_send and by_rank[0][0][1] != depth:
                break
        return to_send, cancelled

    def cancel(self, keep: int) -> list[Span]:
        """Remove the calls that have not begun, but the first `keep` of all.

        Those that were lost and run again, and the rest of a lost chunk, have begun: somebody waits for their end.
        """
        spans = self.drop_all()
        begun = [span for span in spans if span.bundle.begun]
        self.push_back(span for span in spans if not span.bundle.begun)
        kept, cancelled = self.take(keep - sum(map(len, begun)), _NO_LIMIT)
        cancelled += self.drop_all()
        self.push_back([*begun, *kept])
        return cancelled

    def drop_all(self) -> list[Span]:
        dropped = [span for _, spans in self._by_rank for span in spans]
        self._by_rank = [(_FIRST_RANK, deque())]
        self.waiting = 0
        return dropped

    def _spans_of(self, options: CallOptions) -> deque[Span]:
        by_rank = self._by_rank
        rank = (-options.priority, -options.depth)
        if by_rank[0][0] == rank:
            return by_rank[0][1]
        position = bisect_left(by_rank, rank, key=itemgetter(0))
        if position == len(by_rank) or by_rank[position][0] != rank:
            by_rank.insert(position, (rank, deque()))
        return by_rank[position][1]


class Holding:
    """The calls that one worker holds, oldest first: a worker runs and answers them in this order."""

    def __init__(self) -> None:
        self._spans: deque[Span] = deque()
        self.calls = 0
        self.bytes = 0
        self.ended = 0
        """Calls that have ended in all."""
        self.claims: set[Claim] = set()
        """Of calls that were sent to the worker. Those of a call that has ended while it still ran stay."""

    def add(self, spans: Iterable[Span]) -> None:
        for span in spans:
            if span.bundle.claims:
                for claim in span.claims():
                    claim.sent()
                    self.claims.add(claim)
            size = span.stop - span.start
            self._spans.append(span)
            self.calls += size
            self.bytes += size * span.bundle.entry_bytes

    def finish(self, outcomes: list[Outcome]) -> list[tuple[Bundle, int, list[Outcome]]]:
        """The oldest calls ended like this: (bundle, number of the first call at its sink, outcomes)."""
        if len(outcomes) > self.calls:
            raise ValueError(f"{len(outcomes)} outcomes for {self.calls} calls")
        self.calls -= len(outcomes)
        self.ended += len(outcomes)
        done = []
        spans = self._spans
        at = 0
        ended = len(outcomes)
        while at < ended:
            span = spans[0]
            bundle = span.bundle
            start = span.start
            count = min(span.stop - start, ended - at)
            done.append((bundle, bundle.first + start, outcomes[at : at + count]))
            if bundle.claims:
                for position in range(start, start + count):
                    self.claims.discard(bundle.claims.pop(position, None))
            span.start = start + count
            at += count
            self.bytes -= count * bundle.entry_bytes
            if span.start == span.stop:
                spans.popleft()
        return done

    def waits_again(self, spans: Iterable[Span]) -> None:
        """The worker has not begun these, and will not."""
        for span in spans:
            for claim in span.claims():
                claim.waits()
                self.claims.discard(claim)

    def oldest(self) -> Span:
        """The span of the call that runs, or is the next to."""
        return self._spans[0]

    def spans(self) -> Iterable[Span]:
        """All that it holds, oldest first."""
        return self._spans

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
