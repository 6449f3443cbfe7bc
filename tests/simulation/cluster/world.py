"""A head, nodes, drivers and their workers in one thread. A seeded random source decides what happens next.

Time stands still while somebody can do something, but for short slips; then it jumps to the next thing that is due.
What must hold at every moment is checked here, what is about calls in `ledger`.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import count
from operator import itemgetter

from distpool.config import Settings
from distpool.ids import GroupId, LeaseId
from distpool.protocol.devices import Device
from distpool.transport.keys import Allowed, Part
from tests.simulation.cluster.ledger import ClusterLedger
from tests.simulation.cluster.network import Network
from tests.simulation.cluster.processes import NEVER, DriverProcess, HeadProcess, NodeProcess, Process
from tests.simulation.ledger import Call, Point
from tests.simulation.pretend import PretendLane, PretendWorker
from tests.simulation.templates import PretendTemplate
from tests.simulation.transcript import Transcript, Violation

STEPS_LIMIT = 200_000
Action = Callable[[], object]


class ClusterWorld:
    """Everybody who can do something, and the clock."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now = 1000.0
        self.settings = Settings(calls_ahead_limit=rng.choice([2, 8, 4096]))
        self.transcript = Transcript()
        self.ledger = ClusterLedger(self)
        self.members: dict[str, Allowed] = {}
        """Those whose keys are let in, by their keys."""
        self.processes: dict[str, Process] = {}
        self.workers: dict[LeaseId, PretendWorker] = {}
        self.alive: dict[LeaseId, PretendWorker] = {}
        self.templates: list[PretendTemplate] = []
        self.devices: tuple[Device, ...] = ()
        """Of each node."""
        self.steps = 0
        self._places: dict[LeaseId, tuple[NodeProcess, GroupId]] = {}
        self._agenda: list[tuple[float, int, Action]] = []
        self._agenda_numbers = count()
        self._ring_limit = rng.choice([2, 1000])
        self._stalls = rng.choice([0.0, 0.0, 0.1, 0.4])
        self._calm = rng.choice([0.5, 0.9])
        self.network = Network(self)

    # Who is there ---------------------------------------------------------------------------------------------------

    def let_in(self, host: str, part: Part) -> None:
        self.members[host] = Allowed(host, part, host)

    def start_head(self) -> HeadProcess:
        return HeadProcess(self)

    def start_driver(self, host: str) -> DriverProcess:
        self.let_in(host, Part.DRIVER)
        return DriverProcess(self, host)

    def start_node(self, host: str, name: str, cpus: int, failing: float) -> NodeProcess:
        self.let_in(host, Part.NODE)
        return NodeProcess(self, host, name, cpus, failing)

    def head(self) -> HeadProcess | None:
        head = self.processes.get("head")
        return head if isinstance(head, HeadProcess) else None

    def nodes(self) -> list[NodeProcess]:
        return [process for process in self.processes.values() if isinstance(process, NodeProcess)]

    def drivers(self) -> list[DriverProcess]:
        return [process for process in self.processes.values() if isinstance(process, DriverProcess)]

    def group_of_worker(self, lease: LeaseId) -> GroupId:
        return self._places[lease][1]

    def is_stopped(self, host: str) -> bool:
        process = self.processes.get(host)
        return process is not None and process.is_stopped

    # What the hands ask for -----------------------------------------------------------------------------------------

    def after(self, delay_s: float, action: Action) -> None:
        heappush(self._agenda, (self.now + delay_s, next(self._agenda_numbers), action))

    def tell(self, who: object, whom: object, what: object) -> None:
        self.transcript.add(self.now - 1000.0, who, whom, what)

    def draws(self, probability: float) -> bool:
        return self.rng.random() < probability

    def delay(self) -> float:
        """How long a process takes to its next step: nothing worth mentioning, or the system runs others meanwhile."""
        return self.rng.choice([1e-4, 1.5e-3, 1e-2, 5e-2]) if self.rng.random() < self._stalls else 0.0

    def slip(self) -> None:
        while self.rng.random() > max(self._calm, 0.3):
            runnable = [worker for worker in self.alive.values() if worker.is_runnable(self.now)]
            if not runnable:
                return
            self.rng.choice(runnable).step()

    def begin(self, number: int, worker: PretendWorker, left_out: int) -> Call:
        return self.ledger.begin(number, worker.lease, left_out)

    def begin_item(self, call: Call, item: int) -> None:
        self.ledger.begin_item(call, item)

    def trapped(self, worker: PretendWorker) -> list[Call]:
        return []

    def finish(self, number: int) -> None:
        self.ledger.finish(number)

    def died(self, worker: PretendWorker, why: str, held: list[tuple[int, Point]]) -> None:
        self.tell(worker, "", why)
        self.ledger.died(worker.lease, held)
        self.alive.pop(worker.lease, None)

    def new_worker(self, node: NodeProcess, lease: LeaseId, group: GroupId) -> PretendWorker:
        if lease in self.workers:
            raise Violation("started twice", f"lease {lease} on {node}, and before on {self._places[lease][0]}")
        self.tell(node, "", f"starts worker {lease} for group {group}")
        self._places[lease] = (node, group)
        lane = node.hands.lanes[lease] = PretendLane(self, lease, 1000, self._ring_limit)
        worker = PretendWorker(self, lease, 100 + len(self.workers), lane, fails=False)
        self.workers[lease] = self.alive[lease] = worker
        crews = node.launcher.crews.values()
        running = sum(len(crew.workers) for crew in crews) + 1  # the crew has this one in a moment
        if running > node.cpus:
            raise Violation("over capacity", f"{node} has {node.cpus} CPUs and starts worker number {running}")
        return worker

    # Time and chance ------------------------------------------------------------------------------------------------

    def run(self, until: Callable[[], bool], limit_s: float, what: Callable[[], str]) -> None:
        """Until it is so. Raises Violation when it is not within `limit_s`; `what` says in words what is missing."""
        ends_at = self.now + limit_s
        try:
            while not until():
                if self.now > ends_at:
                    raise Violation("never ends", f"not within {limit_s:g} s: {what()}")
                self._step()
                self.steps += 1
                if self.steps > STEPS_LIMIT:
                    raise Violation("never ends", f"{STEPS_LIMIT} steps; {what()}")
        except Violation:
            raise
        except Exception as error:
            raise Violation("raised", "".join(traceback.format_exception(error))) from error

    def run_for(self, seconds: float) -> None:
        until = self.now + seconds
        self.after(seconds, lambda: None)
        self.run(lambda: self.now >= until, seconds, lambda: "time passes")

    def _step(self) -> None:
        if not self.steps % 64:
            self.templates = [template for template in self.templates if not template.has_ended]
        if self.rng.random() < 0.02:
            self.now += self.rng.choice([1e-5, 2e-4, 1e-3, 2.5e-3])
        events = list(self._events())
        soonest = min(events, key=itemgetter(0))[0]
        if soonest == NEVER:
            raise Violation("never ends", "nobody has anything to do")
        self.now = max(self.now, soonest)
        self.rng.choice([action for due, action in events if due <= self.now])()

    def _events(self) -> Iterator[tuple[float, Action]]:
        """What can happen next, and from when on."""
        now = self.now
        yield (self._agenda[0][0] if self._agenda else NEVER), self._next_on_agenda
        for process in self.processes.values():
            yield process.due_at(), process.run_turn
        for worker in self.alive.values():
            if worker.is_runnable(now):
                yield now, worker.step
            elif worker.due_at is not None:
                yield worker.due_at, worker.step
        for template in self.templates:
            if template.is_runnable(now):
                yield now, template.step
            elif template.kill_at and not template.has_ended:
                yield min(template.kill_at.values()), template.step

    def _next_on_agenda(self) -> None:
        heappop(self._agenda)[2]()
