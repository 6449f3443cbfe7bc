"""How much memory is in use here, and by a process: as the kernel counts it.

The store's memory and what processes share is in the sums of the machine and its groups, and nobody's own.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from distpool.objects.limits import machine_memory, memory_groups

_USED_IN_GROUP = {1: "memory.usage_in_bytes", 2: "memory.current"}
_CACHE_IN_GROUP = {1: "total_inactive_file", 2: "inactive_file"}
_OWN = ("Private_Clean", "Private_Dirty")
_RESIDENT = ("RssAnon", "RssFile")


class Use(NamedTuple):
    """Of the memory of a place, which has a name for people."""

    place: str
    used_bytes: int
    total_bytes: int


def uses() -> list[Use]:
    """Of the machine, and of each control group around this process that has a limit."""
    total, available = machine_memory()
    found = [Use("the machine's memory", total - available, total)] if total else []
    for folder, version, limit in memory_groups():
        used = _number(os.path.join(folder, _USED_IN_GROUP[version]))
        if 0 < limit < total or not total:
            # Pages of files that nobody has looked at for a while are given back before anything is ended.
            cache = _fields(os.path.join(folder, "memory.stat"), " ").get(_CACHE_IN_GROUP[version], 0)
            found.append(
                Use(f"the memory of the control group {os.path.basename(folder)}", max(0, used - cache), limit)
            )
    return found


def resident_bytes(pid: int) -> int:
    """Without shared memory, and with what is shared with its parent since a fork. 0: it has ended."""
    fields = _fields(f"/proc/{pid}/status", ":")
    return 1024 * sum(fields.get(name, 0) for name in _RESIDENT)


def own_bytes(pid: int) -> int:
    """What is free when it ends; the kernel looks at each of its pages for that. 0: it has ended."""
    fields = _fields(f"/proc/{pid}/smaps_rollup", ":")
    return 1024 * sum(fields.get(name, 0) for name in _OWN)


def _number(path: str) -> int:
    try:
        with open(path) as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def _fields(path: str, separator: str) -> dict[str, int]:
    """Those lines that are a name and a number, perhaps with a unit."""
    try:
        with open(path) as file:
            lines = file.read().splitlines()
    except OSError:
        return {}
    split = ((name, rest.split()) for name, _, rest in (line.partition(separator) for line in lines))
    return {name: int(words[0]) for name, words in split if words and words[0].isdecimal()}
