"""Values that lie on another machine, which somebody waits for no longer than he says."""

from __future__ import annotations

import time
from typing import Any

from distpool.logic.promises import Promise
from distpool.objects.promises import wait_for


def is_here_by(promise: Promise, ends_at: float) -> bool:
    """Have the value of one that has ended brought to this process, and wait for that until then: whether it is here,
    or known not to come."""
    while True:
        outcome: Any = promise.outcome
        left_s = max(0.0, ends_at - time.monotonic())
        if outcome is None:  # its value is lost, and made again
            if not wait_for(promise, left_s):
                return False
            continue
        value = outcome[1]
        if not hasattr(value, "arrives") or value.arrives(left_s):
            return True
        if not value.has_moved(promise, max(0.0, ends_at - time.monotonic())):
            return time.monotonic() < ends_at
