"""Which devices of one machine a lease gets: shares of one, so that others stay whole, or whole ones that are close.

Amounts are whole numbers of ten-thousandths of a device, as in `Shape`, so that shares are exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from distpool.ids import LeaseId
from distpool.protocol.devices import Device
from distpool.protocol.resources import UNIT


class _Use(msgspec.Struct, frozen=True):
    """What a lease has of each of its devices."""

    positions: tuple[int, ...]
    amount: int
    memory_bytes: tuple[int, ...]


class DeviceTable:
    """The devices of one machine by their position in the list that it told, and what is free of each."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self._devices = list(devices)
        self._free = [UNIT] * len(self._devices)
        self._free_bytes = [device.memory_bytes for device in self._devices]
        self._uses: dict[LeaseId, _Use] = {}

    def allocate(self, lease: LeaseId, amount: int, memory_bytes: int = 0) -> tuple[int, ...] | None:
        """Devices for a lease, by position: one of which it has a share, or whole ones; none when it needs nothing.
        `memory_bytes`: that each must have free, and that a share takes. None: there is no room now.

        Raises ValueError for an amount that is neither a share nor whole, and for a lease that has devices.
        """
        _check(amount, memory_bytes)
        if lease in self._uses:
            raise ValueError(f"lease {lease} has devices already: {self._uses[lease].positions}")
        if amount >= UNIT:
            positions = self._whole(amount // UNIT, memory_bytes)
        elif amount or memory_bytes:
            positions = self._share(amount, memory_bytes)
        else:
            return ()
        if positions is not None:
            self._take(lease, positions, amount, memory_bytes)
        return positions

    def could_ever(self, amount: int, memory_bytes: int = 0) -> bool:
        """There would be room if nobody had anything. Raises ValueError as `allocate` does."""
        _check(amount, memory_bytes)
        fitting = sum(device.memory_bytes >= memory_bytes for device in self._devices)
        return fitting >= (max(1, amount // UNIT) if amount or memory_bytes else 0)

    def restore(self, lease: LeaseId, positions: Iterable[int], amount: int, memory_bytes: int = 0) -> None:
        """Devices that a lease has already. Said twice, it changes nothing. Whoever says so is believed: where that is
        more than a device has, nothing is free there until it is given back. Positions that are none do not count."""
        known = tuple(sorted({at for at in positions if 0 <= at < len(self._devices)}))
        if known and lease not in self._uses:
            self._take(lease, known, amount, memory_bytes)

    def free(self, lease: LeaseId) -> None:
        """The lease is over. Said twice, it changes nothing."""
        use = self._uses.pop(lease, None)
        if use is None:
            return
        for at, size in zip(use.positions, use.memory_bytes, strict=True):
            self._free[at] += use.amount
            self._free_bytes[at] += size

    def free_amount(self) -> int:
        """In ten-thousandths, of all devices together."""
        return sum(max(0, amount) for amount in self._free)

    def total(self) -> int:
        return UNIT * len(self._devices)

    def _take(self, lease: LeaseId, positions: tuple[int, ...], amount: int, memory_bytes: int) -> None:
        is_whole = amount >= UNIT
        sizes = tuple(self._devices[at].memory_bytes if is_whole else memory_bytes for at in positions)
        use = self._uses[lease] = _Use(positions, min(amount, UNIT), sizes)
        for at, size in zip(positions, sizes, strict=True):
            self._free[at] -= use.amount
            self._free_bytes[at] -= size

    # Choosing ---------------------------------------------------------------------------------------------------------

    def _share(self, amount: int, memory_bytes: int) -> tuple[int, ...] | None:
        """The fullest that has room; of those that nobody uses, one of the group in which the fewest are whole."""
        # Of one that was given away whole no memory is left, but there are devices whose memory is not known.
        room = [
            at
            for at, free in enumerate(self._free)
            if free > 0 and free >= amount and self._free_bytes[at] >= memory_bytes
        ]
        if not room:
            return None
        untouched = self._untouched_by_link()

        def fullness(at: int) -> tuple[int, int, int, int]:
            amounts = (self._free_bytes[at], self._free[at]) if memory_bytes else (self._free[at], self._free_bytes[at])
            return *amounts, len(untouched.get(self._devices[at].link, ())), at

        used = [at for at in room if not self._is_untouched(at)]
        return (min(used or room, key=fullness),)

    def _whole(self, count: int, memory_bytes: int) -> tuple[int, ...] | None:
        """Of the smallest group that has as many, on one memory node if it can be; else of as few groups as can be."""
        groups = {
            link: fitting
            for link, positions in self._untouched_by_link().items()
            if (fitting := [at for at in positions if self._devices[at].memory_bytes >= memory_bytes])
        }
        if sum(map(len, groups.values())) < count:
            return None
        large_enough = [positions for positions in groups.values() if len(positions) >= count]
        if large_enough:
            return self._close_together(min(large_enough, key=lambda found: (len(found), found)), count)
        chosen: list[int] = []
        for positions in sorted(groups.values(), key=lambda found: (-len(found), found)):
            chosen += self._close_together(positions, min(len(positions), count - len(chosen)))
        return tuple(sorted(chosen))

    def _close_together(self, positions: list[int], count: int) -> tuple[int, ...]:
        """So many of them: of the smallest memory node that has as many, else of as few as can be."""
        nodes: dict[int, list[int]] = {}
        for at in positions:
            nodes.setdefault(self._devices[at].numa, []).append(at)
        large_enough = [found for found in nodes.values() if len(found) >= count]
        if large_enough:
            return tuple(min(large_enough, key=lambda found: (len(found), found))[:count])
        in_order = [at for found in sorted(nodes.values(), key=lambda found: (-len(found), found)) for at in found]
        return tuple(sorted(in_order[:count]))

    def _untouched_by_link(self) -> dict[int, list[int]]:
        groups: dict[int, list[int]] = {}
        for at, device in enumerate(self._devices):
            if self._is_untouched(at):
                groups.setdefault(device.link, []).append(at)
        return groups

    def _is_untouched(self, at: int) -> bool:
        return self._free[at] == UNIT and self._free_bytes[at] == self._devices[at].memory_bytes

    def __repr__(self) -> str:
        return f"<DeviceTable {self.free_amount() / UNIT:g} of {len(self._devices)} free>"


def _check(amount: int, memory_bytes: int) -> None:
    if amount < 0 or (amount > UNIT and amount % UNIT):
        raise ValueError(
            f"{amount} ten-thousandths of a device: it must be a share, from 0 to {UNIT}, or a multiple of {UNIT}"
        )
    if memory_bytes < 0:
        raise ValueError(f"{memory_bytes} bytes of a device's memory: it must be at least 0")
