"""Every call of a run: who began it, when it was finished, and what became of it. Each ends exactly once."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from distpool.ids import LeaseId
from distpool.logic.calls import NO_OPTIONS, CallOptions, Outcome
from distpool.protocol.messages import OutcomeKind
from tests.simulation.transcript import Violation

Allowed = frozenset[OutcomeKind]

EARLY_S = 0.1
"""How much later than its caller may believe a call can begin: workers and loop are held up now and then."""

SLACK_S = 0.1
"""Far longer than any wait that the runtime intends."""


class Point(Enum):
    """Where a call is when its worker dies: the points of its life, in their order."""

    NOT_READ = "sent and not read"
    NO_TOKEN = "read and no token taken"
    NOT_UNPICKLED = "token taken and arguments not unpickled"
    RUNNING = "running"
    FIRST_ITEM = "in the first item of a chunk"
    LATER_ITEM = "in a later item of a chunk"
    NOT_WRITTEN = "result not written"
    NOT_TOLD = "result written and not told"
    TOLD = "told and not read"


@dataclass
class Trap:
    """The worker dies when the call is at `point`; in a chunk, `item` items have begun then. So many `times`."""

    point: Point
    item: int
    times: int


@dataclass
class Call:
    """One call. `items_s`: how long each item of a chunk takes, or the one item; `trap`: it ends its worker's process;
    `is_stubborn`: it goes on when it is interrupted."""

    number: int
    items_s: list[float]
    is_chunk: bool = False
    options: CallOptions = NO_OPTIONS
    trap: Trap | None = None
    is_stubborn: bool = False
    times_begun: list[int] = field(default_factory=list)
    begun_by: list[LeaseId] = field(default_factory=list)
    began_at: float = 0.0
    items_left_out: int = 0
    items_begun: int = 0
    submitted_at: float = 0.0
    was_sent: bool = False
    lease: LeaseId | None = None
    finished_at: float | None = None
    outcome: OutcomeKind | None = None

    def is_over_its_limit(self, moment: float) -> bool:
        """It should have been ended before that moment."""
        timeout_s = self.options.timeout_s
        return self.outcome is None and timeout_s is not None and self.began_at + timeout_s < moment


@dataclass
class Handed:
    """A bundle's sink: calls that were handed in together."""

    calls: list[Call]
    may_end_as: Callable[[], Allowed]
    is_over: Callable[[], bool]
    ledger: Ledger
    first: int
    is_cancelled: bool = False
    was_begun: bool = False

    def begin(self) -> bool:
        if self.was_begun:
            raise Violation("begun twice at its sink", f"calls from {self.calls[0].number}")
        self.was_begun = True
        return not self.is_cancelled

    def put_back(self) -> None:
        if not self.was_begun:
            raise Violation("put back before it was sent", f"calls from {self.calls[0].number}")
        self.was_begun = False

    def deliver(self, first: int, outcomes: list[Outcome]) -> None:
        self.ledger.deliver(self, first, outcomes)


class Ledger:
    """Is told of everything that happens to a call, and objects."""

    def __init__(self, tell: Callable[[object, object, object], None], clock: Callable[[], float]) -> None:
        self.calls: list[Call] = []
        self.dead: set[LeaseId] = set()
        self.deaths_at: Counter[Point] = Counter()
        self.condemned: dict[LeaseId, float] = {}
        """Workers whose call was timed out, and when."""
        self._unreported: dict[int, Call] = {}
        self._tell = tell
        self._clock = clock

    def new_call(self, items_s: list[float], **rest: object) -> Call:
        call = Call(len(self.calls), items_s, times_begun=[0] * len(items_s), **rest)  # type: ignore[arg-type]
        self.calls.append(call)
        return call

    # Workers --------------------------------------------------------------------------------------------------------

    def begin(self, number: int, lease: LeaseId, left_out: int) -> Call:
        """A worker has taken a token for the call."""
        call = self.calls[number]
        self._tell(f"worker {lease}", "", f"begins call {number}" + (f" after {left_out} items" if left_out else ""))
        if call.begun_by and call.begun_by[-1] not in self.dead:
            raise Violation("began twice", f"call {number} by worker {call.begun_by[-1]} and by worker {lease}")
        if call.outcome not in (None, OutcomeKind.BROKEN, OutcomeKind.TERMINATED):
            raise Violation("began after its end", f"call {number} is {call.outcome.name}")
        call.begun_by.append(lease)
        if not call.is_chunk and len(call.begun_by) > 1 + call.options.retries:
            raise Violation("began too often", f"call {number} by workers {call.begun_by}")
        call.began_at = self._clock()
        call.finished_at = None
        call.items_left_out = left_out
        call.items_begun = 0
        return call

    def begin_item(self, call: Call, item: int) -> None:
        call.items_begun += 1
        call.times_begun[item] += 1
        if call.is_chunk:
            self._tell(f"worker {call.begun_by[-1]}", "", f"begins item {item} of call {call.number}")
        if call.times_begun[item] > 1 + call.options.retries:
            raise Violation("began too often", f"item {item} of call {call.number} by workers {call.begun_by}")

    def finish(self, number: int) -> None:
        call = self.calls[number]
        call.finished_at = self._clock()
        if call.outcome is None:
            self._unreported[number] = call

    def died(self, lease: LeaseId, held: list[tuple[int, Point]]) -> None:
        """A worker's process has ended when it held these calls."""
        self.dead.add(lease)
        for number, point in held:
            self._tell(f"worker {lease}", "", f"leaves call {number}: {point.value}")
            self.deaths_at[point] += 1

    # Outcomes -------------------------------------------------------------------------------------------------------

    def deliver(self, handed: Handed, first: int, outcomes: list[Outcome]) -> None:
        for position, (kind, payload) in enumerate(outcomes, first - handed.first):
            if not 0 <= position < len(handed.calls):
                raise Violation("result of another call", f"number {position} of {len(handed.calls)}")
            self._end(handed, handed.calls[position], OutcomeKind(kind), payload)

    def _end(self, handed: Handed, call: Call, kind: OutcomeKind, payload: bytes) -> None:
        number = call.number
        self._tell("client", "user", f"call {number} is {kind.name}")
        if call.outcome is not None:
            raise Violation("ended twice", f"call {number} was {call.outcome.name} and is {kind.name}")
        if kind not in handed.may_end_as():
            raise Violation("ended without a reason", f"call {number} is {kind.name}: {payload!r}")
        call.outcome = kind
        self._unreported.pop(number, None)
        if handed.is_cancelled and kind == OutcomeKind.VALUE:
            raise Violation("ran though cancelled", f"call {number}")
        if kind == OutcomeKind.CANCELLED and call.begun_by:
            raise Violation("cancelled though begun", f"call {number} by {call.begun_by}")
        if kind == OutcomeKind.VALUE:
            self._check_value(call, payload)
        elif kind == OutcomeKind.LOST:
            self._check_loss(handed, call)
        elif kind == OutcomeKind.TIMED_OUT:
            self._check_timeout(call)

    def _check_value(self, call: Call, payload: bytes) -> None:
        if call.finished_at is None or pickle.loads(payload) != call.number:
            raise Violation("result of another call", f"call {call.number} got {pickle.loads(payload)}")
        if call.items_left_out:
            raise Violation("a part for the whole", f"call {call.number} without its first {call.items_left_out} items")

    def _check_loss(self, handed: Handed, call: Call) -> None:
        number = call.number
        died = bool(call.begun_by) and call.begun_by[-1] in self.dead
        if call.items_left_out and not died:
            # The rest of a chunk: there was a death before, and the rest is finished, or over its time.
            if call.finished_at is None and not handed.is_over():
                self._check_timeout(call)
            if call.finished_at is not None and 0 in call.times_begun:
                raise Violation("items left out", f"call {number} began its items so often: {call.times_begun}")
            return
        if not died:
            raise Violation("lost without a death", f"call {number}, begun by {call.begun_by}")
        if handed.is_over():
            return
        if call.options.timeout_s is not None and call.lease not in self.dead:
            self._check_timeout(call)  # The rest of a chunk was sent to a worker that did not begin it in time.
            return
        if call.finished_at is not None and not call.items_left_out:
            raise Violation("lost though finished", f"call {number}")
        if not call.items_left_out and len(call.begun_by) < 1 + call.options.retries:
            raise Violation("lost before its time", f"call {number} had retries left after {call.begun_by}")
        if call.is_chunk and call.items_begun and 0 in call.times_begun:
            raise Violation("items left out", f"call {number} began its items so often: {call.times_begun}")

    def _check_timeout(self, call: Call) -> None:
        now, timeout_s = self._clock(), call.options.timeout_s
        assert timeout_s is not None, "the call may not end like this"
        if call.lease not in (None, *call.begun_by[-1:]):
            # It was sent and not begun, by a worker that was held up for longer than the call may take.
            if timeout_s > EARLY_S / 2:
                raise Violation("timed out though not begun", f"call {call.number} at worker {call.lease}")
            return
        if not call.begun_by or now < call.began_at + timeout_s - EARLY_S:
            raise Violation("timed out too early", f"call {call.number} began at {call.began_at}")
        self.condemned[call.begun_by[-1]] = now

    # Liveness -------------------------------------------------------------------------------------------------------

    def finished_before(self, moment: float) -> list[int]:
        return [n for n, call in self._unreported.items() if call.finished_at is not None and call.finished_at < moment]

    def missing(self) -> str:
        """The calls without an outcome, in words."""
        open_calls = [call.number for call in self.calls if call.outcome is None]
        return f"no outcome for calls {open_calls}" if open_calls else "every call has its outcome"
