"""Devices of a machine, as its node tells of them: GPUs, and what counts as such."""

from __future__ import annotations

import msgspec


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
