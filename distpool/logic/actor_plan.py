"""What a facade asks for when it starts an actor, and how far the life of the actor is."""

from __future__ import annotations

from enum import Enum, auto

import msgspec

from distpool.logic.calls import CallOptions

ALWAYS = 1 << 62
"""A number of restarts, or of runs of one call, that none reaches."""

DEFAULT_GROUP = ""
"""The concurrency group of methods that name none."""


class ActorState(Enum):
    """The life of an actor."""

    PENDING = auto()
    """It waits for its constructor's arguments, or for a worker."""
    STARTING = auto()
    """Its constructor runs for the first time."""
    ALIVE = auto()
    RESTARTING = auto()
    """Its worker has died, and it gets another."""
    DEAD = auto()


class ActorPlan(msgspec.Struct, frozen=True):
    """`name`: of the class. `max_restarts`: after so many deaths of its worker it gets another. `concurrency`: how many
    calls run beside each other, by the name of their group; None: one at a time, in the order in which they came.
    `number`: no other of its program has it. `called`: the name that it was given, in this `namespace`."""

    name: str
    max_restarts: int = 0
    concurrency: dict[str, int] | None = None
    number: int = 0
    called: str = ""
    namespace: str = ""


class ActorCallOptions(CallOptions, frozen=True, gc=False):
    """Options of a method's calls. `concurrency_group`: where it runs, in an actor with several."""

    concurrency_group: str = DEFAULT_GROUP
