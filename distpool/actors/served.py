"""What workers ask their program for with regard to actors: it starts them, finds them by their names, and ends them.

For each handle that a worker gets there is a promise that the worker has given a number and keeps: it stands for the
actor, as the one does by which a handle travels.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from distpool.actors.life import LIVES, Life
from distpool.actors.names import all_names, begun, find
from distpool.ids import GroupId, LeaseId
from distpool.logic.promises import Promise
from distpool.protocol.upcalls import FindActor, StartActor
from distpool.tasks.numbered import all_known, check_is_program

Answering = Callable[[LeaseId, int, Callable[[], Any]], None]
"""Tells a worker what this gives or raises."""


class ActorsServed:
    """Of the workers of one session. Called at rest."""

    def __init__(self, answer: Answering) -> None:
        self._answer = answer

    def start(
        self, lease: LeaseId, asked: StartActor, promise: Promise, call: Any, needed: list[Promise | None]
    ) -> None:
        """`call`: its constructor's, pickled."""

        def started() -> Life:
            class_plan, options = pickle.loads(asked.plan)
            found = all_known(needed, f"actor {class_plan.name}")

            def begin() -> Life:
                life = Life(class_plan, options)
                life.begin_pickled(call, found)
                return life

            return begun(options, begin)

        self._give(lease, asked.number, promise, started)

    def find(self, lease: LeaseId, asked: FindActor, promise: Promise, group: GroupId | None) -> None:
        """`group`: that the worker is of."""

        def found() -> Life:
            check_is_program(f"actor {asked.name!r}")
            return find(asked.name, asked.namespace) if asked.name else _life_of(group)

        self._give(lease, asked.number, promise, found)

    def list(self, lease: LeaseId, number: int) -> None:
        self._answer(lease, number, all_names)

    def kill(self, promise: Promise | None, may_restart: bool) -> None:
        if promise is not None and promise.call is not None:
            promise.call.kill(no_restart=not may_restart)

    def _give(self, lease: LeaseId, number: int, promise: Promise, get: Callable[[], Life]) -> None:
        def given() -> Any:
            life = get()
            promise.name = f"actor {life.class_plan.name}"
            promise.call = life
            return life.class_plan, life.traits, life.number

        self._answer(lease, number, given)


def _life_of(group: GroupId | None) -> Life:
    life = None if group is None else LIVES.get(group)
    if life is None:
        raise RuntimeError("the worker is no actor's, or nobody has a handle of that actor any more")
    return life
