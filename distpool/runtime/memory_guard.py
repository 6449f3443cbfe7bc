"""The memory guard: while workers run calls it looks how much memory is in use, and ends one before the system does.

What it ends is decided by `logic.memory_guard`. It ends one worker at a time, and looks again when that has ended.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Container
from typing import TYPE_CHECKING, Any

import msgspec

from distpool.config import Settings
from distpool.ids import LeaseId
from distpool.logic.sizes import size_text
from distpool.protocol.messages import Death, EndWorker
from distpool.quantities import size_bytes
from distpool.runtime.launcher import Launcher
from distpool.settings import OFF, Chosen

if TYPE_CHECKING:
    from distpool.logic.memory_guard import Excess, Weighed

_WEIGHED = 16
"""So many workers, the largest, are looked at page by page."""


class MemoryGuard:
    """Owned by whoever holds the loop. `client`: has what workers run; `living`: leases whose worker is not buried."""

    def __init__(
        self,
        settings: Settings,
        chosen: Chosen,
        launcher: Launcher,
        client: Any,
        living: Container[LeaseId],
        *,
        is_needed: bool = True,
    ) -> None:
        """`is_needed`: workers are processes of this machine."""
        self._settings = settings
        self._limit = chosen.memory_limit
        self._launcher = launcher
        self._client = client
        self._living = living
        self.look_at = 0.0 if is_needed and self._limit != OFF else math.inf
        """When it is to look next, if workers run calls then."""
        self.where = ""
        """The node that it is on, for people elsewhere; empty: the program's own machine."""
        self._is_awaited = False
        self._ending: LeaseId | None = None
        self._reasons: dict[LeaseId, str] = {}
        self._has_complained = False

    def due(self, now: float) -> float | None:
        """Before the loop sleeps: when it has to wake up for this. None: nobody runs calls, so memory is not the
        business of this process."""
        if self.look_at == math.inf or not self._client.has_outstanding():
            self._is_awaited = False
            return None
        if not self._is_awaited and now > self.look_at:
            self.look_at = now + self._settings.look_at_memory_s  # after a rest: a call has just been sent
        self._is_awaited = True
        return self.look_at

    def look(self, now: float) -> None:
        """End a worker if too much memory is in use."""
        is_late = now > self.look_at + self._settings.look_at_memory_s
        self.look_at = now + self._settings.look_at_memory_s
        is_awaited, self._is_awaited = self._is_awaited, False
        if (is_late and not is_awaited) or not self._client.has_outstanding() or self._ending in self._living:
            return
        excess = self._excess()
        if excess is None:
            self._has_complained = False
            return
        from distpool.logic.memory_guard import why_ended, worker_to_end  # most programs have memory enough

        workers = self._weighed(now)
        chosen = worker_to_end(workers, int(excess.total_bytes * self._settings.memory_worth_share))
        if chosen is not None:
            self._end(chosen, self._at() + why_ended(chosen, workers, excess))
        elif not self._has_complained:
            self._has_complained = True
            self._launcher.note(f"{self._at()}{excess}; no worker that runs a call has so much that its end would help")

    def explained(self, lease: LeaseId, death: Death) -> Death:
        """The end of a worker, with the reason if it was ended here."""
        reason = self._reasons.pop(lease, "")
        if not reason or death.exitcode != -signal.SIGKILL:
            return death
        return msgspec.structs.replace(death, note=reason, memory_ran_out=True)

    def _end(self, chosen: Weighed, reason: str) -> None:
        running = chosen.running
        self._ending = running.lease
        self._reasons[running.lease] = reason
        self._launcher.handle(EndWorker(running.lease, running.group, 0.0))
        self._launcher.note(
            f"worker process {chosen.pid}, which has {size_text(chosen.memory_bytes)}, is ended as memory is about to "
            f"run out. {reason}"
        )

    def _at(self) -> str:
        return f"On node {self.where!r}: " if self.where else ""

    def _excess(self) -> Excess | None:
        from distpool.runtime.memory_use import uses  # not before calls have run for a while

        for use in uses():
            limit = self._limit_of(use.total_bytes)
            if use.used_bytes > limit:
                from distpool.logic.memory_guard import Excess

                return Excess(use.place, use.used_bytes, limit, use.total_bytes)
        return None

    def _limit_of(self, total_bytes: int) -> int:
        if self._limit is None:
            return int(total_bytes * self._settings.memory_limit_share)
        return size_bytes(self._limit, "memory_limit", smallest=1, whole=lambda: total_bytes)

    def _weighed(self, now: float) -> list[Weighed]:
        """The largest workers that run calls, with what each has alone: since a fork it shares much with its parent."""
        from distpool.logic.memory_guard import Weighed
        from distpool.runtime.memory_use import own_bytes, resident_bytes

        found = []
        for running in self._client.running():
            crew = self._launcher.crews.get(running.group)
            handle = None if crew is None else crew.handles.get(running.lease)
            if handle is not None and handle.known_pid is not None:
                found.append((resident_bytes(handle.known_pid), running, handle))
        found.sort(key=lambda each: -each[0])
        return [
            Weighed(running, handle.known_pid or 0, own_bytes(handle.known_pid or 0), handle.name)
            for _, running, handle in found[:_WEIGHED]
        ]
