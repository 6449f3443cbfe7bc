"""Where a device is on this machine: its memory node, the PCIe switch that it is behind, the processors next to it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

SYS = Path("/sys")


class Pci:
    """The kernel's tree of devices. `root`: where it is mounted. What it does not tell is not known, and no error: in
    a container much of it may be missing."""

    def __init__(self, root: Path = SYS) -> None:
        self._root = root

    def numa_node(self, bus: str) -> int:
        """-1: not known."""
        text = _read(self._root / "bus/pci/devices" / bus / "numa_node") if bus else ""
        return int(text) if text.isdecimal() else -1

    def root_port(self, bus: str) -> str:
        """The same text for two devices means that a PCIe switch joins them, or a card that they are both on."""
        parts = (self._root / "bus/pci/devices" / bus).resolve().parts if bus else ()
        at = next((at for at, part in enumerate(parts) if part.startswith("pci")), None)
        if at is None or len(parts) <= at + 2:
            return ""  # it hangs on the processor itself
        return "/".join(parts[at : at + 2])

    def processors(self, numa: int) -> set[int]:
        """Next to a memory node; empty: not known."""
        return parsed_list(_read(self._root / f"devices/system/node/node{numa}/cpulist")) if numa >= 0 else set()

    def switches(self, buses: Iterable[str]) -> list[tuple[str, str]]:
        """Pairs of addresses that are behind the same one."""
        first: dict[str, str] = {}
        pairs = []
        for bus in buses:
            port = self.root_port(bus)
            if port:
                pairs.append((first.setdefault(port, bus), bus))
        return [(one, other) for one, other in pairs if one != other]


def parsed_list(text: str) -> set[int]:
    """The kernel's form of a list of numbers: "0-3,8"."""
    numbers: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return numbers


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
