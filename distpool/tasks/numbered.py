"""Promises that workers have given numbers, and what they name by number, in their program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from distpool.base_errors import ObjectLost, ProtocolError
from distpool.ids import LeaseId
from distpool.logic.promises import Promise
from distpool.objects.promises import LOCK, PROMISES


def publish(promises: Sequence[Promise], lease: LeaseId) -> None:
    """The worker of this lease has made up their numbers, and keeps them. Raises ProtocolError where others have
    them."""
    with LOCK:
        for promise in promises:
            if PROMISES.find(promise.number) is not None:
                raise ProtocolError(f"promise {promise.number} is there already")
            PROMISES.publish(promise)
            PROMISES.keep(promise.number, lease)


def found(numbers: Iterable[int]) -> list[Promise | None]:
    """Those of these numbers; None for one of which nothing is known."""
    return [PROMISES.find(number) for number in numbers]


def all_known(needed: Sequence[Promise | None], name: str) -> list[Promise]:
    """What a call of this name needs that a worker has started. Raises ObjectLost where something of it is unknown."""
    known = [promise for promise in needed if promise is not None]
    if len(known) < len(needed):
        raise ObjectLost(f"an argument of {name} was the ref of a task of which nothing is known here")
    return known
