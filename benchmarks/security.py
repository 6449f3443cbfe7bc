"""What encryption costs: a pool on two nodes of this machine with it and without, in rounds that take turns.

    python benchmarks/security.py [--rounds 5]

The product cannot run without encryption. Here the processes of one of the two clusters are started by this file, which
puts ZeroMQ's PLAIN in the place of CURVE in them: who is let in is asked all the same, and nothing is encrypted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cluster import WORKERS, one_by_one, rates

from distpool import Pool
from distpool.cli import main as command
from distpool.transport import security, sockets
from distpool.transport.keys import Identity
from tests.cluster import processes
from tests.cluster.processes import Cluster, cluster

PER_CPU = "chunksize=1, per CPU second"
OWN_COMMAND = [sys.executable, str(Path(__file__).resolve())]


def encrypt_nothing() -> None:
    """In this process."""

    def serve(socket, identity: Identity) -> None:
        socket.plain_server = True
        socket.zap_domain = b"distpool"
        socket.setsockopt(security.zmq.ZAP_ENFORCE_DOMAIN, 1)

    def connect(socket, identity: Identity, server: str) -> None:
        socket.plain_username = identity.public.encode()
        socket.plain_password = b"-"

    sockets.serve_securely = serve
    sockets.connect_securely = connect
    security._public_key = lambda mechanism, credentials: credentials[0].decode()


def started(made: Cluster, is_encrypted: bool) -> Cluster:
    """With two nodes of two CPUs."""
    processes.COMMAND = [*OWN_COMMAND, "command" if is_encrypted else "command-without"]
    made.start_head("--port", "0")
    for name in ("first", "second"):
        made.start_node(name, "--cpus", "2", DISTPOOL_ADDRESS=made.address)
    made.until(lambda: made.nodes() == {"first", "second"})
    return made


def measured(made: Cluster, is_encrypted: bool) -> dict[str, float]:
    """By a program of its own."""
    kind = "measure" if is_encrypted else "measure-without"
    environment = made.environment(DISTPOOL_ADDRESS=made.address)
    command = [*OWN_COMMAND, kind, *(str(process.pid) for process in made.processes)]
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, timeout=300)
    return json.loads(output.stdout)


def calls_of_a_cpu_second(pids: list[str]) -> float:
    """Of the time that this program, the head, the nodes and the workers take: other load hardly changes it."""

    def cpu_s() -> float:
        roots = [psutil.Process(int(pid)) for pid in pids]
        everybody = [psutil.Process(), *roots, *(child for root in roots for child in root.children(recursive=True))]
        return sum(sum(process.cpu_times()[:2]) for process in everybody)

    with Pool(WORKERS) as pool:
        pool.map(time.sleep, [0.01] * 4 * WORKERS, chunksize=1)
        one_by_one(pool)
        before = cpu_s()
        for _ in range(5):
            one_by_one(pool)
        return 100_000 / (cpu_s() - before)


def main() -> None:
    what, *arguments = sys.argv[1:] or ["compare"]
    if what.endswith("-without"):
        encrypt_nothing()
    if what.startswith("command"):
        sys.exit(command(arguments))
    if what.startswith("measure"):
        found = rates(os.environ["DISTPOOL_ADDRESS"])
        print(json.dumps({**found, PER_CPU: calls_of_a_cpu_second(arguments)}))
        return
    parser = argparse.ArgumentParser(description="What encryption costs a pool on nodes.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args(sys.argv[1:]).rounds
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder, name) for name in ("with", "without")]
        for path in folders:
            path.mkdir()
        with cluster(folders[0]) as made, cluster(folders[1]) as other:
            both = [(started(made, True), True), (started(other, False), False)]
            pairs = []
            for number in range(rounds):
                found = {kind: measured(each, kind) for each, kind in (both if number % 2 else both[::-1])}
                pairs.append((found[True], found[False]))
    for question in pairs[0][0]:
        encrypted, plain = ([pair[side][question] for pair in pairs] for side in (0, 1))
        ratios = sorted(one / other for one, other in zip(encrypted, plain, strict=True))
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
        rows = f"encrypted {statistics.median(encrypted):10,.0f}/s   plain {statistics.median(plain):10,.0f}/s"
        print(f"{question:32} {rows}   ratio {spread}")


if __name__ == "__main__":
    main()
