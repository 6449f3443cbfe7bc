"""What this machine offers as a node: its CPUs and memory, its GPUs, and what is set beside that."""

from __future__ import annotations

from distpool.base_errors import InvalidSetting
from distpool.objects.limits import memory_bytes
from distpool.protocol.devices import Device
from distpool.protocol.resources import Offer
from distpool.settings import current


def offer(cpus: int, devices: tuple[Device, ...] = (), memory: int | None = None) -> Offer:
    """`memory`: in bytes, if not all of it. Raises InvalidSetting."""
    chosen = current()
    resources, labels = tuple(sorted(chosen.resources.items())), tuple(sorted(chosen.node_labels.items()))
    return Offer(cpus, memory_bytes() if memory is None else memory, devices, resources, labels)


def first_devices(count: int | None = None) -> tuple[Device, ...]:
    """So many of this machine's, or all. Raises InvalidSetting when there are fewer."""
    from distpool.runtime.gpus import own_devices  # a pool of one machine that asks for none pays nothing

    devices = own_devices()
    if count is not None and not 0 <= count <= len(devices):
        raise InvalidSetting(f"--gpus is {count}; this machine has {len(devices)}: leave it out to offer all of them")
    return devices if count is None else devices[:count]
