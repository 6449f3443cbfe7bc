"""Worker processes as their user sees them: what `pool._pool` and `executor._processes` hold."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

from distpool.ids import LeaseId

Wait = Callable[[Callable[[], bool], float | None], None]
"""Wait until something is so, at most for so many seconds."""


class WorkerHandle:
    """One worker process, read-only but for signals; it has the attributes of `multiprocessing.Process` that apply."""

    def __init__(self, lease: LeaseId, name: str, *, daemon: bool, wait: Wait) -> None:
        self.lease = lease
        self.name = name
        self.daemon = daemon
        self.exitcode: int | None = None
        self.known_pid: int | None = None
        self._wait = wait
        self._sentinel: int | None = None

    @property
    def pid(self) -> int | None:
        """The process id; waits the few milliseconds until the process has been started."""
        if self.known_pid is None and self.exitcode is None:
            self._wait(lambda: self.known_pid is not None or self.exitcode is not None, None)
        return self.known_pid

    @property
    def ident(self) -> int | None:
        """The process id."""
        return self.pid

    @property
    def sentinel(self) -> int:
        """A descriptor that becomes ready when the process ends. Raises ProcessLookupError when it has ended before."""
        if self._sentinel is None:
            self._sentinel = os.pidfd_open(self.pid or 0)
        return self._sentinel

    def is_alive(self) -> bool:
        return self.exitcode is None

    def join(self, timeout: float | None = None) -> None:
        """Wait for the process to end, at most `timeout` seconds."""
        self._wait(lambda: self.exitcode is not None, timeout)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._signal(signal.SIGKILL)

    def ended(self, exitcode: int) -> None:
        """The launcher says so."""
        self.exitcode = exitcode

    def _signal(self, number: int) -> None:
        if self.exitcode is None and self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def __del__(self) -> None:
        if self._sentinel is not None:
            os.close(self._sentinel)

    def __repr__(self) -> str:
        state = "started" if self.exitcode is None else f"stopped exitcode={self.exitcode}"
        return f"<WorkerProcess name={self.name!r} pid={self.known_pid} {state}{' daemon' if self.daemon else ''}>"
