"""A driver, its node and head, and their workers in one thread. A seeded random source decides what happens next.

Time stands still while somebody can do something, but for short slips; then it jumps to the next thing that is due.
The world chooses among the loop (`hosting`), workers, templates and the user. What must hold at every moment is checked
here, what is about calls in `ledger`.
"""

from __future__ import annotations

import random
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator

from distpool.config import Settings
from distpool.ids import GroupId, LeaseId, NodeId
from distpool.logic.group import Group
from distpool.logic.group_plan import GroupPlan
from distpool.logic.leases import LeaseState
from tests.simulation.base_world import BaseWorld
from tests.simulation.hosting import Hosting
from tests.simulation.ledger import SLACK_S, Call, Ledger
from tests.simulation.pretend import PretendLane, PretendWorker
from tests.simulation.templates import PretendTemplate
from tests.simulation.transcript import Violation

STEPS_LIMIT = 20_000


class World(BaseWorld):
    """Everybody who can do something, and the clock."""

    stalls_s = (1e-4, 1.5e-3, 3e-3, 1e-2)

    def __init__(self, rng: random.Random, *, is_apart: bool) -> None:
        super().__init__(rng)
        self.node_id = NodeId("here")
        self.settings = Settings(
            calls_ahead_limit=rng.choice([2, 8, 4096]),
            bytes_ahead_limit=rng.choice([64, 256 * 1024]),
            recall_after_s=0.02 if is_apart else 60.0,
        )
        self.ledger = Ledger(self.tell, lambda: self.now)
        self.groups: dict[GroupId, Group] = {}
        self.gone: set[GroupId] = set()
        self.fragile: dict[GroupId, float] = {}
        self.templates: list[PretendTemplate] = []
        self.traps: list[Call] = []
        self.never_sent: dict[GroupId, defaultdict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        self.cancelled: set[int] = set()
        self.script: list[tuple[float, Callable[[], None]]] = []
        self.is_quiet_after = self.now
        self._frames_limit = rng.choice([2, 1000])
        self._ring_limit = rng.choice([2, 1000])
        self._stalls = rng.choice([0.0, 0.1, 0.4])
        self._calm = rng.choice([0.0, 0.5, 0.9])
        self.hosting = Hosting(self, is_apart=is_apart)

    # What the hands ask for -----------------------------------------------------------------------------------------

    def begin(self, number: int, worker: PretendWorker, left_out: int) -> Call:
        limit = self._group_of(worker.lease).plan.calls_per_worker
        if limit is not None and worker.calls_begun > limit:
            raise Violation("worker of too many calls", f"{worker} begins call {number} after {limit}")
        return self.ledger.begin(number, worker.lease, left_out)

    def trapped(self, worker: PretendWorker) -> list[Call]:
        return [call for call in self.traps if call.lease == worker.lease]

    def new_worker(self, lease: LeaseId, group: GroupId) -> PretendWorker:
        lane = self.hosting.lanes[lease] = PretendLane(self, lease, self._frames_limit, self._ring_limit)
        worker = PretendWorker(self, lease, 100 + lease, lane, fails=self.draws(self.fragile[group]))
        self.workers[lease] = self.alive[lease] = worker
        return worker

    def check_sent(self, lease: LeaseId, sent: list[int]) -> None:
        """Calls may go to this worker, and there is none that should have gone before them."""
        group = self._group_of(lease)
        state = group.leases[lease].state
        if state is not LeaseState.READY:
            raise Violation("sent to a worker that is not ready", f"lease {lease} is {state.name}")
        never_sent = self.never_sent[group.id]
        for number in sent:
            call = self.ledger.calls[number]
            call.lease = lease
            never_sent[call.options.priority].discard(number)
        lowest = min((self.ledger.calls[number].options.priority for number in sent), default=None)
        for priority, waiting in never_sent.items():
            if lowest is not None and priority > lowest and any(map(self._waits, waiting)):
                raise Violation("a higher one waits", f"priority {lowest} is sent, and {priority} waits: {waiting}")

    def _waits(self, number: int) -> bool:
        return self.ledger.calls[number].outcome is None and number not in self.cancelled

    def note_submitted(self, group_id: GroupId, calls: list[Call]) -> None:
        self.traps += [call for call in calls if call.trap is not None]
        for call in calls:
            self.never_sent[group_id][call.options.priority].add(call.number)

    # What the user does ---------------------------------------------------------------------------------------------

    def open(self, group_id: GroupId, plan: GroupPlan, fragile: float) -> Group:
        self.hosting.launcher.open(group_id, plan.size)
        self.templates.append(self.hosting.launcher.crews[group_id].template)
        self.fragile[group_id] = fragile
        group = self.groups[group_id] = self.hosting.client.open(group_id, plan)
        group.on_gone = lambda: self._note_gone(group_id)
        return group

    def at(self, when: float, action: Callable[[], None]) -> None:
        self.script.append((when, action))
        self.is_quiet_after = max(self.is_quiet_after, when)

    def _note_gone(self, group_id: GroupId) -> None:
        if group_id in self.gone:
            raise Violation("gone twice", f"group {group_id}")
        self.gone.add(group_id)

    def _group_of(self, lease: LeaseId) -> Group:
        return next(group for group in self.groups.values() if lease in group.leases)

    # Time and chance ------------------------------------------------------------------------------------------------

    def run(self, patience_s: float) -> None:
        """Until nothing is left to do. All must be done `patience_s` after the user's last action."""
        try:
            for _ in range(STEPS_LIMIT):
                if not self._step():
                    return
                if self.now > self.is_quiet_after + patience_s:
                    raise Violation("never ends", f"busy {patience_s} s after the last action; {self.ledger.missing()}")
            raise Violation("never ends", f"{STEPS_LIMIT} steps; {self.ledger.missing()}")
        except Violation:
            raise
        except Exception as error:
            raise Violation("raised", "".join(traceback.format_exception(error))) from error

    def _step(self) -> bool:
        if self.rng.random() < 0.02:
            self.now += self.rng.choice([1e-5, 2e-4, 1e-3, 2.5e-3])
        able = list(self._able())
        if not able:
            due = list(self._due())
            if not due:
                return False
            self.now = max(self.now, min(due))
            self._check_nobody_waits_in_vain()
            able = list(self._able())
        self.rng.choice(able)()
        self._check_credits()
        return True

    def _able(self) -> Iterator[Callable[[], None]]:
        now, hosting = self.now, self.hosting
        due = hosting.due_at()
        if due is not None and due <= now:
            yield hosting.turn
        if hosting.has_mail_between_roles():
            yield hosting.deliver_one
        yield from (worker.step for worker in self.alive.values() if worker.is_runnable(now))
        yield from (template.step for template in self.templates if template.is_runnable(now))
        yield from (
            lambda entry=entry: self._act(entry)  # type: ignore[misc]
            for entry in self.script
            if entry[0] <= now
        )

    def _act(self, entry: tuple[float, Callable[[], None]]) -> None:
        self.script.remove(entry)
        self.is_quiet_after = max(self.is_quiet_after, self.now)
        entry[1]()

    def _due(self) -> Iterator[float]:
        due = self.hosting.due_at()
        if due is not None:
            yield due
        for worker in self.alive.values():
            if worker.due_at not in (None, float("inf")):
                yield worker.due_at  # type: ignore[misc]
        yield from (at for template in self.templates if not template.has_ended for at in template.kill_at.values())
        yield from (at for at, _ in self.script)

    # Rules of every moment ------------------------------------------------------------------------------------------

    def _check_credits(self) -> None:
        for lease_id, lane in self.hosting.lanes.items():
            group = next((g for g in self.groups.values() if lease_id in g.leases), None)
            if group is None or group.reason:
                continue
            held = group.leases[lease_id].holding.calls
            if lane.calls_not_begun() > held:
                raise Violation("credit", f"lane {lease_id} has {lane.calls_not_begun()} calls, {held} are held")

    def _check_nobody_waits_in_vain(self) -> None:
        """Looked at when time has jumped: nothing could be done meanwhile."""
        before = self.now - SLACK_S
        late = self.ledger.finished_before(before)
        if late:
            raise Violation("a result waits", f"calls {late} were finished {SLACK_S} s ago")
        for lease_id, condemned_at in self.ledger.condemned.items():
            if lease_id in self.alive and condemned_at + self.settings.interrupt_grace_s < before:
                raise Violation("a worker stays", f"worker {lease_id} lives on after its call was timed out")
        for group_id, group in self.groups.items():
            if group_id in self.gone or group.reason:
                continue
            running = [(lease, self.workers[lease].call) for lease in group.leases]
            for lease_id, call in running:
                if call is not None and call.is_over_its_limit(before) and lease_id not in self.ledger.condemned:
                    raise Violation("over its limit", f"worker {lease_id} runs call {call.number} for too long")
            for lease in group.leases.values():
                if lease.state is LeaseState.STOPPING and _is_before(self.workers[lease.id].idle_since, before):
                    raise Violation("never stops", f"lease {lease.id} waits for an idle worker to drop its calls")
            leases = [lease for lease in group.leases.values() if lease.state is LeaseState.READY]
            workers = [self.workers[lease.id] for lease in leases if lease.calls_left != 0]
            if not any(_is_before(worker.idle_since, before) for worker in workers):
                continue
            if group.queue.waiting:
                raise Violation("an idle worker", f"{group.queue.waiting} calls wait in the queue of group {group_id}")
            for worker in workers:
                if _is_before(worker.in_call_since, before) and worker.lane.calls_not_begun():
                    raise Violation("an idle worker", f"and calls wait behind a long one at {worker}")


def _is_before(moment: float | None, limit: float) -> bool:
    return moment is not None and moment < limit
