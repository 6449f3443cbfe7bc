"""Placement groups, as workers ask for them: they are their program's."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from distpool.base_errors import TooManyWaiting
from distpool.ids import LeaseId
from distpool.objects.refs import FROM_ABOVE
from distpool.placement_groups import Seen, open_group, places_of
from distpool.protocol.upcalls import AskPlaces, PlacesWish

_Key = tuple[LeaseId, int]


class Host(Protocol):
    """Who passes on questions and answers."""

    def answer(self, lease: LeaseId, number: int, get: Callable[[], Any]) -> None: ...

    def waits(self, lease: LeaseId) -> str: ...

    def goes_on(self, lease: LeaseId) -> None: ...

    def post(self, function: Callable[..., None], *args: Any) -> None: ...


class PlacesServed:
    """All but what is posted is called at rest."""

    def __init__(self, host: Host) -> None:
        self._host = host
        # What waits for a group, by the worker and the number of its question.
        self._waiting: dict[_Key, tuple[Any, Callable[[Seen], None]]] = {}

    def serve(self, lease: LeaseId, asked: AskPlaces) -> None:
        if asked.wish == PlacesWish.WAIT:
            self._wait(lease, asked)
        else:
            self._host.answer(lease, asked.number, partial(self._done, asked))

    def forget(self, lease: LeaseId, number: int) -> None:
        """Nobody waits for that answer any more."""
        if self._end((lease, number)):
            self._host.goes_on(lease)

    def lost(self, lease: LeaseId) -> None:
        """The worker has ended."""
        for key in [key for key in self._waiting if key[0] == lease]:
            self._end(key)

    def _done(self, asked: AskPlaces) -> Seen:
        if asked.wish == PlacesWish.OPEN:
            _check_is_program()
            return open_group(asked.group, *pickle.loads(asked.spec))._places.seen()
        places = places_of(asked.group)
        if asked.wish == PlacesWish.CLOSE:
            places.close()
        return places.seen()

    def _wait(self, lease: LeaseId, asked: AskPlaces) -> None:
        places, key = places_of(asked.group), (lease, asked.number)
        seen = places.seen()
        why = "" if seen.is_settled else self._host.waits(lease)
        if seen.is_settled or why:
            self._host.answer(lease, asked.number, partial(_seen_unless, seen, why))
            return

        def then(_: Seen) -> None:
            self._host.post(self._settled, key)

        self._waiting[key] = places, then
        places.watch(then)

    def _settled(self, key: _Key) -> None:
        places = self._end(key)
        if places is not None:
            lease, number = key
            self._host.goes_on(lease)
            self._host.answer(lease, number, places.seen)

    def _end(self, key: _Key) -> Any:
        """Of which group it was; None when it had ended before."""
        places, then = self._waiting.pop(key, (None, None))
        if places is not None:
            places.unwatch(then)
        return places


def _seen_unless(seen: Seen, why: str) -> Seen:
    if why:
        raise TooManyWaiting(why)
    return seen


def _check_is_program() -> None:
    """Raises RuntimeError in a worker that has workers of its own, which ask for a group."""
    if FROM_ABOVE:
        raise RuntimeError(
            f"a placement group was asked for by a worker of a pool that worker {os.getpid()} has made for itself: "
            "placement groups are the program's, and only its own workers can ask for them"
        )
