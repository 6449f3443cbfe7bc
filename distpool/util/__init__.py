"""What `ray.util` has, under the same names, so that ports are textual."""

from __future__ import annotations

from distpool.actors.actor_pool import ActorPool
from distpool.actors.names import list_named_actors

__all__ = ["ActorPool", "list_named_actors"]
