"""Values of promises that lie on another machine, on their way to whoever is to open them here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from distpool.logic.promises import Promise
from distpool.objects.waiters import LOCK


def when_here(promise: Promise, then: Callable[[Promise], None] = lambda promise: None) -> None:
    """Of one that has ended: have its value brought to this process, if it is not, and call `then`, here or by whoever
    holds the loop."""
    outcome: Any = promise.outcome
    come = None if outcome is None else getattr(outcome[1], "come", None)
    if come is None:
        then(promise)
    else:
        come(lambda: then(promise))


class _Bringing:
    """Has the value brought as soon as there is one."""

    def ended(self, promise: Promise) -> None:
        when_here(promise)


def bring_all(promises: Iterable[Promise]) -> None:
    """They are about to be opened, one after the other: have all brought beside each other."""
    watcher = _Bringing()
    for promise in promises:
        with LOCK:
            is_pending = promise.watch(watcher)
        if not is_pending:
            when_here(promise)
