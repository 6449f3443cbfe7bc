"""Machines with GPUs, as the kernel and NVIDIA's tools would show them."""

from pathlib import Path
from types import SimpleNamespace

GIB = 1024**3


def pci(root: Path, bus: str, *above: str, numa: int = -1) -> Path:
    """A device below these bridges."""
    where = root / "devices" / "pci0000:00" / "/".join([*above, bus])
    where.mkdir(parents=True, exist_ok=True)
    (where / "numa_node").write_text(f"{numa}\n")
    link = root / "bus/pci/devices" / bus
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(where)
    return where


def memory_node(root: Path, number: int, processors: str) -> None:
    folder = root / f"devices/system/node/node{number}"
    folder.mkdir(parents=True)
    (folder / "cpulist").write_text(f"{processors}\n")


def kfd_node(root: Path, number: int, *, memory: int = 0, links: tuple[int, ...] = (), name="", **properties) -> None:
    folder = root / f"class/kfd/kfd/topology/nodes/{number}"
    (folder / "mem_banks/0").mkdir(parents=True)
    lines = {"simd_count": 0, **properties}
    (folder / "properties").write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
    (folder / "name").write_text(f"{name}\n")
    (folder / "mem_banks/0/properties").write_text(f"heap_type {1 if memory else 0}\nsize_in_bytes {memory}\n")
    for at, other in enumerate(links):
        (folder / f"io_links/{at}").mkdir(parents=True)
        (folder / f"io_links/{at}/properties").write_text(f"type 11\nnode_from {number}\nnode_to {other}\n")


def card(root: Path, number: int, device: Path, vendor: str, memory: int = 0) -> None:
    folder = root / f"class/drm/card{number}"
    folder.mkdir(parents=True)
    (root / f"class/drm/card{number}-DP-1").mkdir()
    (device / "vendor").write_text(f"{vendor}\n")
    (folder / "device").symlink_to(device)
    if memory:
        (folder / "lmem_total_bytes").write_text(f"{memory}\n")


def nvidia_driver(proc: Path, bus: str, text: str) -> None:
    (proc / bus).mkdir(parents=True)
    (proc / bus / "information").write_text(text)


def nvidia_command(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


class FakeNvml:
    """The module `pynvml` with so many GPUs. `linked`: pairs with NVLink; `instances`: by GPU; `fails`: at what."""

    NVML_P2P_CAPS_INDEX_NVLINK = 2
    NVML_P2P_STATUS_OK = 0
    NVML_DEVICE_MIG_ENABLE = 1

    class NVMLError(Exception):
        pass

    def __init__(self, count, linked=(), instances=None, fails=""):
        self.count = count
        self.linked = {frozenset(pair) for pair in linked}
        self.instances = instances or {}
        self.fails = fails
        self.open = 0

    def nvmlInit(self):
        self._may_fail("init")
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetCount(self):
        self._may_fail("count")
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetUUID(self, handle):
        return handle if isinstance(handle, str) else f"GPU-{handle}"

    def nvmlDeviceGetName(self, handle):
        return b"NVIDIA A100" if isinstance(handle, int) else "NVIDIA A100 MIG 1g.10gb"

    def nvmlDeviceGetMemoryInfo(self, handle):
        self._may_fail("memory")
        return SimpleNamespace(total=(80 if isinstance(handle, int) else 10) * GIB)

    def nvmlDeviceGetPciInfo(self, handle):
        return SimpleNamespace(busId=f"00000000:{handle + 0xA:02X}:00.0".encode())

    def nvmlDeviceGetP2PStatus(self, one, other, what):
        assert what == self.NVML_P2P_CAPS_INDEX_NVLINK
        return 0 if frozenset({one, other}) in self.linked else 5

    def nvmlDeviceGetMigMode(self, handle):
        if not self.instances:
            raise self.NVMLError("Not Supported")
        return int(handle in self.instances), 0

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, number):
        if number >= len(self.instances[handle]):
            raise self.NVMLError("Not Found")
        return self.instances[handle][number]

    def _may_fail(self, what):
        if self.fails == what:
            raise self.NVMLError(f"{what} fails")
