"""The devices of this process, if it is a worker that was given some."""

from __future__ import annotations

import os

from distpool.protocol.devices import WorkerDevices

_ids: list[str] = []


def get_gpu_ids() -> list[str]:
    """The GPUs of this worker, by the names that its environment variable has for them (CUDA_VISIBLE_DEVICES, say):
    UUIDs where there are some. Empty in a worker that was given none, and in other processes."""
    return list(_ids)


def take_devices(devices: WorkerDevices, native_threads: int) -> int:
    """In a worker, before any code of its program runs: set the variables, and run on the processors next to the
    devices. How many of `native_threads` are left of use."""
    _ids[:] = devices.ids
    for name, value in devices.variables:
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    near = os.sched_getaffinity(0).intersection(devices.processors)
    if near:
        os.sched_setaffinity(0, near)
        return min(len(near), native_threads)
    return native_threads
