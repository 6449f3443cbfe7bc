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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cluster import QUESTIONS, rates

from distpool.cli import main as command
from distpool.transport import security, sockets
from distpool.transport.keys import Identity
from tests.cluster import processes
from tests.cluster.processes import Cluster, cluster

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
    output = subprocess.run([*OWN_COMMAND, kind], env=environment, stdout=subprocess.PIPE, check=True, timeout=300)
    return json.loads(output.stdout)


def main() -> None:
    what, *arguments = sys.argv[1:] or ["compare"]
    if what.endswith("-without"):
        encrypt_nothing()
    if what.startswith("command"):
        sys.exit(command(arguments))
    if what.startswith("measure"):
        print(json.dumps(rates(os.environ["DISTPOOL_ADDRESS"])))
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
    for question in QUESTIONS:
        encrypted, plain = ([pair[side][question] for pair in pairs] for side in (0, 1))
        ratios = sorted(one / other for one, other in zip(encrypted, plain, strict=True))
        print(
            f"{question:32} encrypted {statistics.median(encrypted):10,.0f}/s   "
            f"plain {statistics.median(plain):10,.0f}/s   "
            f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
        )


if __name__ == "__main__":
    main()
