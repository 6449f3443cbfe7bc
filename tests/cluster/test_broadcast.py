"""One array to many nodes, which pass it on to each other; and what happens when one of them is lost meanwhile."""

import os
import signal
import threading
import time

import numpy as np
import pytest

import distpool
from distpool import Pool
from distpool.runtime import session
from tests.cluster import tasks
from tests.cluster.conftest import use
from tests.runtime.programs import LIMIT_S

NODES = ("a", "b", "c", "d")


@pytest.fixture
def four_nodes(processes, monkeypatch):
    """The processes of four nodes of one CPU each, by their names."""
    processes.start_head()
    agents = {name: processes.start_node(name, "--cpus", "1") for name in NODES}
    processes.until(lambda: processes.nodes() == set(NODES))
    use(processes, monkeypatch)
    return agents


def until_all_have_workers(pool):
    give_up_at = time.monotonic() + LIMIT_S
    while len({node for node, _ in pool.map(tasks.where_slowly, [0.1] * 4, chunksize=1)}) < 4:
        assert time.monotonic() < give_up_at


def offers():
    return session._current[0].far.nodes.objects.transfers.offers


def test_one_array_to_four_nodes_leaves_the_program_twice_at_most(four_nodes):
    array = np.arange(4_000_000.0)
    with Pool(4) as pool:
        until_all_have_workers(pool)
        ref = distpool.put(array)
        assert pool.map(tasks.total_slowly, [ref] * 4, chunksize=1) == [array.sum()] * 4
        assert array.nbytes <= offers().told_bytes < 2.1 * array.nbytes


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_node_that_is_lost_while_it_passes_an_array_on_costs_its_own_call_only(four_nodes, how):
    """The others get the rest from elsewhere, from where they have come to."""
    array = np.arange(8_000_000.0)
    killed = []

    def kill_soon():
        """The node that passes the array on, when some of it has left the program."""
        while not (readers := list(offers()._readers.values())) or offers().told_bytes < array.nbytes // 4:
            if done.wait(0.001):
                return
        del readers
        os.kill(four_nodes["a"].pid, how)
        killed.append("a")

    done = threading.Event()
    with Pool(4) as pool:
        until_all_have_workers(pool)
        ref = distpool.put(array)
        killer = threading.Thread(target=kill_soon)
        killer.start()
        calls = [pool.with_options(retries=2).apply_async(tasks.total, (ref,)) for _ in range(4)]
        totals = [call.get(LIMIT_S) for call in calls]
        done.set()
        killer.join()
        assert totals == [array.sum()] * 4
        assert killed == ["a"]
        assert offers().told_bytes < 4.5 * array.nbytes
