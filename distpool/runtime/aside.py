"""What has to wait for other processes, and must not do so in the middle of a turn: it runs on a thread of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Aside:
    """Runs functions one after the other. The thread lives as long as there is something to run."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        # Held for a step of either, by any thread.
        self._lock = threading.Lock()
        self._runs = False

    def run(self, function: Callable[[], None]) -> None:
        """By any thread. `function` raises nothing."""
        with self._lock:
            self._waiting.append(function)
            if self._runs:
                return
            self._runs = True
        threading.Thread(target=self._run, name="distpool-aside", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._runs = False
                    return
                function = self._waiting.popleft()
            function()
