"""How large the store may be, and where it puts what does not fit: by the environment, or else by the machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

from distpool.config import SETTINGS
from distpool.store.spill import default_folder

SIZE_VARIABLE = "DISTPOOL_STORE_SIZE"
FOLDER_VARIABLE = "DISTPOOL_SPILL_FOLDER"

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_FORMS = "a number of bytes, or one with a unit such as '512MiB', '4GB', '1.5GiB', or a share of the memory as '30%'"
_SMALLEST = 1024 * 1024


def store_size(setting: str | int | None) -> int:
    """The limit of the store in bytes. Raises ValueError or TypeError that lists the accepted forms."""
    name = "the store's size"
    if setting is None:
        setting = os.environ.get(SIZE_VARIABLE)
        name = f"the environment variable {SIZE_VARIABLE}"
        if setting is None:
            return int(memory_bytes() * SETTINGS.store_share)
    size = _parse(setting, name)
    if size < _SMALLEST:
        raise ValueError(f"{name} is {setting!r}, {size} bytes; it must be at least 1 MiB: {_FORMS}")
    return size


def spill_folder(setting: str | os.PathLike[str] | None) -> str:
    """Raises ValueError when it is no folder that can be written to."""
    name = "the spill folder"
    if setting is None:
        setting = os.environ.get(FOLDER_VARIABLE)
        name = f"the environment variable {FOLDER_VARIABLE}"
        if setting is None:
            return default_folder()
    folder = os.fspath(setting)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"{name} is {folder!r}; it must be a folder that exists and that this user may write to")
    return folder


def memory_bytes() -> int:
    """The memory that this process may use: the machine's, or its control group's if that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_group_limits()])


def memory_is_short() -> bool:
    """The machine has so little memory left that none is to be kept for later."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return False
    sizes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return sizes.get("MemAvailable", sizes["MemTotal"]) < sizes["MemTotal"] * SETTINGS.short_share


def _group_limits() -> list[int]:
    """Of the control groups of both versions that this process is in, and those around them."""
    limits = []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root, file = Path("/sys/fs/cgroup"), "memory.max"
        if controllers:
            if "memory" not in controllers.split(","):
                continue
            root, file = root / "memory", "memory.limit_in_bytes"
        group = root / path.lstrip("/")
        # In a container its own group is the root of what it sees.
        for folder in [group, *group.parents]:
            try:
                text = (folder / file).read_text().strip()
            except OSError:
                continue
            if text.isdigit():
                limits.append(int(text))
            if folder == root:
                break
    return limits


def _parse(setting: str | int, name: str) -> int:
    if isinstance(setting, bool) or not isinstance(setting, (int, str)):
        raise TypeError(f"{name} is {setting!r}, a {type(setting).__name__}; it must be {_FORMS}")
    if isinstance(setting, int):
        return setting
    text = setting.strip().lower()
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)\s*(%|[a-z]*)", text)
    if match is not None:
        number, unit = float(match[1]), match[2]
        if unit == "%" and 0 < number <= 100:
            return int(memory_bytes() * number / 100)
        if unit in _UNITS:
            return int(number * _UNITS[unit])
    raise ValueError(f"{name} is {setting!r}; it must be {_FORMS}")
