"""Three hosts with addresses of their own, whose cables are cut and whose packets are dropped under a running pool."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.networks import Host, hosts
from tests.cluster.processes import COMMAND, Cluster
from tests.runtime.programs import LIBRARY, until

NOTICED_WITHIN_S = 5.0
HEALED_WITHIN_S = 1.0
USED_AFTER_LOSS_WITHIN_S = 2.5
"""With workers that are started anew, and up to a second in which the kernel does not ask for a neighbour's address."""

DRIVER = """
    import json, sys, time
    from pathlib import Path
    from distpool import NodeLost, Pool
    from tests.cluster.tasks import append_and_tell_where, where_slowly

    if __name__ == "__main__":
        path, until = sys.argv[1:]
        done = []
        with Pool(4) as pool:
            while len(set(pool.map(where_slowly, [0.03] * 16, chunksize=1))) < 4:
                pass
            print("ready", flush=True)
            number, lost, longest_s = 0, [], 0.0
            note = lambda result: done.append((time.monotonic(), result[1]))
            while not Path(until).exists():
                began_at = time.monotonic()
                names = [f"call {number + position}" for position in range(20)]
                number += 20
                results = [
                    (name, pool.apply_async(append_and_tell_where, (path, name, 0.02), callback=note)) for name in names
                ]
                for name, result in results:
                    try:
                        assert result.get(30)[0] == name
                    except NodeLost:
                        lost.append(name)
                longest_s = max(longest_s, time.monotonic() - began_at)
            places = set()
            while len(places) < 4:
                found = pool.map(where_slowly, [0.03] * 16, chunksize=1)
                done += [(time.monotonic(), node) for node, _ in found]
                places |= set(found)
        print(json.dumps({"calls": number, "lost": lost, "longest_s": longest_s, "done": done}), flush=True)
"""

ARRAYS_DRIVER = """
    import numpy as np
    from distpool import Pool
    from tests.cluster.tasks import double, where_slowly

    if __name__ == "__main__":
        arrays = [np.arange(250_000) + number for number in range(24)]
        with Pool(4) as pool:
            while len(set(pool.map(where_slowly, [0.03] * 16, chunksize=1))) < 4:
                pass
            results = pool.with_options(retries=1).map_async(double, arrays, chunksize=1)
            print("sent", flush=True)
            for array, doubled in zip(arrays, results.get(30), strict=True):
                assert np.array_equal(doubled, array * 2)
"""


@pytest.fixture
def three_hosts(processes: Cluster):
    """(the hosts, the pids of the agents on them, how to start a process on one); a head on the first, nodes of two
    CPUs on the others."""
    with hosts(3) as made:
        started = []

        def start(host, *command):
            environment = processes.environment(DISTPOOL_ADDRESS=processes.address, PYTHONPATH=LIBRARY)
            process = subprocess.Popen(
                [*host.prefix, *command],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            started.append(process)
            return process

        try:
            processes.address = f"tcp://{made[0].address}:7117"
            head = start(made[0], *COMMAND, "head", "--host", made[0].address, "--json")
            assert json.loads(head.stdout.readline())["address"] == processes.address
            agents = {}
            for host in made[1:]:
                node = start(host, *COMMAND, "node", "--name", host.name, "--cpus", "2")
                assert "has joined" in node.stdout.readline()
                agents[host] = node.pid
            yield made, agents, start
        finally:
            for process in started:
                process.kill()
                process.wait()
                process.stdout.close()


def start_driver(start, host, folder: Path, source: str, *arguments: str) -> subprocess.Popen:
    (folder / "driver.py").write_text(os.linesep.join(line[4:] for line in source.splitlines()))
    return start(host, sys.executable, str(folder / "driver.py"), *arguments)


def filtered(chain: str, *verdict: str) -> tuple[Callable[[Host], None], Callable[[Host], None]]:
    return (lambda host: host.begin_to_filter(chain, *verdict)), Host.end_to_filter


CUT = (Host.cut, Host.mend)
DEAF = filtered("INPUT", "DROP")
MUTE = filtered("OUTPUT", "DROP")
REFUSING = filtered("INPUT", "REJECT", "--reject-with", "tcp-reset")


@pytest.mark.parametrize(
    ("fault", "lasts_s", "most_lost"),
    [(CUT, 1.5, 0), (CUT, 4.5, 2), (DEAF, 1.0, 0), (MUTE, 4.5, 2), (REFUSING, 1.0, 2)],
    ids=["a short cut", "a long cut", "deaf for a short time", "mute for long", "resets"],
)
def test_a_host_behind_a_fault_costs_at_most_the_calls_that_had_begun_there(
    three_hosts, tmp_path, fault, lasts_s, most_lost, record_property
):
    (first, second, _), agents, start = three_hosts
    begin, end = fault
    begun, stop = tmp_path / "begun", tmp_path / "stop"
    driver = start_driver(start, first, tmp_path, DRIVER, str(begun), str(stop))
    assert driver.stdout.readline() == "ready\n"
    until(lambda: begun.exists() and len(begun.read_text().splitlines()) >= 40)
    begin(second)
    # Not a wait for something: so long the fault lasts.
    time.sleep(lasts_s)
    end(second)
    mended_at = time.monotonic()
    stop.touch()
    told = json.loads(driver.stdout.readline())
    assert driver.wait(20) == 0
    ran = begun.read_text().splitlines()
    assert len(ran) == len(set(ran)), "a call ran twice"
    assert len(told["lost"]) <= most_lost
    assert told["calls"] - len(set(ran)) <= len(told["lost"]), "what was not lost has run"
    # A fault that is short is waited for; a long one is noticed.
    assert told["longest_s"] < NOTICED_WITHIN_S
    used_s = min(at for at, node in told["done"] if node == agents[second] and at > mended_at) - mended_at
    record_property("used again after, seconds", f"{used_s:.2f}")
    print(f"the host was used again {used_s:.2f} s after the fault ended")
    assert used_s < (HEALED_WITHIN_S if most_lost == 0 else USED_AFTER_LOSS_WITHIN_S)


def test_arrays_travel_between_hosts_though_a_cable_is_cut_meanwhile(three_hosts, tmp_path):
    (first, second, third), _, start = three_hosts
    driver = start_driver(start, first, tmp_path, ARRAYS_DRIVER)
    assert driver.stdout.readline() == "sent\n"
    for host in (second, third):
        host.cut()
    time.sleep(1.0)
    for host in (second, third):
        host.mend()
    assert driver.wait(30) == 0
