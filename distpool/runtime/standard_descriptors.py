"""Descriptors 0, 1 and 2, which a program may have closed: what is opened then must not take their place, as whatever
a worker prints would be written into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def open_missing() -> list[int]:
    """Open those that are closed on the null device: which they were."""
    opened = []
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        opened.append(descriptor)
    os.close(descriptor)
    return opened


@contextmanager
def left_alone() -> Iterator[None]:
    """Within, nothing that is opened gets their numbers; afterwards they are closed again."""
    opened = open_missing()
    try:
        yield
    finally:
        for descriptor in opened:
            os.close(descriptor)
