"""A placement group of the program, in a worker."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from distpool.placement_groups import Seen
from distpool.protocol.resources import Shape
from distpool.protocol.upcalls import Answer, AskPlaces, PlacesWish
from distpool.runtime.own_way_up import way_up
from distpool.serialization.remote_errors import decode_failure


class PlacesAbove:
    """Any thread may call any method."""

    def __init__(self, group: int) -> None:
        """`group`: its number."""
        self._group = group

    def open(self, specs: list[dict[str, Any]], shapes: list[Shape], strategy: str) -> None:
        self._ask(PlacesWish.OPEN, pickle.dumps((specs, shapes, strategy), 5))

    def seen(self) -> Seen:
        return self._ask(PlacesWish.LOOK)

    def wait(self, timeout: float | None) -> Seen:
        def request(number: int) -> AskPlaces:
            return AskPlaces(number, self._group, PlacesWish.WAIT)

        seen = way_up().ask_value(request, timeout)
        return self.seen() if seen is None else Seen(*seen)

    def watch(self, then: Callable[[Seen], None]) -> None:
        def give(answer: Any) -> None:
            if isinstance(answer, Answer):
                then(Seen(*pickle.loads(answer.pickled)))
            else:
                failure: Any = decode_failure(answer.failure)[0]
                then(Seen([], "", is_refused=False, is_closed=False, failure=failure))

        way_up().ask_later(lambda number: AskPlaces(number, self._group, PlacesWish.WAIT), give)

    def close(self) -> None:
        self._ask(PlacesWish.CLOSE)

    def _ask(self, wish: PlacesWish, spec: bytes = b"") -> Seen:
        return Seen(*way_up().ask_value(lambda number: AskPlaces(number, self._group, wish, spec)))
