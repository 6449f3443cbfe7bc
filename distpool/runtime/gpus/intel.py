"""Intel's GPUs, by the cards that the kernel's graphics drivers show."""

from __future__ import annotations

import re
from pathlib import Path

from distpool.runtime.gpus.found import Found
from distpool.runtime.gpus.pci import SYS

_VENDOR = "0x8086"
_CARD = re.compile(r"card\d+")
_INSIDE_PROCESSOR = "0000:00:"
"""The bus of what is a part of the processor: its graphics are nothing to compute with beside it."""


def intel_gpus(root: Path = SYS) -> list[Found]:
    """In the order of the PCI bus; Level Zero, whose indices these are, counts cards of their own first."""
    cards: list[tuple[str, Path]] = []
    for path in (root / "class/drm").glob("card*"):
        device = path / "device"
        if _CARD.fullmatch(path.name) and _read(device / "vendor") == _VENDOR:
            bus = device.resolve().name
            if not bus.startswith(_INSIDE_PROCESSOR):
                cards.append((bus, path))
    return [
        Found(str(index), "intel", index, (), "Intel GPU", _memory(path), bus)
        for index, (bus, path) in enumerate(sorted(cards))
    ]


def _memory(card: Path) -> int:
    """The older driver tells it for the card; the newer one does not, and it is not known."""
    text = _read(card / "lmem_total_bytes")
    return int(text, 0) if text else 0


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
