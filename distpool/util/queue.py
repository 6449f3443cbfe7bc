"""`Queue`, `Empty` and `Full`, where `ray.util.queue` has them."""

from __future__ import annotations

from distpool.actors.queue import Empty, Full, Queue

__all__ = ["Empty", "Full", "Queue"]
