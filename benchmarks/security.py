"""What encryption costs: a pool on two nodes of this machine with it and without, in rounds that take turns.

    python benchmarks/security.py [--rounds 40]

The product cannot run without encryption. Here the processes of one of the two clusters are started by this file, which
puts ZeroMQ's PLAIN in the place of CURVE in them: who is let in is asked all the same, and nothing is encrypted. Both
programs live for the whole time, and the same question is asked of one right after the other.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cluster import QUESTIONS, WORKERS, one_by_one

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


class Program:
    """A program with a pool on a cluster, which measures what it is asked to."""

    def __init__(self, made: Cluster, is_encrypted: bool) -> None:
        kind = "measure" if is_encrypted else "measure-without"
        self._process = subprocess.Popen(
            [*OWN_COMMAND, kind, *(str(process.pid) for process in made.processes)],
            env=made.environment(DISTPOOL_ADDRESS=made.address),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, question: str) -> float:
        """Calls a second."""
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def end(self) -> None:
        with self._process:
            self._process.stdin.close()


def answer(pids: list[str]) -> None:
    """As such a program: for each question that comes by standard input."""
    with Pool(WORKERS) as pool:
        pool.map(time.sleep, [0.01] * 4 * WORKERS, chunksize=1)
        for line in sys.stdin:
            question = line.strip()
            rate = calls_of_a_cpu_second(pool, pids) if question == PER_CPU else QUESTIONS[question](pool)
            print(rate, flush=True)


def calls_of_a_cpu_second(pool, pids: list[str]) -> float:
    """Of the time that this program, the head, the nodes and the workers take: other load hardly changes it."""
    roots = [psutil.Process(int(pid)) for pid in pids]
    everybody = [psutil.Process(), *roots, *(child for root in roots for child in root.children(recursive=True))]

    def cpu_s() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in everybody)

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
        answer(arguments)
        return
    parser = argparse.ArgumentParser(description="What encryption costs a pool on nodes.")
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    questions = [*QUESTIONS, PER_CPU]
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder, name) for name in ("with", "without")]
        for path in folders:
            path.mkdir()
        with cluster(folders[0]) as made, cluster(folders[1]) as other:
            programs = [Program(started(made, True), True), Program(started(other, False), False)]
            pairs: dict[str, list[tuple[float, float]]] = {question: [] for question in questions}
            for number in range(rounds + 1):
                for question in questions:
                    order = (0, 1) if number % 2 else (1, 0)
                    found = {side: programs[side].ask(question) for side in order}
                    if number:  # the first is a warm-up
                        pairs[question].append((found[0], found[1]))
            for program in programs:
                program.end()
    for question, rates in pairs.items():
        encrypted, plain = (statistics.median(side) for side in zip(*rates, strict=True))
        quarters = statistics.quantiles([one / other for one, other in rates])
        spread = f"{quarters[1]:.2f} ({quarters[0]:.2f}-{quarters[2]:.2f})"
        print(f"{question:32} encrypted {encrypted:10,.0f}/s   plain {plain:10,.0f}/s   ratio {spread}")


if __name__ == "__main__":
    main()
