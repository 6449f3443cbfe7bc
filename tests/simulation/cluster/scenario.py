"""One run of a cluster: random nodes, drivers, pools, calls and faults from a seed, and what must be true when all is
over.

First the faults come and heal; then every call ends, and every pool gets the workers that there is room for; then the
drivers leave, and nothing of them is left anywhere. Each of these has a limit of simulated time.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from distpool.ids import FunctionId, GroupId
from distpool.logic.calls import SCALAR_BYTES, Bundle, CallOptions
from distpool.logic.group import Group, GroupPlan
from distpool.protocol.cluster import OpenGroup
from distpool.protocol.devices import Device
from distpool.protocol.messages import CallMode, FunctionBlob, OutcomeKind
from distpool.protocol.resources import NODE_WORKER, UNIT, Shape, Strategy
from distpool.roles.head import HeadRole
from tests.simulation.cluster.faults import Faults
from tests.simulation.cluster.processes import DriverProcess, WatchedCrew, pretended_sockets
from tests.simulation.cluster.world import ClusterWorld
from tests.simulation.ledger import Allowed, Handed
from tests.simulation.transcript import LAST_LINES, Violation

SETTLED_WITHIN_S = 15.0
"""After the last fault has healed: a silence, a connection, a grant that is not taken, and the work itself."""
GONE_WITHIN_S = 10.0
LAST_DEED_S = 9.0
"""When the last pool was opened, and got its last calls."""

FUNCTION = FunctionId(1)
RESTART_S = 0.5


HALF_GPU = Shape(gpus=UNIT // 2, strategy=Strategy.SPREAD)
GPU = Shape(gpus=UNIT, strategy=Strategy.SPREAD)
SHAPES = [NODE_WORKER, HALF_GPU, HALF_GPU, GPU, Shape(gpus=2 * UNIT)]


@dataclass
class Pool:
    """A pool as its user sees it."""

    driver: DriverProcess
    group: Group
    handed: list[Handed] = field(default_factory=list)
    is_open: bool = True
    was_terminated: bool = False


class ClusterScenario:
    """A seeded script for a cluster."""

    def __init__(self, seed: int, *, has_gpus: bool = False) -> None:
        """`has_gpus`: nodes have two each, and some pools need whole ones or shares."""
        self.seed = seed
        self._has_gpus = has_gpus
        self._rng = rng = random.Random(seed)
        self.world = ClusterWorld(rng)
        self.faults = Faults(self, rng)
        self.pools: list[Pool] = []
        self._cpus: dict[str, int] = {}
        self._restarts: dict[str, tuple[float, str]] = {}
        if has_gpus:
            self.world.devices = (Device("0", "pretend", 0), Device("1", "pretend", 0))
        self._failing = rng.choice([0.0, 0.0, 0.0, 0.2])
        self._long_calls_left = 4
        self._nodes = 0

    def run(self, lines: int | None = LAST_LINES) -> None:
        """Raises Violation, with the seed and what happened."""
        try:
            with pretended_sockets(self.world):
                self._run()
        except Violation as violation:
            text = f"{violation.detail}\nseed {self.seed}\n{self.world.transcript.tail(lines)}"
            raise Violation(violation.rule, text) from violation

    def _run(self) -> None:
        rng, world = self._rng, self.world
        self.start_head()
        for _ in range(rng.choice([1, 1, 2, 2, 3])):
            self.add_node()
        drivers = [world.start_driver(f"driver {number}") for number in range(1, rng.choice([2, 3, 3]))]
        world.run(
            lambda: all(driver.has_joined for driver in drivers), SETTLED_WITHIN_S, lambda: "no driver has joined"
        )
        calm_s = rng.choice([0.0, 0.05, 1.0])
        for driver in drivers:
            for _ in range(rng.choice([1, 1, 2])):
                opens_at = rng.choice([0.0, 0.0, calm_s, calm_s + rng.uniform(0.0, 4.0)])
                world.after(opens_at, lambda driver=driver: self._open(driver))  # type: ignore[misc]
        world.run_for(calm_s)
        healed_in_s = self.faults.plan(rng.choice([0, 1, 1, 2, 2, 3, 4]))
        world.run_for(max(healed_in_s, LAST_DEED_S) + 2 * RESTART_S)
        world.network.calm()
        world.run(self._all_is_quiet, SETTLED_WITHIN_S, self._state)
        for pool in self.pools:
            if pool.is_open:
                self.close(pool)
        for driver in world.drivers():
            driver.post(lambda driver=driver: setattr(driver, "is_done", True))  # type: ignore[misc]
        world.run(lambda: world.ledger.open_calls == 0, SETTLED_WITHIN_S, self._state)
        world.run(lambda: not world.drivers(), GONE_WITHIN_S, self._state)
        world.run(lambda: not self._remains(), GONE_WITHIN_S, lambda: f"left are {self._remains()}")

    # Who takes part -------------------------------------------------------------------------------------------------

    def hosts(self) -> list[str]:
        return [*self.world.members, "head"]

    def start_head(self) -> None:
        if self.world.head() is None:
            self.world.start_head()

    def add_node(self) -> None:
        self._nodes += 1
        host = f"node {self._nodes}"
        self._cpus[host] = self._rng.choice([1, 2, 3])
        self.restart_node(host, f"name {self._nodes}", 0.0)
        self._supervise(host)

    def restart_node(self, host: str, name: str, after_s: float) -> None:
        """When the agent that is there has ended, another is started under this name."""
        self._restarts[host] = (self.world.now + after_s, name)

    def _supervise(self, host: str) -> None:
        """Again and again: the head may not want it, as it takes the one before it for alive still."""
        not_before, name = self._restarts[host]
        if host not in self.world.processes and self.world.now >= not_before:
            self.world.tell(host, "", f"is started as {name!r} with {self._cpus[host]} CPUs")
            self.world.start_node(host, name, self._cpus[host], self._failing)
        self.world.after(RESTART_S, lambda: self._supervise(host))

    def kill_driver(self, driver: DriverProcess) -> None:
        driver.kill()
        for pool in self.pools:
            if pool.driver is driver:
                pool.is_open = False
                for handed in pool.handed:
                    self.world.ledger.abandoned(handed.calls)

    # What users do --------------------------------------------------------------------------------------------------

    def _open(self, driver: DriverProcess) -> None:
        if not driver.is_alive:
            return
        rng = self._rng
        group_id = GroupId(len(self.pools) + 1)
        plan = GroupPlan(
            size=rng.choice([1, 2, 3, 4]),
            on_demand=rng.random() < 0.3,
            calls_per_worker=rng.choice([None, None, None, 3]),
            is_far=True,
            shape=rng.choice(SHAPES) if self._has_gpus else NODE_WORKER,
        )
        self.world.tell(driver, f"group {group_id}", plan)
        driver.client.functions[FUNCTION] = FunctionBlob(FUNCTION, b"", False)
        driver.node.open(OpenGroup(group_id, plan.size, "spawn", "worker", True, b""), WatchedCrew(self.world))
        pool = Pool(driver, driver.client.open(group_id, plan))
        self.pools.append(pool)
        driver.has_news = True
        for _ in range(rng.choice([1, 2, 3])):
            begins_at = rng.choice([0.0, rng.uniform(0.0, 1.0), rng.uniform(0.0, 5.0)])
            self.world.after(begins_at, lambda: self._submit(pool))

    def _submit(self, pool: Pool) -> None:
        if not pool.is_open:
            return
        rng, ledger = self._rng, self.world.ledger
        options = CallOptions(timeout_s=rng.choice([*[None] * 5, 0.05, 0.5]), retries=rng.choice([0, 0, 1, 2]))
        calls = [
            ledger.new_call([self._work_s()], options=options, is_stubborn=rng.random() < 0.3)
            for _ in range(rng.choice([1, 2, 5, 15]))
        ]
        handed = Handed(calls, lambda: self._may_end_as(pool, options), lambda: bool(pool.group.reason), ledger, 0)
        pool.handed.append(handed)
        ledger.submitted(calls, pool.group.id)
        entries: list[object] = [call.number for call in calls]
        bundle = Bundle(FUNCTION, CallMode.ITEM, entries, handed, 0, SCALAR_BYTES, options)
        self.world.tell("user", pool.driver, f"submits calls {calls[0].number} to {calls[-1].number} with {options}")
        pool.driver.post(lambda: pool.driver.client.submit(pool.group, [bundle]))

    def _work_s(self) -> float:
        rng = self._rng
        if self._long_calls_left and rng.random() < 0.1:
            self._long_calls_left -= 1
            return rng.uniform(0.5, 2.0)
        return rng.choice([2e-5, 3e-4, rng.uniform(1e-3, 1e-1)])

    def _may_end_as(self, pool: Pool, options: CallOptions) -> Allowed:
        allowed = {OutcomeKind.VALUE}
        if options.timeout_s is not None:
            allowed.add(OutcomeKind.TIMED_OUT)
        if self.faults.may_lose_calls or self._failing or self.world.network.is_lossy:
            allowed.add(OutcomeKind.LOST)
        if pool.was_terminated:
            allowed.add(OutcomeKind.TERMINATED)
        return frozenset(allowed)

    def close(self, pool: Pool) -> None:
        pool.is_open = False
        self.world.tell("user", pool.driver, f"closes group {pool.group.id}")
        pool.driver.post(lambda: pool.driver.client.close(pool.group))

    def terminate(self, pool: Pool, kind: OutcomeKind) -> None:
        pool.is_open = False
        pool.was_terminated = True
        self.world.tell("user", pool.driver, f"terminates group {pool.group.id}")
        pool.driver.post(lambda: pool.driver.client.terminate(pool.group, kind, "the pool was terminated"))

    # What must be true ----------------------------------------------------------------------------------------------

    def _groups(self) -> list[Group]:
        return [group for driver in self.world.drivers() for group in driver.client.groups.values()]

    def _is_full(self) -> bool:
        """Every CPU of the cluster has a worker that is ready: more can be had only when a pool ends."""
        ready = sum(lease.was_ready for group in self._groups() for lease in group.leases.values())
        return ready == sum(node.cpus for node in self.world.nodes())

    def _all_is_quiet(self) -> bool:
        """Every call has ended, but for those of pools without a CPU; every request is granted, if there is room."""
        head = self.world.head()
        if head is None or len(head.role._nodes.by_link) != len(self.world.nodes()):
            return False
        is_full = self._is_full()
        return self._is_of_one_mind(head.role) and all(self._is_quiet(group, is_full) for group in self._groups())

    def _is_quiet(self, group: Group, is_full: bool) -> bool:
        pool = self.pools[group.id - 1]
        head = self.world.head()
        if group.plan.shape.gpus and head is not None:
            is_full = not any(room.seems_to_fit(group.plan.shape) for room in head.role.placement.open_rooms())
        if group.outstanding:
            return is_full and not group.leases
        if not pool.is_open:
            return False  # it has yet to go
        wanted = 0 if group.plan.on_demand else group.plan.size
        return is_full or (not group.requests.pending and len(group.leases) >= wanted)

    def _is_of_one_mind(self, head: HeadRole) -> bool:
        """The head has placed what drivers have, and nothing else, and waits to place what they wait for."""
        leases = {lease for group in self._groups() for lease in group.leases}
        asked_for = Counter({group.id: group.requests.pending for group in self._groups()})
        waiting: Counter[GroupId] = Counter()
        for request in head.leasing.waiting:
            waiting[request.group] += request.wanted
        return set(head.placement._leases) == leases and waiting == asked_for

    def _state(self) -> str:
        head = self.world.head()
        nodes = {node.name: node.cpus for node in self.world.nodes()}
        known = {} if head is None else {node.node: node.cpus for node in head.role._nodes.by_link.values()}
        placed = {} if head is None else {name: head.role.placement.leases_on(name) for name in known}
        groups = [
            f"group {group.id}: {list(group.leases.values())}, {group.requests.pending} asked for, "
            f"{group.outstanding} outstanding"
            for group in self._groups()
        ]
        waiting = [] if head is None else list(head.role.leasing.waiting)
        leases = [] if head is None else sorted(head.role.placement._leases)
        return (
            f"{self.world.ledger.missing()}; nodes {nodes}, the head has {known} and placed {placed}: {leases}; "
            f"it is asked for {waiting}; {groups}"
        )

    def _remains(self) -> list[str]:
        """What the drivers that have left, or are dead, have left behind."""
        remains = []
        head = self.world.head()
        if head is None:
            return ["no head"]
        role = head.role
        tables: dict[str, object] = {
            "requests": list(role.leasing.waiting),
            "callers": role.leasing.callers,
            "leases": role.placement._leases,
            "held": {name: room.held for name, room in role.placement.rooms.items() if room.held},
        }
        for node in self.world.nodes():
            tables |= {
                f"grants of {node}": node.node._grants,
                f"owners of {node}": node.callers._owners,
                f"ending at {node}": node.callers._ending,
                f"held of {node}": node.callers._held,
                f"crews of {node}": node.launcher.crews,
                f"callers of {node}": node.callers._membership._members,
                f"lanes of {node}": node.hands.lanes,
            }
        if len(role._nodes.by_link) != len(self.world.nodes()):
            remains.append(f"{len(role._nodes.by_link)} nodes at the head, and {len(self.world.nodes())} nodes")
        remains += [f"{name}: {table}" for name, table in tables.items() if table]
        remains += [f"worker {lease}" for lease in self.world.alive]
        return remains
