"""Arrays between processes of a cluster on this machine against a plain CURVE socket, in rounds that take turns.

    python benchmarks/transfers.py [--rounds 5] [--megabytes 200]

The plain socket sends frames of 1 MiB as fast as it can, encrypted, and the other end throws them away. Ours go from
the store of one process to that of another: from the program to a node, from node to node, and as the result of a call.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import zmq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import distpool
from distpool import Pool
from tests.cluster.processes import cluster

FRAME = 1024 * 1024
PARTS = 16


def size_of(array: np.ndarray) -> int:
    return array.nbytes


def agent() -> int:
    """The node of the worker, by the pid of its template's parent."""
    return int(Path(f"/proc/{os.getppid()}/stat").read_text().rsplit(")", 1)[1].split()[1])


def agent_of(array: np.ndarray) -> int:
    time.sleep(0.5)
    return agent()


def put(size: int) -> tuple[int, distpool.ObjectRef]:
    return agent(), distpool.put(np.ones(size // 8))


def make(size: int) -> np.ndarray:
    return np.ones(size // 8)


def receive(port, public: bytes, secret: bytes, frames: int) -> None:
    """The other end of the plain socket: says when all have come."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.curve_server, router.curve_secretkey = True, secret
        router.hwm = 0
        router.linger = 0
        port.send(router.bind_to_random_port("tcp://127.0.0.1"))
        for _ in range(frames + 1):
            route, *_ = router.recv_multipart(copy=False)
        router.linger = 1000
        router.send_multipart([route.bytes, b"all"])


def plain_socket(size: int) -> float:
    """Bytes per second."""
    public, secret = zmq.curve_keypair()
    ours, theirs = multiprocessing.Pipe()
    frames = size // FRAME
    child = multiprocessing.get_context("fork").Process(target=receive, args=(theirs, public, secret, frames))
    child.start()
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.curve_serverkey = public
        dealer.curve_publickey, dealer.curve_secretkey = zmq.curve_keypair()
        dealer.hwm = 16
        dealer.linger = 0
        dealer.connect(f"tcp://127.0.0.1:{ours.recv()}")
        payload = bytes(FRAME)
        dealer.send(b"first")
        began_at = time.perf_counter()
        for _ in range(frames):
            dealer.send(payload)
        dealer.recv()
        took_s = time.perf_counter() - began_at
    child.join()
    return frames * FRAME / took_s


def to_node(pool, size: int) -> float:
    ref = distpool.put(np.ones(size // 8))
    began_at = time.perf_counter()
    assert pool.apply(size_of, (ref,)) == size
    return size / (time.perf_counter() - began_at)


def from_node(pool, size: int) -> float:
    """A result; the time that its making takes is taken off."""
    began_at = time.perf_counter()
    pool.apply(put, (size,))
    made_s = time.perf_counter() - began_at
    began_at = time.perf_counter()
    assert pool.apply(make, (size,)).nbytes == size
    return size / (time.perf_counter() - began_at - made_s)


def between_nodes(pool, size: int) -> float:
    home, ref = pool.apply(put, (size,))
    began_at = time.perf_counter()
    agents = pool.map(agent_of, [ref] * 2, chunksize=1)
    took_s = time.perf_counter() - began_at - 0.5
    assert set(agents) - {home}, "both calls ran on the node where it lay"
    return size / took_s


@distpool.remote
def part(size: int) -> np.ndarray:
    return np.ones(size // 8)


@distpool.remote
def sum_of(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return one + other


def tree(size: int, retries: int) -> float:
    """How long it takes."""
    began_at = time.perf_counter()
    refs = [part.options(retries=retries).remote(size // PARTS) for _ in range(PARTS)]
    while len(refs) > 1:
        refs = [sum_of.options(retries=retries).remote(*refs[at : at + 2]) for at in range(0, len(refs), 2)]
    assert distpool.get(refs[0])[0] == PARTS
    return time.perf_counter() - began_at


def main() -> None:
    parser = argparse.ArgumentParser(description="Arrays between processes of a cluster against a plain CURVE socket.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=200)
    options = parser.parse_args()
    size = options.megabytes * FRAME
    ways = {"program to node": to_node, "node to program": from_node, "node to node": between_nodes}
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder)) as made:
        made.start_head()
        for name in ("first", "second"):
            made.start_node(name, "--cpus", "1")
        made.until(lambda: made.nodes() == {"first", "second"})
        os.environ["DISTPOOL_HOME"] = str(made.keys)
        os.environ["DISTPOOL_ADDRESS"] = made.address
        with Pool(2) as pool:
            pool.map(time.sleep, [0.2] * 2, chunksize=1)
            for way in ways.values():
                way(pool, 8 * FRAME)
            rounds = [[plain_socket(size), *(way(pool, size) for way in ways.values())] for _ in range(options.rounds)]
        tree(8 * FRAME, 1)
        trees = [[tree(size, retries) for retries in (0, 1)] for _ in range(options.rounds)]
        distpool.shutdown()
    plain = [rates[0] for rates in rounds]
    print(f"{'plain CURVE socket':20} {statistics.median(plain) / 1e6:6.0f} MB/s")
    for position, name in enumerate(ways, 1):
        rates = [of_round[position] for of_round in rounds]
        ratios = sorted(rate / plain_rate for rate, plain_rate in zip(rates, plain, strict=True))
        print(
            f"{name:20} {statistics.median(rates) / 1e6:6.0f} MB/s   ratio {statistics.median(ratios):.2f}"
            f" ({ratios[0]:.2f}-{ratios[-1]:.2f})"
        )
    brought_s, stayed_s = map(statistics.median, zip(*trees, strict=True))
    ratios = sorted(stayed / brought for brought, stayed in trees)
    print(
        f"a tree of {PARTS} arrays: brought {brought_s:.2f} s, on the nodes {stayed_s:.2f} s, ratio "
        f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
    )


if __name__ == "__main__":
    main()
