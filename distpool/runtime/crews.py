"""Templates and the workers that they have started, as the launcher of this process has them.

A group has a crew; its template is its own, or shared by groups that ask for the same. A shared template ends with the
last of them.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from distpool.ids import GroupId, LeaseId
from distpool.logic.calls import Claim
from distpool.protocol.messages import Death, WorkerExited
from distpool.runtime.handles import WorkerHandle
from distpool.runtime.main_view import MainView
from distpool.runtime.output import can_be_forwarded
from distpool.transport.ring import Ring, ring_size

if TYPE_CHECKING:
    from distpool.runtime.launch_plan import LaunchPlan


class TemplateHandle:
    """A template process. `rings`: the memory of its workers' rings, with places for `places` of them."""

    def __init__(self, pid: int, control: socket.socket, rings: int, places: int, ring_bytes: int) -> None:
        self.pid = pid
        self.control = control
        self.rings = rings
        self.crews: dict[GroupId, Crew] = {}
        self.is_stopping = False
        self.main: MainView | None = None
        """What its workers have of this process's `__main__`; None for those of a caller elsewhere."""
        # Of a fork: its parent's CUDA had begun, so that the choice of devices comes too late for its workers.
        self.has_cuda = False
        self._ring_bytes = ring_bytes
        self._places = places
        self._free = list(range(places - 1, -1, -1))

    def take_place(self) -> int:
        """For the ring of one more worker. The memory grows when all are taken: what nobody writes to takes none."""
        if not self._free:
            self._free = list(range(2 * self._places, self._places - 1, -1))
            self._places = 2 * self._places + 1
            os.ftruncate(self.rings, self._places * ring_size(self._ring_bytes))
        return self._free.pop()

    def ring_at(self, place: int) -> Ring:
        """As a new worker is to find it."""
        ring = Ring(self.rings, place * ring_size(self._ring_bytes), self._ring_bytes)
        ring.clear()
        return ring

    def free_place(self, place: int) -> None:
        self._free.append(place)

    def crew_of(self, lease: LeaseId) -> Crew:
        return next(crew for crew in self.crews.values() if lease in crew.handles)

    def close(self) -> None:
        self.control.close()
        os.close(self.rings)


class Crew:
    """The workers of one group."""

    def __init__(self, group: GroupId, plan: LaunchPlan, template: TemplateHandle, claim: Claim | None) -> None:
        self.group = group
        self.plan = plan
        # What the initializer's arguments need of the store, for as long as a worker may be started.
        self.claim = claim
        self.template = template
        self.handles: dict[LeaseId, WorkerHandle] = {}
        self.is_stopping = False
        self.forwards_output = can_be_forwarded()
        self._places: dict[LeaseId, int] = {}
        template.crews[group] = self

    def add(self, lease: LeaseId, handle: WorkerHandle) -> int:
        """A worker is about to be started: the place of its ring."""
        self.handles[lease] = handle
        place = self._places[lease] = self.template.take_place()
        return place

    def ended(self, lease: LeaseId, death: Death) -> WorkerExited:
        self.handles.pop(lease).ended(death.exitcode)
        self.template.free_place(self._places.pop(lease))
        return WorkerExited(lease, self.group, death)

    def shares_template(self) -> bool:
        """With a group that still needs it."""
        return any(not crew.is_stopping for crew in self.template.crews.values() if crew is not self)
