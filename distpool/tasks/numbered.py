"""Promises that workers have given numbers, and what they name by number, in their program."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from distpool.base_errors import ObjectLost, ProtocolError
from distpool.ids import LeaseId
from distpool.logic.promises import Promise
from distpool.objects.promises import LOCK, PROMISES
from distpool.objects.refs import FROM_ABOVE


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


def check_is_program(what: str) -> None:
    """Raises RuntimeError in a worker that has workers of its own, which ask for this."""
    if FROM_ABOVE:
        raise RuntimeError(
            f"{what} was asked for by a worker of a pool that worker {os.getpid()} has made for itself: tasks, actors "
            "and placement groups are the program's, and only its own workers can ask for them"
        )


def all_known(needed: Sequence[Promise | None], name: str) -> list[Promise]:
    """What a call of this name needs that a worker has started, if this process may run it and knows all of it. Raises
    RuntimeError and ObjectLost."""
    check_is_program(name)
    known = [promise for promise in needed if promise is not None]
    if len(known) < len(needed):
        raise ObjectLost(f"an argument of {name} was the ref of a task of which nothing is known here")
    return known
