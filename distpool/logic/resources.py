"""What a node, or a bundle of a placement group, has, and what of it each lease takes. All amounts are exact.

A lease that waits for others gives back its CPUs for as long as it waits, and nothing else.
"""

from __future__ import annotations

import msgspec

from distpool.ids import LeaseId
from distpool.logic.devices import DeviceTable
from distpool.logic.sizes import size_text
from distpool.protocol.resources import UNIT, Claim, Offer, Shape, Strategy

_NOTHING: tuple[int, ...] = ()
_NOBODY = LeaseId(0)


class Taken(msgspec.Struct):
    """What a lease has."""

    shape: Shape
    devices: tuple[int, ...]
    waits: bool = False


class Room:
    """The sums of one node. `cpus` are in ten-thousandths, as all amounts."""

    def __init__(self, name: str, offer: Offer, cpus: int | None = None) -> None:
        """`cpus`: in ten-thousandths; None for those that are offered."""
        self.name = name
        self.offer = offer
        self.total_cpus = self.free_cpus = max(1, offer.cpus) * UNIT if cpus is None else cpus
        self.free_memory_bytes = offer.memory_bytes
        self.free_custom = dict(offer.custom)
        self.devices = DeviceTable(offer.devices)
        self.held: dict[LeaseId, Taken] = {}
        self._labels = frozenset(offer.labels)
        self._custom = dict(offer.custom)
        # Shares of each device that are in somebody's hands: a claim must not give one to two.
        self._used = [0] * len(offer.devices)

    # What there is --------------------------------------------------------------------------------------------------

    def could_ever(self, shape: Shape) -> bool:
        """If nobody else took anything."""
        return (
            self.is_meant(shape)
            and shape.cpus <= self.total_cpus
            and shape.memory_bytes <= self.offer.memory_bytes
            and all(amount <= self._custom.get(name, 0) for name, amount in shape.custom)
            and (not shape.gpus or self.devices.could_ever(shape.gpus, shape.gpu_memory_bytes))
        )

    def seems_to_fit(self, shape: Shape) -> bool:
        """By sums; only the devices themselves tell whether enough of one is free."""
        if shape.cpus > self.free_cpus or shape.memory_bytes > self.free_memory_bytes:
            return False
        if shape.gpus and shape.gpus > self.devices.free_amount():
            return False
        if shape.custom and any(amount > self.free_custom.get(name, 0) for name, amount in shape.custom):
            return False
        return self.is_meant(shape)

    def is_meant(self, shape: Shape) -> bool:
        """It has the labels, and is the node that was named."""
        if shape.node and not shape.is_soft and shape.node != self.name:
            return False
        return not shape.labels or self._labels.issuperset(shape.labels)

    def rank(self, shape: Shape) -> tuple[float, ...]:
        """The lowest of several nodes that fit gets the lease."""
        if shape.strategy == Strategy.SPREAD or not (shape.cpus or shape.gpus or shape.memory_bytes or shape.custom):
            # What takes nothing that runs out would all be packed on one node.
            cpus = max(1, self.total_cpus)
            return ((self.total_cpus - self.free_cpus) / cpus, len(self.held) / cpus)
        if shape.gpus:
            return (self.devices.free_amount(), self.free_cpus)
        # What needs no GPU leaves the nodes that have some to others.
        return (bool(self._used), self.free_cpus, self.free_memory_bytes)

    # What is taken --------------------------------------------------------------------------------------------------

    def take(self, lease: LeaseId, shape: Shape) -> tuple[int, ...] | None:
        """Positions of its devices; None when it does not fit, and nothing has changed."""
        if not self.seems_to_fit(shape):
            return None
        devices = self.devices.allocate(lease, shape.gpus, shape.gpu_memory_bytes) if shape.gpus else _NOTHING
        if devices is None:
            return None
        self._count(lease, Taken(shape, devices))
        return devices

    def hold_back(self, share: int) -> None:
        """So much of the only device is somebody else's."""
        self.devices.allocate(_NOBODY, share)
        self._used[0] += share

    def can_restore(self, claim: Claim) -> bool:
        """What it claims is there, and nobody else has it."""
        shape = claim.shape
        if not claim.waits and shape.cpus > self.free_cpus:
            return False
        if shape.memory_bytes > self.free_memory_bytes:
            return False
        if any(amount > self.free_custom.get(name, 0) for name, amount in shape.custom):
            return False
        return self._has_devices(claim)

    def _has_devices(self, claim: Claim) -> bool:
        """Those are as many as its shape says, and free."""
        if not is_sound(claim.shape):
            return False
        share = min(claim.shape.gpus, UNIT)
        wanted = -(-claim.shape.gpus // UNIT)
        if len(claim.devices) != wanted or len(set(claim.devices)) != wanted:
            return False
        return all(0 <= at < len(self._used) and self._used[at] + share <= UNIT for at in claim.devices)

    def restore(self, claim: Claim) -> None:
        """A lease that has this already. Devices that others have, or that are not there, stay with the others."""
        if claim.lease in self.held:
            return
        shape, devices = claim.shape, claim.devices
        if shape.gpus and self._has_devices(claim):
            self.devices.restore(claim.lease, devices, shape.gpus, shape.gpu_memory_bytes)
        elif shape.gpus or devices:
            shape, devices = msgspec.structs.replace(shape, gpus=0, gpu_memory_bytes=0), _NOTHING
        self._count(claim.lease, Taken(shape, devices))
        self.wait(claim.lease, waits=claim.waits)

    def give_back(self, lease: LeaseId) -> bool:
        """It is over. Said twice, it changes nothing; whether it had anything."""
        taken = self.held.get(lease)
        if taken is None:
            return False
        self.wait(lease, waits=False)
        del self.held[lease]
        self._add(taken.shape, 1)
        if taken.devices:
            self.devices.free(lease)
            for at in taken.devices:
                self._used[at] -= min(taken.shape.gpus, UNIT)
        return True

    def wait(self, lease: LeaseId, *, waits: bool) -> bool:
        """Its CPUs are others' while it waits; when it goes on there may be too few for a moment. Whether that is
        news."""
        taken = self.held.get(lease)
        if taken is None or taken.waits == waits:
            return False
        taken.waits = waits
        self.free_cpus += taken.shape.cpus if waits else -taken.shape.cpus
        return True

    def _count(self, lease: LeaseId, taken: Taken) -> None:
        self.held[lease] = taken
        self._add(taken.shape, -1)
        for at in taken.devices:
            self._used[at] += min(taken.shape.gpus, UNIT)

    def _add(self, shape: Shape, sign: int) -> None:
        self.free_cpus += sign * shape.cpus
        self.free_memory_bytes += sign * shape.memory_bytes
        for name, amount in shape.custom:
            self.free_custom[name] = self.free_custom.get(name, 0) + sign * amount


def is_sound(shape: Shape) -> bool:
    """No amount is below 0, and GPUs are a share or whole ones; what others send need not be."""
    amounts = [shape.cpus, shape.gpus, shape.memory_bytes, shape.gpu_memory_bytes, *(part for _, part in shape.custom)]
    return min(amounts) >= 0 and (shape.gpus <= UNIT or shape.gpus % UNIT == 0)


def amount_text(amount: int) -> str:
    """In words: "1", "0.25"."""
    return f"{amount / UNIT:.4f}".rstrip("0").rstrip(".")


def shape_text(shape: Shape) -> str:
    """In words: "1 CPU, 2 GPUs of 16.0 GiB, 4.0 GiB of memory, 1 tpu, zone=eu"."""
    parts = []
    if shape.cpus or not (shape.gpus or shape.memory_bytes or shape.custom):
        parts.append(counted(shape.cpus, "CPU"))
    if shape.gpus:
        of = f" with {size_text(shape.gpu_memory_bytes)} free" if shape.gpu_memory_bytes else ""
        parts.append(counted(shape.gpus, "GPU") + of)
    if shape.memory_bytes:
        parts.append(f"{size_text(shape.memory_bytes)} of memory")
    parts += [f"{amount_text(amount)} {name}" for name, amount in shape.custom]
    parts += [f"{key}={value}" for key, value in shape.labels]
    if shape.node and not shape.is_soft:
        parts.append(f"node {shape.node}")
    if shape.place is not None:
        bundle = "" if shape.place[1] < 0 else f", bundle {shape.place[1]}"
        parts.append(f"placement group {shape.place[0]}{bundle}")
    return ", ".join(parts)


def counted(amount: int, unit: str) -> str:
    """An amount with its unit in the right number."""
    return f"{amount_text(amount)} {unit}" if amount == UNIT else f"{amount_text(amount)} {unit}s"
