"""Sizes in words."""

from __future__ import annotations

_KIB = 1024
_UNITS = ("KiB", "MiB", "GiB", "TiB")


def size_text(size: int) -> str:
    """A size in words: '640 B', '64.0 KiB', '1.5 GiB'."""
    if size < _KIB:
        return f"{size} B"
    power = min((size.bit_length() - 1) // 10, len(_UNITS))
    return f"{size / _KIB**power:.1f} {_UNITS[power - 1]}"
