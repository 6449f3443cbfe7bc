"""What a world of one machine and that of a cluster have in common: a clock, chance, a transcript, and workers."""

from __future__ import annotations

import random
from typing import ClassVar

from distpool.ids import LeaseId
from tests.simulation.ledger import Call, Ledger, Point
from tests.simulation.pretend import PretendWorker
from tests.simulation.transcript import Transcript


class BaseWorld:
    """Has what the hands need from the world around them, but for what differs. `stalls_s`: how long a process may take
    longer than it must to its next step."""

    stalls_s: ClassVar[tuple[float, ...]]
    ledger: Ledger

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now = 1000.0
        self.transcript = Transcript()
        self.workers: dict[LeaseId, PretendWorker] = {}
        self.alive: dict[LeaseId, PretendWorker] = {}
        self._stalls = 0.0
        self._calm = 0.0

    def tell(self, who: object, whom: object, what: object) -> None:
        self.transcript.add(self.now - 1000.0, who, whom, what)

    def draws(self, probability: float) -> bool:
        return self.rng.random() < probability

    def delay(self) -> float:
        """How long a process takes to its next step: nothing worth mentioning, or the system runs others meanwhile."""
        return self.rng.choice(self.stalls_s) if self.rng.random() < self._stalls else 0.0

    def slip(self) -> None:
        while self.rng.random() > max(self._calm, 0.3):
            runnable = [worker for worker in self.alive.values() if worker.is_runnable(self.now)]
            if not runnable:
                return
            self.rng.choice(runnable).step()

    def begin_item(self, call: Call, item: int) -> None:
        self.ledger.begin_item(call, item)

    def finish(self, number: int) -> None:
        self.ledger.finish(number)

    def died(self, worker: PretendWorker, why: str, held: list[tuple[int, Point]]) -> None:
        self.tell(worker, "", why)
        self.ledger.died(worker.lease, held)
        self.alive.pop(worker.lease, None)
