"""What a facade asks for when it opens a group of workers, and how far the life of the group is."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

import msgspec

from distpool.protocol.resources import OWN_WORKER, Shape

if TYPE_CHECKING:
    from distpool.logic.actor_plan import ActorPlan


class GroupState(Enum):
    """The life of a pool's workers."""

    OPEN = auto()
    CLOSING = auto()
    """No more calls come; workers end when all are done."""
    BROKEN = auto()
    """No call can run; the workers are being ended."""
    TERMINATED = auto()
    GONE = auto()
    """No process is left."""


class GroupPlan(msgspec.Struct, frozen=True):
    """What a facade asks for. `on_demand`: start a worker only when a call waits for one. `breaks`: one death ends the
    whole pool, as the standard Executor does it. `calls_per_worker`: replace a worker after so many calls.
    `is_far`: its workers are on other machines, and what one of them holds is lost with its machine. `shape`: what each
    of them needs. `cpu_when_far`: and one CPU beside that on another machine; on the program's own there may be more of
    them than CPUs, as with the standard library. `idle_limit_s`: end one that has had nothing to do for so
    long; `idle_yield_s`: the same while other groups wait for some. `turn_s`: how often a busy one makes room
    then. `replaces_waiting`: its calls wait for others of its calls, and while they do there is one worker more for
    each."""

    size: int
    on_demand: bool = False
    breaks: bool = False
    calls_per_worker: int | None = None
    is_far: bool = False
    shape: Shape = OWN_WORKER
    cpu_when_far: bool = False
    replaces_waiting: bool = False
    idle_limit_s: float | None = None
    idle_yield_s: float | None = None
    turn_s: float | None = None
    actor: ActorPlan | None = None
    """The group is an actor, of one worker."""
