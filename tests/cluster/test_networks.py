"""Three hosts with addresses of their own, whose cables are cut and mended under a running pool."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.networks import hosts
from tests.cluster.processes import COMMAND, Cluster
from tests.runtime.programs import LIBRARY

DRIVER = """
    import json, sys, time
    from pathlib import Path
    from distpool import NodeLost, Pool
    from tests.cluster.tasks import append, where_slowly

    if __name__ == "__main__":
        path, until = sys.argv[1:]
        with Pool(4) as pool:
            while len(set(pool.map(where_slowly, [0.03] * 16, chunksize=1))) < 4:
                pass
            print("ready", flush=True)
            number, lost, longest_s = 0, [], 0.0
            while not Path(until).exists():
                began_at = time.monotonic()
                names = [f"call {number + position}" for position in range(20)]
                number += 20
                results = [(name, pool.apply_async(append, (path, name, 0.02))) for name in names]
                for name, result in results:
                    try:
                        assert result.get(30) == name
                    except NodeLost:
                        lost.append(name)
                longest_s = max(longest_s, time.monotonic() - began_at)
            places = set()
            while len(places) < 4:
                places |= set(pool.map(where_slowly, [0.03] * 16, chunksize=1))
        print(json.dumps({"calls": number, "lost": lost, "longest_s": longest_s}), flush=True)
"""


@pytest.fixture
def three_hosts(processes: Cluster):
    """(the hosts, how to start a process on one of them); a head on the first, nodes of two CPUs on the others."""
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
            for host in made[1:]:
                node = start(host, *COMMAND, "node", "--name", host.name, "--cpus", "2")
                assert "has joined" in node.stdout.readline()
            yield made, start
        finally:
            for process in started:
                process.kill()
                process.wait()
                process.stdout.close()


@pytest.mark.parametrize(("cut_s", "is_noticed"), [(1.0, False), (4.5, True)])
def test_a_cut_cable_costs_at_most_the_calls_that_had_begun_behind_it(three_hosts, tmp_path, cut_s, is_noticed):
    (first, second, _), start = three_hosts
    (tmp_path / "driver.py").write_text(os.linesep.join(line[4:] for line in DRIVER.splitlines()))
    begun, stop = tmp_path / "begun", tmp_path / "stop"
    driver = start(first, sys.executable, str(tmp_path / "driver.py"), str(begun), str(stop))
    assert driver.stdout.readline() == "ready\n"
    time.sleep(0.5)
    second.cut()
    time.sleep(cut_s)
    second.mend()
    time.sleep(1.5)
    stop.touch()
    told = json.loads(driver.stdout.readline())
    assert driver.wait(20) == 0
    ran = Path(begun).read_text().splitlines()
    assert len(ran) == len(set(ran)), "a call ran twice"
    assert len(told["lost"]) <= 2 * is_noticed
    assert told["calls"] - len(set(ran)) <= len(told["lost"]), "what was not lost has run"
    # A cut that is short is waited for; a long one is noticed.
    assert told["longest_s"] < 5.0
