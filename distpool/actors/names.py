"""Actors with names, in this program. A detached one is kept by its name; any other only while it has a handle."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from difflib import get_close_matches
from weakref import WeakValueDictionary

from distpool.actors.handle import ActorHandle
from distpool.actors.life import Life
from distpool.logic.actor_plan import ActorState

NO_NAMESPACE = ""
_Key = tuple[str, str]

# Held while the tables below are used, and while an actor that shall have a name begins.
_lock = threading.RLock()
_named: WeakValueDictionary[_Key, Life] = WeakValueDictionary()
_detached: dict[_Key, Life] = {}


def named(name: str, namespace: str | None, begin: Callable[[], Life], *, get_if_exists: bool) -> Life:
    """The actor that `begin` starts, and which has this name then; or that which has it. Raises ValueError when one has
    it and `get_if_exists` is not set."""
    key = (namespace or NO_NAMESPACE, name)
    with _lock:
        known = _living(key)
        if known is not None:
            if get_if_exists:
                return known
            where = f" in namespace {namespace!r}" if namespace else ""
            raise ValueError(
                f"the name {name!r}{where} is taken by {known!r}: take another, kill that actor, or say "
                "get_if_exists=True to have it"
            )
        life = begin()
        _named[key] = life
        if life.options.lifetime == "detached":
            _detached[key] = life
        return life


def keep_detached(life: Life) -> None:
    """One that has no name: nothing finds it any more once its last handle is gone, but it goes on."""
    with _lock:
        _detached[("detached", str(life.number))] = life


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """A handle of the actor of this name.

    Raises ValueError, with the names that there are, when no actor has it, or the one that had it is dead.
    """
    if not isinstance(name, str):
        raise TypeError(f"name is {name!r}, a {type(name).__name__}; it must be a str")
    with _lock:
        life = _living((namespace or NO_NAMESPACE, name))
    if life is None:
        known = [own["name"] for own in _all_names() if own["namespace"] == (namespace or NO_NAMESPACE)]
        close = get_close_matches(name, known, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        there = f"there are {', '.join(map(repr, known[:20]))}" if known else "there is none with a name"
        where = f" in namespace {namespace!r}" if namespace else ""
        raise ValueError(f"no actor that lives has the name {name!r}{where}: {there}{hint}")
    return ActorHandle(life)


def list_named_actors(all_namespaces: bool = False) -> list[str] | list[dict[str, str]]:
    """The names of the actors that live and have one; with `all_namespaces` as {"name": ..., "namespace": ...}."""
    names = _all_names()
    if all_namespaces:
        return names
    return [own["name"] for own in names if own["namespace"] == NO_NAMESPACE]


def _all_names() -> list[dict[str, str]]:
    with _lock:
        keys = sorted(key for key in list(_named) if _living(key) is not None)
    return [{"name": name, "namespace": namespace} for namespace, name in keys]


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
