"""The life of a process that only serves: turns one after another, asleep in between, until a signal ends it."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from types import FrameType

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Serving:
    """For the main thread. Ctrl-C and SIGTERM end it between two turns."""

    def __init__(self, gentle: signal.Signals | None = None) -> None:
        """`gentle`: the signal whose first coming only asks for an end."""
        self.is_over = False
        """A signal has come."""
        self.is_asked_to_end = False
        self._gentle = gentle
        self.descriptor, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # `descriptor` becomes ready when a signal comes.
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in ENDING_SIGNALS:
            signal.signal(number, self._note)

    def run(
        self, turn: Callable[[float], float | None], has_some: Callable[[], bool], descriptors: Iterable[int]
    ) -> None:
        """Until a signal comes, or `turn` sets `is_over`. `turn` says when it wants the next one without news; it comes
        at once when one of the descriptors is ready, or `has_some()` after it."""
        poll = select.poll()
        for descriptor in (self.descriptor, *descriptors):
            poll.register(descriptor, select.POLLIN)
        while not self.is_over:
            wake_at = turn(time.monotonic())
            if self.is_over or has_some():
                continue
            poll.poll(None if wake_at is None else max(0.0, (wake_at - time.monotonic()) * 1000) + 1)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == self._gentle and not self.is_asked_to_end:
            self.is_asked_to_end = True
        else:
            self.is_over = True
