"""Calls of one actor that have to wait, for values that their arguments name, or for the calls before them.

They are handed in in the order in which they were made: a call whose arguments are there does not overtake another.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from distpool.logic.promises import Promise
from distpool.protocol.messages import CallMode
from distpool.tasks.calls import Prepared, Task, WaitingTask


class Turn:
    """One of them. `is_decided`: it can be handed in, or has ended without that."""

    def __init__(self, task: Task, mode: CallMode) -> None:
        self.task = task
        self.mode = mode
        self.call: Prepared | None = None
        self.is_decided = False


class WaitingCall(WaitingTask):
    """A call that waits for values."""

    def __init__(self, turns: Turns, turn: Turn, call: Prepared, needed: list[Promise]) -> None:
        super().__init__(turn.task, call, needed, turn.task.workers.arguments.dump, self._keep)
        self._turns = turns
        self._turn = turn

    def _keep(self, task: Any, call: Prepared) -> None:
        self._turn.call = call

    def _go(self) -> None:
        super()._go()
        self._turns.decided(self._turn)


class Turns:
    """Used by any thread."""

    def __init__(self) -> None:
        # Re-entrant: what is handed in late may end at once, and with it what another call waits for.
        self._lock = threading.RLock()
        self._turns: deque[Turn] = deque()
        self.are_waiting = False
        """Some wait; a call that comes now must too."""

    def add(self, task: Task, call: Prepared, needed: list[Promise], mode: CallMode) -> None:
        """The next call."""
        turn = Turn(task, mode)
        with self._lock:
            self.are_waiting = True
            self._turns.append(turn)
        if needed:
            WaitingCall(self, turn, call, needed).begin()
        else:
            turn.call = call
            self.decided(turn)

    def decided(self, turn: Turn) -> None:
        """Hand in those at the front that can be."""
        turn.is_decided = True
        with self._lock:
            while self._turns and self._turns[0].is_decided:
                # It is removed when it has been handed in, so that no call comes between.
                first = self._turns[0]
                call = first.call
                if call is not None:
                    workers = first.task.workers
                    workers.hand_in_call(call.function, call.pickled, first.task, call.options, call.name, first.mode)
                self._turns.popleft()
            self.are_waiting = bool(self._turns)
        turn.task.workers.poke()
