"""What happened in a run, line by line, and how a run that broke a rule tells of it."""

from __future__ import annotations

import pickle
from typing import Any

from distpool.protocol.messages import CallsDone, OutcomeKind, RunCalls, Slice

LAST_LINES = 150


class Violation(AssertionError):
    """A rule was broken. `rule` is its short name."""

    def __init__(self, rule: str, detail: str = "") -> None:
        super().__init__(f"{rule}: {detail}" if detail else rule)
        self.rule = rule
        self.detail = detail


class Transcript:
    """Everything that was said and done; put into words only when somebody wants to read it."""

    def __init__(self) -> None:
        self._events: list[tuple[float, str, str, object]] = []

    def add(self, now: float, who: object, whom: object, what: object) -> None:
        self._events.append((now, str(who), str(whom), what))

    def lines(self) -> list[str]:
        return [f"{now * 1e3:10.3f} ms  {who:>10} → {whom:<10} {words(what)}" for now, who, whom, what in self._events]

    def tail(self, most: int | None = LAST_LINES) -> str:
        lines = self.lines()
        if most is None or len(lines) <= most:
            return "\n".join(lines)
        return "\n".join([f"… {len(lines) - most} lines before", *lines[-most:]])


def words(what: object) -> str:
    """A message in a few words: calls by their numbers and not by their pickles."""
    if isinstance(what, str):
        return what
    if isinstance(what, RunCalls):
        calls = [number for piece in what.slices for number in numbers(piece)]
        functions = [blob.function for blob in what.functions]
        return f"RunCalls {calls}" + (f" with functions {functions}" if functions else "")
    if isinstance(what, CallsDone):
        outcomes = [f"{OutcomeKind(kind).name} {pickle.loads(payload)}" for kind, payload in what.outcomes]
        return f"CallsDone {outcomes}" + (" and stopped" if what.stopped else "")
    return repr(what)


def numbers(piece: Slice) -> list[int]:
    """The arguments of a slice, unpickled as a worker does it; in a simulation each is its call's number."""
    args: Any = piece.args
    if piece.packed:
        return list(pickle.loads(args))
    return [pickle.loads(arg) for arg in (args if type(args) is list else [args])]
