"""The devices of a node as its workers get them: by position, as variables, processors and locks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distpool.protocol.devices import DEVICES_LIMIT, Device, WorkerDevices
from distpool.runtime.gpus import own_devices
from distpool.runtime.gpus.pci import SYS, Pci
from distpool.runtime.gpus.visible import VARIABLES


class Equipment:
    """Owned by whoever holds the loop. `locks`: for each device a descriptor that its workers keep open."""

    def __init__(self, devices: Sequence[Device] | None = None, locks: Sequence[int] = (), root: Path = SYS) -> None:
        """`devices`: by default those of this machine, once somebody needs them. `root`: where the kernel tells of
        processors."""
        self._devices = devices
        self._locks = locks
        self._pci = Pci(root)

    def devices(self) -> Sequence[Device]:
        """Raises InvalidSetting when a table was set that makes no sense."""
        return own_devices() if self._devices is None else self._devices

    def hand_out(self, positions: Sequence[int]) -> tuple[WorkerDevices, list[int]]:
        """To a worker: what it is told, and the descriptors of the locks. Raises LookupError for a device that is none,
        and for too many."""
        known = self.devices()
        if len(positions) > DEVICES_LIMIT:
            raise LookupError(f"a worker cannot have {len(positions)} devices; {DEVICES_LIMIT} are the most")
        for at in positions:
            if not 0 <= at < len(known):
                raise LookupError(f"there is no device {at} on this node, which has {len(known)}")
        devices = [known[at] for at in positions]
        locks = [self._locks[at] for at in positions] if self._locks else []
        ids = tuple(device.id for device in devices)
        return WorkerDevices(ids, _variables(devices), tuple(sorted(self._processors(devices))), len(locks)), locks

    def _processors(self, devices: list[Device]) -> set[int]:
        """Next to any of them; empty when that is not known of one."""
        near = [self._pci.processors(numa) for numa in {device.numa for device in devices}]
        return set().union(*near) if all(near) else set()


def _variables(devices: list[Device]) -> tuple[tuple[str, str | None], ...]:
    """A kind of which the worker has none keeps what it has: nothing was asked of it."""
    named: dict[str, list[str]] = {}
    others: dict[str, None] = {}
    for device in devices:
        first, *further = VARIABLES[device.kind]
        named.setdefault(first, []).append(device.id)
        # These choose among what the first one leaves, and their numbers are those of all.
        others.update(dict.fromkeys(further))
    return *((name, ",".join(ids)) for name, ids in named.items()), *others.items()
