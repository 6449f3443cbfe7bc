"""How large the store may be, and where it puts what does not fit: as it is set, or else by the machine."""

from __future__ import annotations

import os

from distpool.config import SETTINGS
from distpool.quantities import size_bytes
from distpool.settings import current

_SMALLEST = 1024 * 1024


def store_size(setting: str | int | None) -> int:
    """The limit of the store in bytes. Raises ValueError or TypeError that lists the accepted forms."""
    name = "the store's size"
    if setting is None:
        chosen = current()
        if chosen.store_size is None:
            return int(memory_bytes() * SETTINGS.store_share)
        setting, name = chosen.store_size, chosen.sources["store_size"]
    return size_bytes(setting, name, smallest=_SMALLEST, whole=memory_bytes)


def spill_folder(setting: str | os.PathLike[str] | None) -> str:
    """Raises ValueError when it is no folder that can be written to."""
    name = "the spill folder"
    if setting is None:
        chosen = current()
        if chosen.spill_folder is None:
            from distpool.store.spill import default_folder  # comes with the store: most need to know sizes only

            return default_folder()
        setting, name = chosen.spill_folder, chosen.sources["spill_folder"]
    folder = os.fspath(setting)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"{name} is {folder!r}; it must be a folder that exists and that this user may write to")
    return folder


def memory_bytes() -> int:
    """The memory that this process may use: the machine's, or its control group's if that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(limit for _, _, limit in memory_groups())])


def memory_is_short() -> bool:
    """The machine has so little memory left that none is to be kept for later."""
    total, available = machine_memory()
    return available < total * SETTINGS.short_share


def machine_memory() -> tuple[int, int]:
    """In bytes: all, and what programs could have without swapping. Both are 0 where the system does not tell."""
    try:
        lines = _read("/proc/meminfo").splitlines()
    except OSError:
        return 0, 0
    kibibytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    total = kibibytes["MemTotal"]
    return total * 1024, kibibytes.get("MemAvailable", total) * 1024


def memory_groups() -> list[tuple[str, int, int]]:
    """Those control groups that this process is in, and those around them, that have a limit: the folder, its version
    of the interface (1 or 2), and the limit in bytes."""
    groups = []
    try:
        lines = _read("/proc/self/cgroup").splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root, version, file = "/sys/fs/cgroup", 2, "memory.max"
        if controllers:
            if "memory" not in controllers.split(","):
                continue
            root, version, file = f"{root}/memory", 1, "memory.limit_in_bytes"
        names = path.strip("/").split("/") if path.strip("/") else []
        # In a container its own group is the root of what it sees.
        for depth in range(len(names), -1, -1):
            folder = "/".join([root, *names[:depth]])
            try:
                text = _read(f"{folder}/{file}").strip()
            except OSError:
                continue
            if text.isdigit():
                groups.append((folder, version, int(text)))
    return groups


def _read(path: str) -> str:
    """Of the kernel's files; not by `pathlib`, which the first pool of a program would wait for."""
    with open(path) as file:
        return file.read()
