"""What can befall a cluster: each fault begins at a moment of its own, and has healed after a while."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from distpool.protocol.messages import OutcomeKind
from tests.simulation.pretend import KILLED

if TYPE_CHECKING:
    from tests.simulation.cluster.scenario import ClusterScenario

DURATIONS_S = [0.3, 1.2, 2.2, 3.0, 4.0, 6.5]
"""On both sides of each limit: of heartbeats, of reconnecting, of silence, of a grant."""


class Faults:
    """Seeded faults of one scenario."""

    def __init__(self, scenario: ClusterScenario, rng: random.Random) -> None:
        self.may_lose_calls = False
        """Something has happened by which calls may be lost."""
        self._scenario = scenario
        self._world = scenario.world
        self._rng = rng

    def plan(self, count: int) -> float:
        """So many faults, one after the other or at once: when the last one has healed, from now on."""
        healed_at = 0.0
        for _ in range(count):
            begins_at = self._rng.choice([0.0, self._rng.uniform(0.0, 0.1), self._rng.uniform(0.0, 4.0)])
            fault = self._rng.choice(KINDS)
            for_s = self._rng.choice(DURATIONS_S)
            self._world.after(begins_at, lambda fault=fault, for_s=for_s: fault(self, for_s))  # type: ignore[misc]
            healed_at = max(healed_at, begins_at + for_s)
        return healed_at

    # Processes ------------------------------------------------------------------------------------------------------

    def kill_worker(self, for_s: float) -> None:
        alive = [worker for worker in self._world.alive.values() if not worker.is_orphan]
        if alive:
            self.may_lose_calls = True
            busy = [worker for worker in alive if worker.in_call_since is not None]
            self._rng.choice(busy or alive).die(KILLED, "is killed")

    def kill_template(self, for_s: float) -> None:
        templates = [template for template in self._world.templates if not template.has_ended]
        if templates:
            self.may_lose_calls = True
            self._rng.choice(templates).be_killed()

    def kill_node(self, for_s: float) -> None:
        """It is started again on its machine, under the same name or another."""
        nodes = self._world.nodes()
        if nodes:
            self.may_lose_calls = True
            node = self._rng.choice(nodes)
            node.kill()
            name = node.name if self._world.draws(0.7) else f"{node.name} again"
            self._scenario.restart_node(node.host, name, for_s)

    def leave_with_node(self, for_s: float) -> None:
        nodes = self._world.nodes()
        if nodes:
            self.may_lose_calls = True
            node = self._rng.choice(nodes)
            self._world.tell(node, "", "leaves")
            node.leave()
            self._scenario.restart_node(node.host, node.name, for_s)

    def stop_node(self, for_s: float) -> None:
        nodes = self._world.nodes()
        if nodes:
            self.may_lose_calls = True
            self._rng.choice(nodes).stop(for_s)

    def kill_head(self, for_s: float) -> None:
        head = self._world.head()
        if head is not None:
            # A driver that is not there again soon enough is given up, by the head that was just started too.
            self.may_lose_calls = True
            head.kill()
            self._world.after(for_s, self._scenario.start_head)

    def stop_head(self, for_s: float) -> None:
        head = self._world.head()
        if head is not None:
            self.may_lose_calls = True
            head.stop(for_s)

    def kill_driver(self, for_s: float) -> None:
        drivers = self._world.drivers()
        if len(drivers) > 1:
            self._scenario.kill_driver(self._rng.choice(drivers))

    def stop_driver(self, for_s: float) -> None:
        drivers = self._world.drivers()
        if drivers:
            self.may_lose_calls = True
            self._rng.choice(drivers).stop(for_s)

    def occupy_driver(self, for_s: float) -> None:
        drivers = self._world.drivers()
        if drivers:
            self._rng.choice(drivers).be_busy(for_s)

    def end_pool(self, for_s: float) -> None:
        pools = [pool for pool in self._scenario.pools if pool.is_open]
        if pools:
            pool = self._rng.choice(pools)
            if self._world.draws(0.5):
                self._scenario.close(pool)
            else:
                self._scenario.terminate(pool, OutcomeKind.TERMINATED)

    def join_late(self, for_s: float) -> None:
        if len(self._world.nodes()) < 4:
            self._scenario.add_node()

    # Cables ---------------------------------------------------------------------------------------------------------

    def _ends(self) -> tuple[str, str] | None:
        """Two hosts that speak to each other."""
        nodes = [node.host for node in self._world.nodes()]
        drivers = [driver.host for driver in self._world.drivers()]
        pairs = [("head", host) for host in [*nodes, *drivers]]
        pairs += [(node, driver) for node in nodes for driver in drivers]
        return self._rng.choice(pairs) if pairs else None

    def cut(self, for_s: float) -> None:
        """Between two hosts, or all cables of one; in one direction or both."""
        ends = self._ends()
        if ends is None:
            return
        self.may_lose_calls = True
        one, other = self._rng.choice([ends, ends[::-1]])
        others = [other]
        if self._world.draws(0.3):
            others = [host for host in self._scenario.hosts() if host != one]
        directions = [(one, there) for there in others]
        if self._world.draws(0.6):
            directions += [(there, one) for there in others]
        self._world.tell("network", "", f"is cut for {for_s:g} s: {directions}")
        self._world.network.cut(directions, for_s)

    def break_connections(self, for_s: float) -> None:
        ends = self._ends()
        if ends is not None:
            self._world.tell("network", "", f"breaks connections between {ends}")
            self.may_lose_calls = True
            self._world.network.break_connections(*ends)


KINDS: list[Callable[[Faults, float], None]] = [
    Faults.kill_worker,
    Faults.kill_template,
    Faults.kill_node,
    Faults.kill_node,
    Faults.leave_with_node,
    Faults.stop_node,
    Faults.stop_node,
    Faults.kill_head,
    Faults.kill_head,
    Faults.stop_head,
    Faults.kill_driver,
    Faults.kill_driver,
    Faults.stop_driver,
    Faults.occupy_driver,
    Faults.end_pool,
    Faults.end_pool,
    Faults.end_pool,
    Faults.join_late,
    Faults.cut,
    Faults.cut,
    Faults.cut,
    Faults.cut,
    Faults.break_connections,
]
