"""What this machine offers as a node: its CPUs and memory, its GPUs, and what is set beside that."""

from __future__ import annotations

from distpool.base_errors import InvalidSetting
from distpool.objects.limits import memory_bytes
from distpool.protocol.devices import Device
from distpool.protocol.resources import Offer
from distpool.settings import current


def offer(
    cpus: int,
    devices: tuple[Device, ...] = (),
    memory: int | None = None,
    *,
    resources: dict[str, int] | None = None,
    labels: dict[str, str] | None = None,
) -> Offer:
    """`memory`: in bytes, if not all of it. `resources`, in ten-thousandths, and `labels`: by default as the settings
    say. Raises InvalidSetting."""
    chosen = current()
    custom = chosen.resources if resources is None else resources
    own_labels = chosen.node_labels if labels is None else labels
    memory = memory_bytes() if memory is None else memory
    return Offer(cpus, memory, devices, tuple(sorted(custom.items())), tuple(sorted(own_labels.items())))


def first_devices(count: int | None = None) -> tuple[Device, ...]:
    """So many of this machine's, or all. Raises InvalidSetting when there are fewer."""
    from distpool.runtime.gpus import own_devices  # a pool of one machine that asks for none pays nothing

    devices = own_devices()
    if count is not None and not 0 <= count <= len(devices):
        raise InvalidSetting(f"--gpus is {count}; this machine has {len(devices)}: leave it out to offer all of them")
    return devices if count is None else devices[:count]
