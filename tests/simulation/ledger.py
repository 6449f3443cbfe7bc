"""Every call of a run: who began it, when it was finished, and what became of it. Each ends exactly once."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field

from distpool.ids import LeaseId
from distpool.logic.calls import Outcome
from distpool.protocol.messages import OutcomeKind
from tests.simulation.transcript import Violation

Allowed = frozenset[OutcomeKind]


@dataclass
class Call:
    """One call. `takes_s`: of work; `is_deadly`: it ends its worker's process."""

    number: int
    takes_s: float
    is_deadly: bool
    began_on: LeaseId | None = None
    finished_at: float | None = None
    outcome: OutcomeKind | None = None


@dataclass
class Handed:
    """A bundle's sink: calls that were handed in together."""

    calls: list[Call]
    may_end_as: Callable[[], Allowed]
    first: int
    is_cancelled: bool = False
    was_begun: bool = False
    ended: int = field(default=0)

    def begin(self) -> bool:
        if self.was_begun:
            raise Violation("begun twice at its sink", f"calls from {self.calls[0].number}")
        self.was_begun = True
        return not self.is_cancelled


class Ledger:
    """Is told of everything that happens to a call, and objects."""

    def __init__(self, tell: Callable[[object, object, object], None], clock: Callable[[], float]) -> None:
        self.calls: list[Call] = []
        self.dead: set[LeaseId] = set()
        self._unreported: dict[int, Call] = {}
        self._tell = tell
        self._clock = clock

    def new_call(self, takes_s: float, *, is_deadly: bool) -> Call:
        call = Call(len(self.calls), takes_s, is_deadly)
        self.calls.append(call)
        return call

    def begin(self, number: int, lease: LeaseId) -> tuple[float, bool]:
        call = self.calls[number]
        self._tell(f"worker {lease}", "", f"begins call {number}")
        if call.began_on is not None:
            raise Violation("began twice", f"call {number} by worker {call.began_on} and by worker {lease}")
        if call.outcome not in (None, OutcomeKind.BROKEN, OutcomeKind.TERMINATED):
            raise Violation("began after its end", f"call {number} is {call.outcome.name}")
        call.began_on = lease
        return call.takes_s, call.is_deadly

    def finish(self, number: int) -> None:
        call = self.calls[number]
        call.finished_at = self._clock()
        if call.outcome is None:
            self._unreported[number] = call

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
        if kind == OutcomeKind.VALUE and (call.finished_at is None or pickle.loads(payload) != number):
            raise Violation("result of another call", f"call {number} got {pickle.loads(payload)}")
        if kind == OutcomeKind.LOST and (call.began_on is None or call.began_on not in self.dead):
            raise Violation("lost without a death", f"call {number}, begun by {call.began_on}")
        if kind == OutcomeKind.LOST and call.finished_at is not None:
            raise Violation("lost though finished", f"call {number}")
        if kind == OutcomeKind.CANCELLED and call.began_on is not None:
            raise Violation("cancelled though begun", f"call {number} by {call.began_on}")
        if handed.is_cancelled and kind == OutcomeKind.VALUE:
            raise Violation("ran though cancelled", f"call {number}")

    def finished_before(self, moment: float) -> list[int]:
        return [n for n, call in self._unreported.items() if call.finished_at is not None and call.finished_at < moment]

    def missing(self) -> str:
        """The calls without an outcome, in words."""
        open_calls = [call.number for call in self.calls if call.outcome is None]
        return f"no outcome for calls {open_calls}" if open_calls else "every call has its outcome"
