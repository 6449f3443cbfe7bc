"""AMD's GPUs, by the topology that the kernel's compute driver (KFD) shows."""

from __future__ import annotations

from pathlib import Path

from distpool.runtime.gpus.found import Found
from distpool.runtime.gpus.pci import SYS

_XGMI = "11"
"""The type of a link from GPU to GPU (Infinity Fabric), as the driver numbers it."""
_DEVICE_MEMORY = {"1", "2"}
"""Heaps that are the GPU's own: with and without access by the processor."""


def amd_gpus(root: Path = SYS) -> list[Found]:
    """In the order of the topology, which is that of ROCm's indices."""
    nodes = root / "class/kfd/kfd/topology/nodes"
    if not nodes.is_dir():
        return []
    numbered = sorted((int(path.name), path) for path in nodes.iterdir() if path.name.isdecimal())
    properties = {number: _properties(path / "properties") for number, path in numbered}
    # Processors are nodes of it too. Of a GPU that this process may not use, nothing can be read.
    gpus = [number for number, _ in numbered if int(properties[number].get("simd_count", 0))]
    ids = {number: _id_of(properties[number], index) for index, number in enumerate(gpus)}
    found = []
    for index, number in enumerate(gpus):
        folder = nodes / str(number)
        links = [_properties(path / "properties") for path in sorted(folder.glob("io_links/*"))]
        peers = {ids.get(int(link.get("node_to", -1))) for link in links if link.get("type") == _XGMI}
        found.append(
            Found(
                ids[number],
                "amd",
                index,
                (ids[number],) if ids[number] != str(index) else (),
                _name_of(folder),
                _memory(folder),
                _bus_of(properties[number]),
                frozenset(filter(None, peers)),
            )
        )
    return found


def _id_of(properties: dict[str, str], index: int) -> str:
    """Cards for consumers have no number of their own."""
    unique = int(properties.get("unique_id", 0))
    return f"GPU-{unique:016x}" if unique else str(index)


def _name_of(folder: Path) -> str:
    try:
        return (folder / "name").read_text().strip()
    except OSError:
        return ""


def _bus_of(properties: dict[str, str]) -> str:
    location, domain = int(properties.get("location_id", 0)), int(properties.get("domain", 0))
    return f"{domain:04x}:{location >> 8 & 0xFF:02x}:{location >> 3 & 0x1F:02x}.{location & 7:x}"


def _memory(folder: Path) -> int:
    banks = [_properties(path / "properties") for path in folder.glob("mem_banks/*")]
    return sum(int(bank.get("size_in_bytes", 0)) for bank in banks if bank.get("heap_type") in _DEVICE_MEMORY)


def _properties(path: Path) -> dict[str, str]:
    """Lines of a name and a number. One that this process may not use has an empty file, or none that it may read."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    return {name: value for name, _, value in (line.partition(" ") for line in lines) if value}
