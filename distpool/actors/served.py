"""What workers ask their program for with regard to actors: it starts them, finds them by their names, and ends them.

For each handle that a worker gets there is a promise that the worker has given a number and keeps: it stands for the
actor, as the one does by which a handle travels.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from distpool.actors.life import Life
from distpool.actors.names import all_names, begun, find
from distpool.ids import LeaseId
from distpool.logic.promises import Promise
from distpool.protocol.messages import Message
from distpool.protocol.upcalls import (
    ActorsListed,
    ActorTold,
    FindActor,
    KillActor,
    ListActors,
    RequestRefused,
    StartActor,
)
from distpool.serialization.remote_errors import encode_failure
from distpool.tasks.served import all_found


class ActorsServed:
    """Of the workers of one session. Called at rest."""

    def __init__(self, answer: Callable[[LeaseId, Message], None]) -> None:
        self._answer = answer

    def start(
        self, lease: LeaseId, asked: StartActor, promise: Promise, call: Any, needed: list[Promise | None]
    ) -> None:
        """`call`: its constructor's, pickled."""

        def started() -> Life:
            class_plan, options = pickle.loads(asked.plan)
            found = all_found(needed, f"actor {class_plan.name}")

            def begin() -> Life:
                life = Life(class_plan, options)
                life.begin_pickled(call, found)
                return life

            return begun(options, begin)

        self._give(lease, asked.number, promise, started)

    def find(self, lease: LeaseId, asked: FindActor, promise: Promise) -> None:
        self._give(lease, asked.number, promise, lambda: find(asked.name, asked.namespace))

    def list(self, lease: LeaseId, asked: ListActors) -> None:
        self._answer(lease, ActorsListed(asked.number, all_names()))

    def kill(self, asked: KillActor, promise: Promise | None) -> None:
        if promise is not None and promise.call is not None:
            promise.call.kill(no_restart=not asked.may_restart)

    def _give(self, lease: LeaseId, number: int, promise: Promise, get: Callable[[], Life]) -> None:
        try:
            life = get()
        except Exception as error:
            self._answer(lease, RequestRefused(number, encode_failure(error)))
            return
        promise.name = f"actor {life.class_plan.name}"
        promise.call = life
        self._answer(lease, ActorTold(number, pickle.dumps((life.class_plan, life.traits, life.number), 5)))
