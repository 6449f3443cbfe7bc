"""One run: random pools, calls, faults and ends from a seed, and what must be true when all is over."""

from __future__ import annotations

import pickle
import random
from dataclasses import dataclass, field

from distpool.config import SETTINGS
from distpool.ids import FunctionId, GroupId
from distpool.logic.calls import NO_OPTIONS, SCALAR_BYTES, Bundle, CallOptions
from distpool.logic.group import Group
from distpool.logic.group_plan import GroupPlan
from distpool.protocol.messages import CallMode, FunctionBlob, OutcomeKind
from tests.simulation.ledger import Allowed, Call, Handed, Point, Trap
from tests.simulation.pretend import KILLED
from tests.simulation.transcript import LAST_LINES, Violation
from tests.simulation.world import World

PATIENCE_S = 60.0
"""Simulated time in which everything must be done after the last action; the work of a run makes less than a third."""

TRAPS_OF_ITEMS = [Point.NOT_UNPICKLED, Point.RUNNING, Point.NOT_WRITTEN, Point.NOT_TOLD, Point.TOLD]
TRAPS_OF_CHUNKS = [Point.NOT_UNPICKLED, Point.FIRST_ITEM, Point.LATER_ITEM, Point.LATER_ITEM, Point.NOT_WRITTEN]

FUNCTIONS = [FunctionId(number) for number in range(4)]


@dataclass
class Pool:
    """A pool as its user sees it."""

    group: Group
    fragile: bool
    tiny_calls: float
    long_calls: float
    optional: float
    """How often its user asks for more than a call: time limits, retries, priorities."""
    handed: list[Handed] = field(default_factory=list)
    is_open: bool = True
    was_cancelled: bool = False
    was_terminated: bool = False
    lost_its_template: bool = False
    lost_a_worker: bool = False
    kills: int = 0

    def may_end_as(self, handed: Handed) -> Allowed:
        """What may become of a call, by what has been done to the pool."""
        plan = self.group.plan
        deaths = OutcomeKind.BROKEN if plan.breaks else OutcomeKind.LOST
        allowed = {
            OutcomeKind.VALUE: True,
            OutcomeKind.CANCELLED: handed.is_cancelled or self.was_cancelled,
            OutcomeKind.TERMINATED: self.was_terminated,
            OutcomeKind.TIMED_OUT: handed.calls[0].options.timeout_s is not None,
        }
        allowed[OutcomeKind.LOST] = self.lost_its_template
        # Workers that are killed before they are ready count as failed starts.
        may_fail_to_start = self.fragile or self.kills >= SETTINGS.start_failures_limit
        allowed[OutcomeKind.BROKEN] = may_fail_to_start or self.lost_its_template
        allowed[deaths] = allowed[deaths] or self.lost_a_worker
        return frozenset(kind for kind, is_allowed in allowed.items() if is_allowed)


class Scenario:
    """A seeded script for a world."""

    def __init__(self, seed: int, *, is_apart: bool = False) -> None:
        self.seed = seed
        self._rng = rng = random.Random(seed)
        self.world = World(rng, is_apart=is_apart)
        self.world.hosting.client.functions.update(
            {number: FunctionBlob(number, b"", False) for number in FUNCTIONS if number}
        )
        self.pools = [self._open(GroupId(number)) for number in range(1, rng.choice([2, 2, 3]))]
        self._long_calls_left = 8

    def run(self, lines: int | None = LAST_LINES) -> None:
        """Raises Violation, with the seed and what happened."""
        try:
            for pool in self.pools:
                self._plan_calls(pool)
                self._plan_faults(pool)
                self._plan_end(pool)
            self.world.run(PATIENCE_S)
            for pool in self.pools:
                if pool.is_open:  # Every call is done by now: nothing but its end is left.
                    self._require_all_ended(pool)
                    self.world.at(self.world.now, lambda pool=pool: self._close(pool))  # type: ignore[misc]
            self.world.run(PATIENCE_S)
            self._require_all_is_over()
        except Violation as violation:
            text = f"{violation.detail}\nseed {self.seed}\n{self.world.transcript.tail(lines)}"
            raise Violation(violation.rule, text) from violation

    # What is planned ------------------------------------------------------------------------------------------------

    def _open(self, group_id: GroupId) -> Pool:
        rng = self._rng
        plan = GroupPlan(
            size=rng.choice([1, 2, 2, 3, 4]),
            on_demand=rng.random() < 0.4,
            breaks=rng.random() < 0.2,
            calls_per_worker=rng.choice([None, None, None, 1, 2, 5]),
        )
        fragile = rng.choice([0.0] * 12 + [0.2, 1.0])
        self.world.tell("user", f"group {group_id}", f"{plan}, initializer fails at {fragile}")
        tiny_calls = rng.choice([0.0, 0.5, 0.95, 1.0])
        long_calls = rng.choice([0.02, 0.1])
        optional = rng.choice([0.0, 0.2, 0.8])
        return Pool(self.world.open(group_id, plan, fragile), fragile > 0.0, tiny_calls, long_calls, optional)

    def _moment(self) -> float:
        rng = self._rng
        return self.world.now + rng.choice([0.0, 0.0, rng.uniform(0.0, 0.003), rng.uniform(0.0, 0.05)])

    def _plan_calls(self, pool: Pool) -> None:
        rng = self._rng
        for _ in range(rng.randint(0, 6)):
            moment = self._moment()
            for _ in range(rng.choice([1, 1, 2, 8])):
                count = rng.choice([1, 1, 2, 5, 30, 60])
                self.world.at(moment, lambda count=count: self._submit(pool, count))  # type: ignore[misc]

    def _plan_faults(self, pool: Pool) -> None:
        rng = self._rng
        for _ in range(rng.choice([0, 0, 0, 0, 1, 3])):
            self.world.at(self._moment(), lambda: self._kill_worker(pool))
        if rng.random() < 0.05:
            self.world.at(self._moment(), lambda: self._kill_template(pool))
        for _ in range(rng.choice([0, 0, 1, 4])):
            self.world.at(self._moment(), lambda: self._cancel_one(pool))

    def _plan_end(self, pool: Pool) -> None:
        end = self._rng.choice([None, None, None, self._close, self._close, self._terminate, self._cancel_and_close])
        if end is not None:
            self.world.at(self._moment(), lambda: end(pool))

    # What the user does ---------------------------------------------------------------------------------------------

    def _do(self, what: str, pool: Pool, action: object, *arguments: object) -> None:
        self.world.tell("user", f"group {pool.group.id}", what)
        self.world.hosting.mailbox.append(lambda: action(*arguments))  # type: ignore[operator]

    def _submit(self, pool: Pool, count: int) -> None:
        if not pool.is_open:
            return
        rng = self._rng
        is_chunk = rng.random() < 0.25
        options = self._options() if rng.random() < pool.optional else NO_OPTIONS
        if is_chunk:
            count = -(-count // 4)
        calls = [self._new_call(pool, options, rng.randint(1, 5) if is_chunk else None) for _ in range(count)]
        first = rng.choice([0, 100])
        handed = Handed(
            calls, lambda: pool.may_end_as(handed), lambda: bool(pool.group.reason), self.world.ledger, first
        )
        pool.handed.append(handed)
        pool.lost_a_worker = pool.lost_a_worker or any(call.trap is not None for call in calls)
        if is_chunk:
            entries: list[object] = [pickle.dumps(call.number) for call in calls]
        elif rng.random() < 0.5:
            entries = [call.number for call in calls]
        else:
            entries = [pickle.dumps(call.number) if rng.random() < 0.8 else call.number for call in calls]
        bundle = Bundle(
            rng.choice(FUNCTIONS),
            CallMode.CHUNK if is_chunk else CallMode.ITEM,
            entries,
            handed,
            first,
            rng.choice([SCALAR_BYTES, 20, 1000]),
            options,
            chunksize=5 if is_chunk else 1,
        )
        numbers = f"{calls[0].number}" if count == 1 else f"{calls[0].number} to {calls[-1].number}"
        asked = "" if options is NO_OPTIONS else f" with {options}"
        self._do(f"submits calls {numbers}{asked}", pool, self._hand_in, pool, bundle, calls)

    def _hand_in(self, pool: Pool, bundle: Bundle, calls: list[Call]) -> None:
        if not pool.group.reason:
            self.world.note_submitted(pool.group.id, calls)
        self.world.hosting.client.submit(pool.group, [bundle])

    def _options(self) -> CallOptions:
        rng = self._rng
        return CallOptions(
            timeout_s=rng.choice([None, None, 0.01, 0.1, 0.3]),
            retries=rng.choice([0, 0, 1, 2]),
            priority=rng.choice([0, 0, -1, 5]),
        )

    def _new_call(self, pool: Pool, options: CallOptions, items: int | None) -> Call:
        rng = self._rng
        trap = None
        if rng.random() < (0.0015 if items is None and not options.retries else 0.02):
            point = rng.choice(TRAPS_OF_ITEMS if items is None else TRAPS_OF_CHUNKS)
            if point is Point.LATER_ITEM and items == 1:
                point = Point.FIRST_ITEM
            item = rng.randint(2, items) if point is Point.LATER_ITEM else 1  # type: ignore[arg-type]
            trap = Trap(point, item, rng.choice([1, 1, 2, 9]))
        return self.world.ledger.new_call(
            [self._work_s(pool) for _ in range(items or 1)],
            is_chunk=items is not None,
            options=options,
            trap=trap,
            is_stubborn=rng.random() < 0.3,
        )

    def _work_s(self, pool: Pool) -> float:
        rng = self._rng
        if self._long_calls_left and rng.random() < pool.long_calls:
            self._long_calls_left -= 1
            return rng.uniform(0.5, 2.0)
        return 2e-5 if rng.random() < pool.tiny_calls else rng.choice([3e-4, rng.uniform(1e-3, 2e-2)])

    def _kill_worker(self, pool: Pool) -> None:
        alive = [self.world.workers[lease] for lease in pool.group.leases]
        alive = [worker for worker in alive if worker.exitcode is None]
        if alive:
            pool.lost_a_worker = True
            pool.kills += 1
            busy = [worker for worker in alive if worker.in_call_since is not None]
            self._rng.choice(busy if busy and self._rng.random() < 0.5 else alive).die(KILLED, "is killed")

    def _kill_template(self, pool: Pool) -> None:
        crew = self.world.hosting.launcher.crews.get(pool.group.id)
        if crew is not None and not crew.template.has_ended:
            pool.lost_its_template = pool.lost_a_worker = True
            crew.template.be_killed()

    def _cancel_one(self, pool: Pool) -> None:
        waiting = [handed for handed in pool.handed if not handed.was_begun]
        if waiting:
            handed = self._rng.choice(waiting)
            handed.is_cancelled = True
            self.world.cancelled.update(call.number for call in handed.calls)
            self.world.tell("user", f"group {pool.group.id}", f"cancels calls from {handed.calls[0].number}")

    def _close(self, pool: Pool) -> None:
        pool.is_open = False
        self._do("closes", pool, self.world.hosting.client.close, pool.group)

    def _cancel_and_close(self, pool: Pool) -> None:
        pool.was_cancelled = True
        self._do("cancels what waits", pool, self.world.hosting.client.cancel_waiting, pool.group)
        self._close(pool)

    def _terminate(self, pool: Pool) -> None:
        pool.is_open = False
        pool.was_terminated = True
        terminate = self.world.hosting.client.terminate
        self._do("terminates", pool, terminate, pool.group, OutcomeKind.TERMINATED, "the pool was terminated")

    # What must be true at the end -----------------------------------------------------------------------------------

    def _require_all_ended(self, pool: Pool) -> None:
        for handed in pool.handed:
            if any(call.outcome is None for call in handed.calls):
                raise Violation("never ends", self.world.ledger.missing())

    def _require_all_is_over(self) -> None:
        world = self.world
        for pool in self.pools:
            self._require_all_ended(pool)
            if pool.group.id not in world.gone:
                raise Violation("a group stays", f"group {pool.group.id}: {list(pool.group.leases.values())}")
            if pool.group.leases or pool.group.outstanding:
                raise Violation("a lease stays", f"group {pool.group.id}: {list(pool.group.leases.values())}")
        hosting = world.hosting
        if hosting.lanes or hosting.client.groups or hosting.launcher.crews:
            raise Violation("a lease stays", f"lanes {list(hosting.lanes)}, groups {list(hosting.client.groups)}")
        placed = hosting.head.placement.leases_on(world.node_id)
        if placed:
            raise Violation("a lease stays", f"{placed} are placed at the head")
        alive = [str(worker) for worker in world.workers.values() if worker.exitcode is None]
        if alive:
            raise Violation("a worker stays", ", ".join(alive))
