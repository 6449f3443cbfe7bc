"""The GPUs of this machine: found when they are asked for first, by whatever tells of them without using them.

NVML │ nvidia-smi │ /proc ──┐
KFD's topology (AMD) ───────┼─► Found ─► visible (variables) ─► Device (with links and memory nodes)
graphics cards (Intel) ─────┘
                                    a table that was set ─► Device
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from distpool.protocol.devices import Device
from distpool.runtime.gpus.amd import amd_gpus
from distpool.runtime.gpus.found import Found, groups_of
from distpool.runtime.gpus.intel import intel_gpus
from distpool.runtime.gpus.nvidia import COMMAND, PROC, nvidia_gpus
from distpool.runtime.gpus.pci import SYS, Pci
from distpool.runtime.gpus.pretend import written_down
from distpool.runtime.gpus.visible import visible
from distpool.settings import current

_known: list[tuple[Device, ...]] = []


def own_devices() -> tuple[Device, ...]:
    """Those that this process may use, found once. Raises InvalidSetting when a table was set that makes no sense."""
    if not _known:
        chosen = current()
        if chosen.devices is not None:
            _known[:] = [written_down(chosen.devices, chosen.sources["devices"])]
        else:
            _known[:] = [find_devices(os.environ)]
    return _known[0]


def forget_devices() -> None:
    """Look again when they are asked for next: the variables or the setting are others now."""
    _known.clear()


def find_devices(
    environment: Mapping[str, str], command: str = COMMAND, proc: Path = PROC, root: Path = SYS
) -> tuple[Device, ...]:
    """`environment`: says which of them may be used. `command`, `proc`, `root`: NVIDIA's, and where the kernel tells of
    what."""
    found = visible([*nvidia_gpus(command, proc), *amd_gpus(root), *intel_gpus(root)], environment)
    pci = Pci(root)
    nodes = {gpu.id: pci.numa_node(gpu.bus) for gpu in found}
    links = link_numbers(found, nodes, pci)
    return tuple(Device(gpu.id, gpu.kind, gpu.memory_bytes, links[gpu.id], nodes[gpu.id], gpu.name) for gpu in found)


def link_numbers(found: list[Found], nodes: Mapping[str, int], pci: Pci) -> dict[str, int]:
    """By links of their own where a kind has some, else by PCIe switches; what is joined to none, by memory nodes."""
    numbers: dict[str, int] = {}
    fresh = count()
    for kind in dict.fromkeys(gpu.kind for gpu in found):
        gpus = [gpu for gpu in found if gpu.kind == kind]
        joined = [(gpu.id, peer) for gpu in gpus for peer in gpu.peers]
        if not joined:
            at = {gpu.bus: gpu.id for gpu in gpus}
            joined = [(at[one], at[other]) for one, other in pci.switches(at)]
        together = {end for pair in joined for end in pair}
        alone = [gpu.id for gpu in gpus if gpu.id not in together]
        first = {nodes[name]: name for name in reversed(alone)}
        joined += [(first[nodes[name]], name) for name in alone]
        # Instances of one GPU are on one bus.
        joined += [(one.id, other.id) for one in gpus for other in gpus if one.bus and one.bus == other.bus]
        groups = groups_of([gpu.id for gpu in gpus], joined)
        given = {group: next(fresh) for group in dict.fromkeys(groups.values())}
        numbers.update({name: given[group] for name, group in groups.items()})
    return numbers
