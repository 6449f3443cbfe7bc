"""What programs read of an executor's inside, as far as distpool has something that means the same.

The standard executor has a thread that manages its workers and a queue of calls with a feeder thread. Whoever reads
them waits for their end: then no worker is left, and nothing more is sent.
"""

from __future__ import annotations

from distpool.runtime.workers import Workers


class ManagerThread:
    """`executor._executor_manager_thread`: ends when the executor's last worker has ended."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def is_alive(self) -> bool:
        return not self._workers.join(0.0)

    def join(self, timeout: float | None = None) -> None:
        """Wait until no worker is left, at most `timeout` seconds."""
        self._workers.join(timeout)


class CallQueue:
    """`executor._call_queue`: calls travel without a thread of their own, so there is only their end to wait for."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def join_thread(self) -> None:
        """Wait until no call can be sent any more."""
        self._workers.join()
