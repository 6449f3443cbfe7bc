"""Devices of a machine, as its node tells of them: GPUs, and what counts as such."""

from __future__ import annotations

import msgspec

DEVICES_LIMIT = 64
"""The most that one worker gets: for each a descriptor travels, and the kernel lets through a few hundred."""


class Device(msgspec.Struct, array_like=True, frozen=True):
    """One GPU, or one MIG instance of one. `id`: as its environment variable names it, a UUID where there is one.
    `kind`: "nvidia", "amd", "intel" or "pretend". `link`: devices of one machine with the same number are joined more
    closely than others, by NVLink or a PCIe switch. `numa`: the memory node that it is next to; -1: not known."""

    id: str
    kind: str
    memory_bytes: int
    link: int = 0
    numa: int = -1
    name: str = ""


class WorkerDevices(msgspec.Struct, array_like=True, frozen=True):
    """What a worker does with the devices of its lease before user code runs. `ids`: as it tells them. `variables`: to
    be set, or with None to be removed. `processors`: to run on, if it may now; empty: stay as it is. `locks`: so many
    descriptors that come with it are to be kept open for as long as it lives."""

    ids: tuple[str, ...] = ()
    variables: tuple[tuple[str, str | None], ...] = ()
    processors: tuple[int, ...] = ()
    locks: int = 0


NO_DEVICES = WorkerDevices()
