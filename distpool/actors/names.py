"""Actors with names, in this program. A detached one is kept by its name; any other only while it has a handle."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import Any
from weakref import WeakValueDictionary

from distpool.actors.handle import ActorHandle
from distpool.actors.life import Life
from distpool.actors.options import ActorOptions
from distpool.logic.actor_plan import ActorState
from distpool.objects.refs import FROM_ABOVE
from distpool.runtime.session import exclusively

NO_NAMESPACE = ""
_Key = tuple[str, str]

# Held while the tables below are used, and by whoever has the helm while an actor begins that shall have a name.
_lock = threading.RLock()
_named: WeakValueDictionary[_Key, Life] = WeakValueDictionary()
_detached: dict[_Key, Life] = {}


def begun(options: ActorOptions, begin: Callable[[], Life]) -> Life:
    """The actor that `begin` starts, kept and named as its options say; or that which has its name. Raises ValueError
    when one has it and `get_if_exists` is not set."""
    if options.name is not None:
        # With the helm, as a callback that starts one has it: nobody waits for it with the lock of the names.
        return exclusively(lambda: _named_one(options, begin))
    life = begin()
    if options.lifetime == "detached":
        with _lock:  # nothing finds it any more once its last handle is gone, but it goes on
            _detached["detached", str(life.number)] = life
    return life


def _named_one(options: ActorOptions, begin: Callable[[], Life]) -> Life:
    key = (options.namespace or NO_NAMESPACE, str(options.name))
    with _lock:
        known = _living(key)
        if known is not None:
            if options.get_if_exists:
                return known
            raise ValueError(
                f"the name {options.name!r}{_where(key[0])} is taken by {known!r}: take another, kill that actor, or "
                "say get_if_exists=True to have it"
            )
        life = begin()
        _named[key] = life
        if options.lifetime == "detached":
            _detached[key] = life
        return life


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """A handle of the actor of this name; a worker gets those of its program.

    Raises ValueError, with the names that there are, when no actor has it, or the one that had it is dead.
    """
    if not isinstance(name, str):
        raise TypeError(f"name is {name!r}, a {type(name).__name__}; it must be a str")
    if not isinstance(namespace, str | None):
        raise TypeError(f"namespace is {namespace!r}, a {type(namespace).__name__}; it must be a str, or None")
    get: Any = import_module("distpool.actors.above").find if FROM_ABOVE else find
    return ActorHandle(get(name, namespace or NO_NAMESPACE))


def find(name: str, namespace: str) -> Life:
    """In the program. Raises ValueError as `get_actor` does."""
    with _lock:
        life = _living((namespace, name))
    if life is None:
        known = [own for within, own in all_names() if within == namespace]
        close = get_close_matches(name, known, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        there = f"there are {', '.join(map(repr, known[:20]))}" if known else "there is none with a name"
        raise ValueError(f"no actor that lives has the name {name!r}{_where(namespace)}: {there}{hint}")
    return life


def list_named_actors(all_namespaces: bool = False) -> list[str] | list[dict[str, str]]:
    """The names of the actors that live and have one; with `all_namespaces` as {"name": ..., "namespace": ...}."""
    names = import_module("distpool.actors.above").names() if FROM_ABOVE else all_names()
    if all_namespaces:
        return [{"name": name, "namespace": namespace} for namespace, name in names]
    return [name for namespace, name in names if namespace == NO_NAMESPACE]


def all_names() -> list[_Key]:
    """In the program: (namespace, name) of those that live and have one."""
    with _lock:
        return sorted(key for key in list(_named) if _living(key) is not None)


def _where(namespace: str) -> str:
    return f" in namespace {namespace!r}" if namespace else ""


def _living(key: _Key) -> Life | None:
    life = _named.get(key)
    if life is None or life.state is not ActorState.DEAD:
        return life
    del _named[key]
    _detached.pop(key, None)
    return None


def _after_fork_in_child() -> None:
    """The child of a fork has no actors: they are its parent's."""
    global _lock
    _lock = threading.RLock()
    _named.clear()
    _detached.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
