"""Pretend templates and their launcher: who starts pretend workers, ends them, and tells of their ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from distpool.ids import GroupId, LeaseId
from distpool.protocol.messages import (
    Death,
    EndWorker,
    GroupGone,
    Message,
    StartWorker,
    StopGroup,
    WorkerExited,
)
from tests.simulation.pretend import KILLED, TERMINATED, PretendWorker, Surroundings
from tests.simulation.transcript import Violation


class PretendTemplate:
    """A group's template. It obeys orders one after the other, reaps what has died, and ends when told and alone."""

    def __init__(self, world: Surroundings, group: GroupId) -> None:
        self.group = group
        self.orders: deque[PretendWorker | StopGroup | EndWorker] = deque()
        self.reaped: deque[PretendWorker] = deque()
        self.workers: list[PretendWorker] = []
        self.has_ended = False
        self._is_stopping = False
        self.kill_at: dict[LeaseId, float] = {}
        self._world = world

    def is_runnable(self, now: float) -> bool:
        if self.has_ended:
            return False
        if self.orders or any(at <= now for at in self.kill_at.values()):
            return True
        return any(worker.exitcode is not None for worker in self.workers) or (self._is_stopping and not self.workers)

    def step(self) -> None:
        if self._is_stopping and not self.workers:
            self._world.tell(f"template {self.group}", "", "ends")
            self.has_ended = True
            return
        dead = [worker for worker in self.workers if worker.exitcode is not None]
        due = [worker for worker in self.workers if self.kill_at.get(worker.lease, float("inf")) <= self._world.now]
        if due:
            for worker in due:
                del self.kill_at[worker.lease]
                if worker.exitcode is None:
                    worker.die(KILLED, f"was ended by signal {-KILLED}")
        elif dead and (not self.orders or self._world.draws(0.5)):
            self.workers.remove(dead[0])
            self.kill_at.pop(dead[0].lease, None)
            self.reaped.append(dead[0])
        elif self.orders:
            self._obey(self.orders.popleft())

    def be_killed(self) -> None:
        """The system kills the workers of a template that has died, a moment later."""
        self.has_ended = True
        self._world.tell(f"template {self.group}", "", "is killed")
        for order in self.orders:
            if isinstance(order, PretendWorker):
                order.die(KILLED, "was never started")
        for worker in self.workers:
            worker.is_orphan = True

    def _obey(self, order: PretendWorker | StopGroup | EndWorker) -> None:
        if isinstance(order, PretendWorker):
            order.due_at = self._world.now
            self.workers.append(order)
        elif isinstance(order, EndWorker):
            for worker in self.workers:
                if worker.lease == order.lease and worker.exitcode is None:
                    worker.interrupt()
                    self.kill_at[order.lease] = self._world.now + order.grace_s
        else:
            self._is_stopping = True
            for worker in self.workers:
                if worker.exitcode is None and not worker.ignores_sigterm:
                    worker.die(TERMINATED, f"was ended by signal {-TERMINATED}")
                grace_s = self._world.settings.terminate_grace_s if order.kill else 0.0
                self.kill_at[worker.lease] = self._world.now + grace_s


class Crew:
    """What the launcher knows of one group."""

    def __init__(self, template: PretendTemplate, size: int) -> None:
        self.template = template
        self.size = size
        self.workers: dict[LeaseId, PretendWorker] = {}
        self.stops_heard = 0


class PretendLauncher:
    """Starts templates and workers, and passes on what becomes of them."""

    def __init__(self, world: Surroundings, new_worker: Callable[[LeaseId, GroupId], PretendWorker]) -> None:
        self.crews: dict[GroupId, Crew] = {}
        self._world = world
        self._new_worker = new_worker

    def open(self, group: GroupId, size: int) -> None:
        self.crews[group] = Crew(PretendTemplate(self._world, group), size)

    def handle(self, message: Message) -> list[Message]:
        match message:
            case StartWorker(lease, group):
                crew = self.crews.get(group)
                if crew is None or crew.stops_heard:  # Its template has ended, or will; nobody has said so yet.
                    return [WorkerExited(lease, group, Death(0, KILLED))]
                if len(crew.workers) >= crew.size:
                    raise Violation("a lease too many", f"group {group} has {crew.size} workers and gets lease {lease}")
                worker = crew.workers[lease] = self._new_worker(lease, group)
                crew.template.orders.append(worker)
                if crew.template.has_ended:
                    worker.die(KILLED, "was never started")
            case EndWorker(_, group):
                if group in self.crews:
                    self.crews[group].template.orders.append(message)
            case StopGroup(group):
                crew = self.crews.get(group)
                if crew is not None:
                    crew.stops_heard += 1
                    if crew.stops_heard > 1:
                        raise Violation("told to stop twice", f"group {group}")
                    crew.template.orders.append(message)
            case other:
                raise Violation("raised", f"the launcher cannot handle {other!r}")
        return []

    def is_readable(self, group: GroupId) -> bool:
        template = self.crews[group].template
        return bool(template.reaped) or template.has_ended

    def receive(self, group: GroupId) -> list[Message]:
        """One death, or the end of the template with the deaths of all that nobody has told of."""
        crew = self.crews[group]
        if crew.template.reaped:
            return [self._ended(crew, crew.template.reaped.popleft())]
        for worker in crew.workers.values():
            if worker.exitcode is None:
                worker.die(KILLED, "died with its template")
        messages: list[Message] = [self._ended(crew, worker) for worker in list(crew.workers.values())]
        del self.crews[group]
        return [*messages, GroupGone(group)]

    def _ended(self, crew: Crew, worker: PretendWorker) -> WorkerExited:
        del crew.workers[worker.lease]
        assert worker.exitcode is not None
        return WorkerExited(worker.lease, crew.template.group, Death(worker.pid, worker.exitcode))
