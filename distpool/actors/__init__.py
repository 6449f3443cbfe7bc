"""Actors: objects that live in a worker of their own, and whose methods are called from elsewhere.

ActorClass.remote(...) ──► Life ──► Workers ──► logic.Actor ──► lease ──► worker: the instance
ActorHandle.method.remote(...) ──────┘                                      │
future ◄─────────────────────────── outcome ◄──────────────────────────────┘
"""

from __future__ import annotations

from distpool.actors.actor_class import ActorClass, actor_class
from distpool.actors.handle import ActorHandle, kill
from distpool.actors.methods import ActorMethod, method
from distpool.actors.names import get_actor, list_named_actors
from distpool.runtime.instance import exit_actor

__all__ = [
    "ActorClass",
    "ActorHandle",
    "ActorMethod",
    "actor_class",
    "exit_actor",
    "get_actor",
    "kill",
    "list_named_actors",
    "method",
]
