"""The workers of a group on other machines, as their user sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distpool.ids import GroupId, LeaseId
from distpool.logic.calls import Claim
from distpool.protocol.messages import Death, EndWorker
from distpool.runtime.handles import Wait, WorkerHandle

Order = Callable[[EndWorker], Any]


class FarHandle(WorkerHandle):
    """A worker process of another machine. Its process id is known, and means something, only there."""

    def __init__(self, lease: LeaseId, group: GroupId, name: str, *, daemon: bool, wait: Wait, order: Order) -> None:
        super().__init__(lease, name, daemon=daemon, wait=wait)
        self._group = group
        self._order = order

    @property
    def pid(self) -> int | None:
        """None while the process lives."""
        return self.known_pid

    @property
    def sentinel(self) -> int:
        """Raises ProcessLookupError: there is no descriptor for a process of another machine."""
        raise ProcessLookupError(f"{self.name} runs on another machine, and has no descriptor here")

    def terminate(self) -> None:
        """Interrupt it, and kill it if it lives on."""
        self._order(EndWorker(self.lease, self._group, 0.5))

    def kill(self) -> None:
        """Kill it."""
        self._order(EndWorker(self.lease, self._group, 0.0))


class FarCrew:
    """The workers of one group."""

    def __init__(
        self, group: GroupId, names: str, claim: Claim | None, *, daemon: bool, wait: Wait, order: Order
    ) -> None:
        # What the initializer's arguments need of the store, for as long as a worker may be started.
        self.claim = claim
        self.handles: dict[LeaseId, WorkerHandle] = {}
        self._group = group
        self._names = names
        self._daemon = daemon
        self._wait = wait
        self._order = order
        self._started = 0

    def started(self, lease: LeaseId) -> None:
        self._started += 1
        name = f"{self._names}-{self._started}"
        self.handles[lease] = FarHandle(
            lease, self._group, name, daemon=self._daemon, wait=self._wait, order=self._order
        )

    def ended(self, lease: LeaseId, death: Death) -> None:
        handle = self.handles.pop(lease, None)
        if handle is not None:
            handle.known_pid = death.pid
            handle.ended(death.exitcode)
