"""Through a network that is late, stands still, or breaks off in the middle of a frame, each call ends exactly once."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from distpool import NodeLost, Pool
from distpool.runtime import channels, node_links
from distpool.transport.sockets import Connection
from tests.cluster import tasks
from tests.cluster.conftest import use
from tests.cluster.processes import Cluster
from tests.cluster.proxy import Proxy, proxy
from tests.runtime.programs import until

LIMIT_S = 20.0
NOTICED_WITHIN_S = 5.0
HEALED_WITHIN_S = 1.0


class Network:
    """Two nodes of two CPUs each. `to_head`: a proxy between the second node and the head. `to_nodes`: one between this
    process and each node, in the order in which they got their first leases; `to_stores`: the same for transfers of
    objects, in the order in which they were first needed."""

    def __init__(self, made: Cluster, to_head: Proxy) -> None:
        self.made = made
        self.to_head = to_head
        self.to_nodes: list[Proxy] = []
        self.to_stores: list[Proxy] = []

    def both_nodes(self, pool: Pool) -> set[int]:
        """Have calls run until both nodes have; the pids of their agents."""
        seen: set[int] = set()
        give_up_at = time.monotonic() + LIMIT_S
        while len(seen) < 2:
            assert time.monotonic() < give_up_at, "one node is not used"
            seen |= {node for node, _ in pool.map(tasks.where_slowly, [0.03] * 8, chunksize=1)}
        return seen


@pytest.fixture
def network(processes: Cluster, monkeypatch) -> Iterator[Network]:
    processes.start_head()
    use(processes, monkeypatch)
    with ExitStack() as proxies:
        to_head = proxies.enter_context(proxy(processes.address))
        made: dict[str, Proxy] = {}
        network = Network(processes, to_head)

        def connect(kind: list[Proxy], endpoint: str, *more: object) -> Connection:
            if endpoint not in made:
                made[endpoint] = proxies.enter_context(proxy(endpoint))
                kind.append(made[endpoint])
            return Connection(made[endpoint].address, *more)

        monkeypatch.setattr(node_links, "Connection", partial(connect, network.to_nodes))
        monkeypatch.setattr(channels, "Connection", partial(connect, network.to_stores))
        processes.start_node("first", "--cpus", "2")
        processes.start_node("second", "--cpus", "2", "--head", to_head.address)
        processes.until(lambda: processes.nodes() == {"first", "second"})
        yield network


def begun(path: Path) -> Counter[str]:
    return Counter(path.read_text().splitlines()) if path.exists() else Counter()


def test_through_a_slow_network_everything_arrives(network):
    array = np.arange(500_000)
    with Pool(4) as pool:
        network.both_nodes(pool)
        pool.map(tasks.double, [array] * 4)
        for each in (*network.to_nodes, *network.to_stores):
            each.delay_s = 0.02
        assert pool.map(tasks.square, range(5000), chunksize=1) == [x * x for x in range(5000)]
        assert [int(doubled.sum()) for doubled in pool.map(tasks.double, [array] * 4)] == [int(array.sum()) * 2] * 4


def test_connections_that_break_in_the_middle_of_frames_cost_nothing(network, tmp_path):
    chance = random.Random(1)
    arrays = [np.arange(40_000) + number for number in range(40)]
    with Pool(4) as pool:
        network.both_nodes(pool)
        pool.map(tasks.double, arrays, chunksize=1)
        for each in (*network.to_nodes, *network.to_stores):
            each.lifetime_bytes = lambda: chance.randrange(20_000, 3_000_000)
            each.reset()
        names = [f"call {number}" for number in range(300)]
        small = pool.starmap_async(tasks.append, [(str(tmp_path / "begun"), name) for name in names], chunksize=1)
        large = pool.map_async(tasks.double, arrays, chunksize=1)
        assert small.get(LIMIT_S) == names
        for array, doubled in zip(arrays, large.get(LIMIT_S), strict=True):
            assert np.array_equal(doubled, array * 2)
        assert sum(each.resets for each in (*network.to_nodes, *network.to_stores)) >= 6
    assert begun(tmp_path / "begun") == dict.fromkeys(names, 1)


def test_a_network_that_stands_still_for_a_moment_costs_nothing_and_is_used_at_once_after_that(network, tmp_path):
    path = tmp_path / "begun"
    with Pool(4) as pool:
        network.both_nodes(pool)
        names = [f"call {number}" for number in range(8)]
        results = [pool.apply_async(tasks.append, (str(path), name, 0.1)) for name in names]
        assert until(lambda: len(begun(path)) >= 4)
        for each in network.to_nodes:
            each.stall()
        # Not a wait for something: so long the network stands still, and less than a silence that means something.
        time.sleep(1.5)
        for each in network.to_nodes:
            each.flow()
        flows_at = time.monotonic()
        assert results[0].get(LIMIT_S) == names[0]
        assert time.monotonic() - flows_at < HEALED_WITHIN_S
        assert [result.get(LIMIT_S) for result in results] == names
    assert begun(path) == dict.fromkeys(names, 1)


class Calls:
    """Calls of tasks.append with their names, which note by themselves when they fail: not when somebody asks."""

    def __init__(self, pool: Pool, path: Path, names: Iterable[str], seconds: float) -> None:
        self._failed_at: list[float] = []
        self._results = {
            name: pool.apply_async(tasks.append, (str(path), name, seconds), error_callback=self._note)
            for name in names
        }

    def _note(self, _: BaseException) -> None:
        self._failed_at.append(time.monotonic())

    def lost(self) -> tuple[set[str], float]:
        """The calls that ended with NodeLost, and when the last one did; all others have returned their name."""
        lost = set()
        for name, result in self._results.items():
            try:
                assert result.get(LIMIT_S) == name
            except NodeLost:
                lost.add(name)
        return lost, max(self._failed_at, default=0.0)


def break_driver_to_node(network: Network) -> Callable[[], None]:
    network.to_nodes[0].stall()
    return network.to_nodes[0].flow


def break_node_to_head(network: Network) -> Callable[[], None]:
    network.to_head.stall()
    return network.to_head.flow


@pytest.mark.parametrize("break_it", [break_driver_to_node, break_node_to_head])
def test_a_node_behind_a_network_that_stands_still_is_given_up_in_time_and_used_again_later(
    network, tmp_path, break_it
):
    path = tmp_path / "begun"
    with Pool(4) as pool:
        nodes = network.both_nodes(pool)
        names = [f"call {number}" for number in range(20)]
        calls = Calls(pool, path, names, 0.5)
        assert until(lambda: len(begun(path)) >= 4)
        mend = break_it(network)
        broken_at = time.monotonic()
        lost, lost_at = calls.lost()
        assert 1 <= len(lost) <= 2, "each worker behind it had begun a call"
        assert lost_at - broken_at < NOTICED_WITHIN_S
        ran = begun(path)
        assert max(ran.values()) == 1, "a call ran twice"
        assert set(names) - lost <= set(ran)
        mend()
        assert network.both_nodes(pool) == nodes


def test_a_node_whose_port_refuses_is_given_up_at_once(network, tmp_path):
    path = tmp_path / "begun"
    with Pool(4) as pool:
        network.both_nodes(pool)
        calls = Calls(pool, path, "abcd", 3.0)
        assert until(lambda: len(begun(path)) == 4)
        network.to_nodes[0].refuse()
        refused_at = time.monotonic()
        lost, lost_at = calls.lost()
        assert len(lost) == 2
        assert lost_at - refused_at < 1.0
    assert max(begun(path).values()) == 1


def test_a_head_that_is_cut_off_again_and_again_is_not_missed(network, tmp_path):
    path = tmp_path / "begun"
    with Pool(4) as pool:
        network.both_nodes(pool)
        network.to_head.lifetime_bytes = lambda: 4_000
        network.to_head.reset()
        names = [f"call {number}" for number in range(200)]
        calls = Calls(pool, path, names, 0.01)
        lost, _ = calls.lost()
        assert not lost
        assert network.to_head.resets >= 1
        network.made.until(lambda: network.made.nodes() == {"first", "second"}, NOTICED_WITHIN_S)
    assert begun(path) == dict.fromkeys(names, 1)
