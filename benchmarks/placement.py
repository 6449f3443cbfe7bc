"""How long does it take to place 1,000 leases on 256 nodes that have GPUs?

Measured: `Placement.place` for a mix of shapes (one CPU; half a GPU; two GPUs and four CPUs; eight GPUs; memory; a
label; spread), without any I/O, in time of the processor; median of 9 repetitions. Against: nothing, as no library
offers it alone.
Goal: at most 50 ms. Run it by itself: `python benchmarks/placement.py`.
"""

from __future__ import annotations

import time
from statistics import median

from distpool.ids import LeaseId, NodeId
from distpool.logic.placement import Placement
from distpool.protocol.devices import Device
from distpool.protocol.resources import NODE_WORKER, UNIT, Offer, Shape

NODES = 256
LEASES = 1_000
REPEATS = 9
GOAL_MS = 50.0
GIB = 2**30
SHAPES = [
    Shape(),
    NODE_WORKER,
    Shape(cpus=UNIT // 2, gpus=UNIT // 2),
    Shape(cpus=4 * UNIT, gpus=2 * UNIT),
    Shape(gpus=8 * UNIT),
    Shape(memory_bytes=8 * GIB),
    Shape(labels=(("zone", "b"),)),
    Shape(gpus=UNIT, gpu_memory_bytes=40 * GIB),
]


def cluster() -> Placement:
    placement = Placement()
    for number in range(NODES):
        devices = tuple(Device(f"{number}-{at}", "pretend", 80 * GIB, at // 4) for at in range(8))
        offer = Offer(64, 512 * GIB, devices if number % 4 else (), labels=(("zone", "abc"[number % 3]),))
        placement.add_node(NodeId(f"node-{number:03}"), offer)
    return placement


def milliseconds() -> float:
    placement = cluster()
    began_at = time.process_time()
    placed = [placement.place(LeaseId(number), SHAPES[number % len(SHAPES)]) for number in range(LEASES)]
    taken_ms = (time.process_time() - began_at) * 1000
    assert None not in placed
    return taken_ms


if __name__ == "__main__":
    taken_ms = median(milliseconds() for _ in range(REPEATS))
    print(f"{LEASES} leases on {NODES} nodes: {taken_ms:.1f} ms (goal: at most {GOAL_MS:g} ms)")
    raise SystemExit(taken_ms > GOAL_MS)
