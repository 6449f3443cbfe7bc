"""What else than tasks workers ask of their program: actors, placement groups, and what they are themselves.

What takes time, or starts workers, follows when all roles are at rest; promises are there at once, and what came with
the question is held.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from distpool.base_errors import HeadUnreachable, ProtocolError
from distpool.ids import LeaseId
from distpool.logic.promises import Promise
from distpool.objects.promises import PROMISES
from distpool.protocol.resources import NOTHING
from distpool.protocol.standing import StatusTold
from distpool.protocol.upcalls import (
    Answer,
    AskCall,
    AskCluster,
    AskPlaces,
    AskStanding,
    FindActor,
    KillActor,
    ListActors,
    RequestRefused,
    StartActor,
    WorkerStanding,
)
from distpool.runtime.notices import Notice
from distpool.serialization.remote_errors import encode_failure
from distpool.tasks.calls import Task
from distpool.tasks.numbered import found, publish

if TYPE_CHECKING:
    from distpool.runtime.session import Session


class Questions:
    """Of the workers of one session. Owned by whoever holds its loop."""

    def __init__(self, session: Session, call_of: Callable[[LeaseId, StartActor], Any]) -> None:
        """`call_of`: the call that a message tells of, with what keeps its arguments."""
        self._loop = session.loop
        self._client: Any = session.loop.client
        self._session = session
        self._far = session.far
        self._call_of = call_of
        # Made for the first worker that asks for one.
        self._actors: Any = None
        self._places: Any = None

    def serve(self, lease: LeaseId, message: Any) -> None:
        """Raises ProtocolError for what no worker of ours would say."""
        match message:
            case AskPlaces():
                if self._places is None:
                    self._places = import_module("distpool.tasks.places_served").PlacesServed(self)
                self._later(self._places.serve, lease, message)
            case AskStanding(number):
                self._later(self.answer, lease, number, lambda: self._standing_of(lease))
            case AskCall(number, written_to):
                # With the results before it known, the oldest call that the worker holds is the one that it runs.
                told = partial(self._loop.post, self.answer, lease, number, lambda: self._call_run_by(lease))
                self._client.results.follow(lease, written_to, told)
            case AskCluster(number):
                self._later(self.answer, lease, number, self._status)
            case _:
                if self._actors is None:
                    self._actors = import_module("distpool.actors.served").ActorsServed(self)
                self._serve_actor(lease, message)

    def forget(self, lease: LeaseId, number: int) -> None:
        """Nobody waits for that answer any more."""
        if self._places is not None:
            self._later(self._places.forget, lease, number)

    def lost(self, lease: LeaseId) -> None:
        """The worker has ended."""
        if self._places is not None:
            self._later(self._places.lost, lease)

    # Answers --------------------------------------------------------------------------------------------------------

    def answer(self, lease: LeaseId, number: int, get: Callable[[], Any]) -> None:
        """At rest: tell the worker what `get` gives or raises."""
        try:
            answer: Any = Answer(number, pickle.dumps(get(), 5))
        except Exception as error:
            answer = RequestRefused(number, encode_failure(error))
        self._loop.up_lanes.answer(lease, answer)
        self._loop.post(_do_nothing)  # said at rest, it is passed on in the next turn

    def waits(self, lease: LeaseId) -> str:
        """See `ClientRole.waits`."""
        why: str = self._client.waits(lease)
        return why

    def goes_on(self, lease: LeaseId) -> None:
        """See `ClientRole.goes_on`."""
        self._client.goes_on(lease)

    def post(self, function: Callable[..., None], *args: Any) -> None:
        """Have it called by whoever holds the loop; from any thread."""
        self._loop.post(function, *args)

    def answer_soon(self, lease: LeaseId, number: int, get: Callable[[], Any]) -> None:
        """The same from any thread."""
        self._loop.post(self._later, self.answer, lease, number, get)

    def _later(self, function: Callable[..., None], *args: Any) -> None:
        self._loop.completions.append(Notice(function, *args))

    # Questions ------------------------------------------------------------------------------------------------------

    def _serve_actor(self, lease: LeaseId, message: Any) -> None:
        actors = self._actors
        match message:
            case StartActor():
                try:
                    call = self._call_of(lease, message)
                except Exception as error:
                    raise ProtocolError(f"an actor that it has started makes no sense: {error!r}") from error
                promise = Promise(message.actor, "an actor")
                publish((promise,), lease)
                self._later(actors.start, lease, message, promise, call, found(message.needed))
            case FindActor():
                promise = Promise(message.actor, "an actor")
                publish((promise,), lease)
                group = self._client.group_of(lease)
                self._later(actors.find, lease, message, promise, None if group is None else group.id)
            case KillActor(actor, may_restart):
                self._later(actors.kill, PROMISES.find(actor), may_restart)
            case ListActors(number):
                self._later(actors.list, lease, number)

    def _standing_of(self, lease: LeaseId) -> WorkerStanding:
        group: Any = self._client.group_of(lease)
        far = self._far
        node = "" if far is None else str(far.nodes.node_of(lease) or "")
        if group is None:
            return WorkerStanding(lease, node, NOTHING)  # it has just ended
        shape = group.plan.shape
        place = b""
        if shape.place is not None:
            place = import_module("distpool.placement_groups").pickled_group(shape.place[0])
        actor = group.plan.actor
        if actor is None:
            return WorkerStanding(lease, node, shape, place)
        return WorkerStanding(lease, node, shape, place, actor.number, actor.called, actor.namespace, group.restarts)

    def _call_run_by(self, lease: LeaseId) -> tuple[int, str]:
        """(number of its first promise, name); (0, "") where it is no task's, or one of several."""
        group: Any = self._client.group_of(lease)
        if group is None or (group.plan.actor is not None and group.plan.actor.concurrency is not None):
            return 0, ""
        holding = group.leases[lease].holding
        sink = holding.oldest().bundle.sink if holding.calls else None
        if not isinstance(sink, Task):
            return 0, ""
        return sink.promises[0].number, sink.promises[0].name

    def _status(self) -> StatusTold:
        """What there is and what of it is free, on this machine or in the cluster."""
        if self._far is None:
            return self._session.standing(with_devices=True)
        status = self._session.hear_head()
        if status is None:
            raise HeadUnreachable("the head of the cluster does not answer the program of this worker")
        return status


def _do_nothing() -> None:
    pass
