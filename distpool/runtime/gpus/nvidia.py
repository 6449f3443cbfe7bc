"""NVIDIA's GPUs and MIG instances: by NVML, else by `nvidia-smi`, else by what the kernel's driver shows.

None of the three makes a CUDA context: a process that has one costs memory on each GPU, and cannot be forked.
"""

from __future__ import annotations

import csv
import logging
import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

from distpool.runtime.gpus.found import Found, bus_address

COMMAND = "nvidia-smi"
PROC = Path("/proc/driver/nvidia/gpus")
COMMAND_LIMIT_S = 15.0
"""A machine with many GPUs and without its persistence daemon takes several seconds."""

_QUERY = "--query-gpu=index,uuid,name,memory.total,pci.bus_id,mig.mode.current"
_INSTANCE = re.compile(r"^\s+MIG (?P<profile>\S+)\s+Device\s+\d+: \(UUID: (?P<uuid>MIG-[^)]+)\)")
_GPU = re.compile(r"^GPU \d+: .*\(UUID: (?P<uuid>GPU-[^)]+)\)")
_PROFILE_SIZE = re.compile(r"\.(\d+)gb")
_MIB, _GIB = 1024**2, 1024**3

_log = logging.getLogger("distpool")


def nvidia_gpus(command: str = COMMAND, proc: Path = PROC) -> list[Found]:
    """In the order of the PCI bus, which is that of NVIDIA's own tools."""
    for find in (by_library, lambda: by_command(command), lambda: by_driver(proc)):
        found = find()
        if found is not None:
            return found
    return []


# By NVML --------------------------------------------------------------------------------------------------------------


def by_library() -> list[Found] | None:
    """None: the package `nvidia-ml-py` or the driver's library is not there."""
    try:
        nvml: Any = import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    try:
        gpus = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        uuids = [_text(nvml.nvmlDeviceGetUUID(gpu)) for gpu in gpus]
        found = []
        for index, gpu in enumerate(gpus):
            joined = frozenset(
                uuids[at] for at, other in enumerate(gpus) if at != index and _is_linked(nvml, gpu, other)
            )
            about = Found(
                uuids[index],
                "nvidia",
                index,
                (uuids[index],),
                _text(nvml.nvmlDeviceGetName(gpu)),
                _memory(nvml, gpu),
                bus_address(_text(nvml.nvmlDeviceGetPciInfo(gpu).busId)),
                joined,
            )
            found += _instances(nvml, gpu, about) if _has_instances(nvml, gpu) else [about]
        return found
    except nvml.NVMLError as error:
        _log.warning("NVML cannot tell of this machine's GPUs (%s): %s is asked instead", error, COMMAND)
        return None
    finally:
        nvml.nvmlShutdown()


def _is_linked(nvml: Any, one: Any, other: Any) -> bool:
    """By NVLink, directly or by a switch."""
    try:
        return bool(nvml.nvmlDeviceGetP2PStatus(one, other, nvml.NVML_P2P_CAPS_INDEX_NVLINK) == nvml.NVML_P2P_STATUS_OK)
    except nvml.NVMLError:
        return False  # it has none


def _has_instances(nvml: Any, gpu: Any) -> bool:
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(gpu)
    except nvml.NVMLError:
        return False  # it cannot be divided
    return bool(current == nvml.NVML_DEVICE_MIG_ENABLE)


def _instances(nvml: Any, gpu: Any, about: Found) -> list[Found]:
    """A GPU that is divided can be used by its instances only: without one it is no device."""
    found = []
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        try:
            instance = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, number)
        except nvml.NVMLError:
            continue  # of the places for them not all are taken
        uuid = _text(nvml.nvmlDeviceGetUUID(instance))
        found.append(
            about._replace(
                id=uuid,
                uuids=(uuid, *about.uuids),
                name=_text(nvml.nvmlDeviceGetName(instance)),
                memory_bytes=_memory(nvml, instance),
                peers=frozenset(),
            )
        )
    return found


def _memory(nvml: Any, handle: Any) -> int:
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except nvml.NVMLError:
        return 0  # of those that share the machine's memory, no size is told


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


# By the command -------------------------------------------------------------------------------------------------------


def by_command(command: str = COMMAND) -> list[Found] | None:
    """None: there is no such command, or it fails."""
    path = shutil.which(command)
    if path is None:
        return None
    told = _ask(path, _QUERY, "--format=csv,noheader,nounits")
    if told is None:
        return None
    found: list[Found] = []
    divided: dict[str, Found] = {}
    for row in csv.reader(told.splitlines(), skipinitialspace=True):
        if len(row) != 6:
            _log.warning("%s tells of a GPU in a form that is not known: %s", command, row)
            continue
        index, uuid, name, mebibytes, bus, mode = row
        memory = int(mebibytes) * _MIB if mebibytes.isdecimal() else 0
        about = Found(uuid, "nvidia", int(index), (uuid,), name, memory, bus_address(bus))
        if mode.strip() == "Enabled":
            divided[uuid] = about
        else:
            found.append(about)
    if divided:
        found += _listed_instances(_ask(path, "-L") or "", divided)
    return sorted(found, key=lambda gpu: gpu.number)


def _listed_instances(listing: str, divided: dict[str, Found]) -> list[Found]:
    found = []
    about: Found | None = None
    for line in listing.splitlines():
        gpu, instance = _GPU.match(line), _INSTANCE.match(line)
        if gpu is not None:
            about = divided.get(gpu["uuid"])
        elif instance is not None and about is not None:
            size = _PROFILE_SIZE.search(instance["profile"])
            memory = int(size[1]) * _GIB if size else 0
            uuids = (instance["uuid"], *about.uuids)
            name = f"{about.name} MIG {instance['profile']}"
            found.append(about._replace(id=instance["uuid"], uuids=uuids, name=name, memory_bytes=memory))
    return found


def _ask(command: str, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            [command, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        _log.warning("%s did not answer within %g s", command, COMMAND_LIMIT_S)
        return None
    except OSError as error:
        _log.warning("%s cannot be run: %s", command, error.strerror)
        return None
    if done.returncode:
        _log.warning("%s failed: %s", command, (done.stdout + done.stderr).strip())
        return None
    return done.stdout


# By the driver --------------------------------------------------------------------------------------------------------


def by_driver(proc: Path = PROC) -> list[Found] | None:
    """What each has as /proc/driver/nvidia/gpus/<bus>/information: no memory and no instances. None: no such driver."""
    if not proc.is_dir():
        return None
    found = []
    for index, folder in enumerate(sorted(proc.iterdir(), key=lambda path: bus_address(path.name))):
        fields = {}
        for line in (folder / "information").read_text().splitlines():
            name, _, value = line.partition(":")
            fields[name.strip()] = value.strip()
        uuid = fields.get("GPU UUID", "")
        known = (uuid,) if uuid and "?" not in uuid else ()  # the driver has yet to look
        gpu = Found(known[0] if known else str(index), "nvidia", index, known, fields.get("Model", ""))
        found.append(gpu._replace(bus=bus_address(folder.name)))
    return found
