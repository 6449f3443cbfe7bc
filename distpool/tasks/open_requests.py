"""The requests of workers that wait for their answers at the program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distpool.base_errors import TooManyWaiting
from distpool.ids import LeaseId
from distpool.objects.promises import LOCK
from distpool.protocol.upcalls import RequestRefused
from distpool.runtime.notices import Notice
from distpool.serialization.remote_errors import encode_failure
from distpool.tasks.outcomes_told import OutcomesTold, is_at_hand
from distpool.tasks.requests import PausedRequest, Request

if TYPE_CHECKING:
    from distpool.runtime.session import Session


class OpenRequests:
    """Those of the workers of one session. Owned by whoever holds its loop."""

    def __init__(self, session: Session) -> None:
        self.told = OutcomesTold(session.loop.lanes)
        """Which outcomes the workers know."""
        self._session = session
        self._loop = session.loop
        self._client = session.loop.client
        self._open: dict[tuple[LeaseId, int], Request] = {}

    def begin(self, request: Request) -> None:
        """Answer when so many of its promises have ended."""
        with LOCK:
            waits = request.watch()
        if not waits:
            self.tell(request)
            return
        self._open[request.lease, request.number] = request
        if request.is_waited_for:
            self._count(request)

    def pause(self, request: PausedRequest) -> None:
        """Answer when its items were taken. Its worker waits in any case: where too many do, in its place."""
        request.is_counted = not self._client.waits(request.lease)
        self._open[request.lease, request.number] = request

    def waits_for(self, lease: LeaseId, number: int, *, is_so: bool) -> None:
        """Its worker does nothing else from now on, or goes on meanwhile."""
        request = self._open.get((lease, number))
        if request is None:
            return  # it is answered
        request.is_waited_for = is_so
        if is_so and not request.is_counted:
            self._count(request)
        elif not is_so and request.is_counted:
            request.is_counted = False
            self._client.goes_on(lease)

    def forget(self, lease: LeaseId, number: int) -> None:
        """Nobody wants its answer any more, which may be on its way."""
        request = self._open.pop((lease, number), None)
        if request is not None:
            self._end(request)

    def lost(self, lease: LeaseId) -> None:
        """The worker has ended."""
        for key in [key for key in self._open if key[0] == lease]:
            self._unwatch(self._open.pop(key))
        self.told.lost(lease)

    def refuse(self, lease: LeaseId, number: int, error: Exception) -> None:
        """Have whoever asked raise this."""
        self._loop.up_lanes.answer(lease, RequestRefused(number, encode_failure(error)))

    def post_answer(self, request: Request) -> None:
        """On any thread."""
        self._loop.post(self._answer, request)
        self._session.helm.poke()

    def tell(self, request: Request) -> None:
        """What lies elsewhere is brought first, which takes turns of the loop."""
        if all(is_at_hand(promise) for promise in request.promises):
            self._say(request)
        else:
            self._loop.completions.append(Notice(self._say, request))

    def _answer(self, request: Request) -> None:
        if self._open.pop((request.lease, request.number), None) is not None:
            self._end(request)
            self.tell(request)

    def _say(self, request: Request) -> None:
        with LOCK:
            waits = request.watch()
        if waits:  # one of them was lost meanwhile, and is made again
            self._unwatch(request)
            self.begin(request)
            return
        self._loop.up_lanes.answer(request.lease, request.answer(self.told.outcome))
        self._loop.post(_do_nothing)  # said at rest, it is passed on in the next turn

    def _count(self, request: Request) -> None:
        """Its worker waits from now on; where too many do it may not, and is told so."""
        why = self._client.waits(request.lease)
        request.is_counted = not why
        # What is made again goes before all others, so a worker may also wait for that in its place.
        if why and not request.not_in:
            del self._open[request.lease, request.number]
            self._unwatch(request)
            self.refuse(request.lease, request.number, TooManyWaiting(why))

    def _end(self, request: Request) -> None:
        self._unwatch(request)
        if request.is_counted:
            request.is_counted = False
            self._client.goes_on(request.lease)

    def _unwatch(self, request: Request) -> None:
        with LOCK:
            for promise in request.promises:
                promise.unwatch(request)


def _do_nothing() -> None:
    pass
