"""Actors with names. In a program that uses a cluster they are known to all programs of it; in another, to it alone. A
detached one is kept by its name; any other only while its program has a handle of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from importlib import import_module
from typing import Any
from weakref import WeakValueDictionary

from distpool.actors.foreign import ForeignLife
from distpool.actors.handle import ActorHandle
from distpool.actors.life import Life
from distpool.logic.actor_plan import ActorState
from distpool.runtime import initialization
from distpool.runtime.addresses import head_address

_Key = tuple[str, str]

# Held while the tables below are used, and while an actor that shall have a name begins.
_lock = threading.RLock()
_named: WeakValueDictionary[_Key, Life] = WeakValueDictionary()
_detached: dict[_Key, Life] = {}


def named(life: Life, begin: Callable[[], None]) -> Life | ForeignLife:
    """This actor, which begins and has the name of its options then; or that which has it. Raises ValueError when one
    has it and `get_if_exists` is not set; what `begin` raises; and in a cluster HeadUnreachable."""
    name = life.options.name or ""
    namespace = life.options.namespace or initialization.namespace()
    if head_address() is not None:
        found: Life | ForeignLife = _cluster().named(life, _told(namespace), begin)
        return found
    key = (namespace, name)
    with _lock:
        known = _living(key)
        if known is not None:
            if life.options.get_if_exists:
                return known
            raise ValueError(
                f"the name {name!r}{_where(namespace)} is taken by {known!r}: take another, kill that actor, or say "
                "get_if_exists=True to have it"
            )
        begin()
        _named[key] = life
        if life.options.lifetime == "detached":
            _detached[key] = life
        return life


def begin_detached(life: Life, actor_class: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Life | ForeignLife:
    """In a cluster: see `keeping.begin_detached`."""
    namespace = _told(life.options.namespace or initialization.namespace())
    keeping = import_module("distpool.actors.keeping")
    begun: Life | ForeignLife = keeping.begin_detached(life, actor_class, namespace, args, kwargs)
    return begun


def keep_detached(life: Life) -> None:
    """One that has no name: nothing finds it any more once its last handle is gone, but it goes on."""
    with _lock:
        _detached[("detached", str(life.number))] = life


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """A handle of the actor of this name.

    `namespace`: by default the one that `distpool.init` was given. On a cluster it may be the actor of another program.
    Raises ValueError, with the names that there are, when no actor has it, or the one that had it is dead; and on a
    cluster HeadUnreachable.
    """
    if not isinstance(name, str):
        raise TypeError(f"name is {name!r}, a {type(name).__name__}; it must be a str")
    namespace = initialization.checked_namespace(namespace) or initialization.namespace()
    others: Iterable[str]
    if head_address() is not None:
        life, others = _cluster().found(name, _told(namespace))
    else:
        with _lock:
            life = _living((namespace, name))
        others = [own["name"] for own in _all_names() if own["namespace"] == namespace]
    if life is not None:
        return ActorHandle(life)
    known = list(others)[:20]
    close = get_close_matches(name, known, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    there = f"there are {', '.join(map(repr, known))}" if known else "there is none with a name"
    raise ValueError(f"no actor that lives has the name {name!r}{_where(namespace)}: {there}{hint}")


def list_named_actors(all_namespaces: bool = False) -> list[str] | list[dict[str, str]]:
    """The names of the actors that have one; with `all_namespaces` as {"name": ..., "namespace": ...}. Raises
    DistpoolError without the head of the cluster."""
    own = initialization.namespace()
    if head_address() is None:
        names = _all_names()
    else:
        own = _told(own)
        told = import_module("distpool.runtime.session").cluster_standing()[0].actors
        names = sorted(({"name": actor.name, "namespace": actor.namespace} for actor in told), key=_by_namespace)
    if all_namespaces:
        return names
    return [named["name"] for named in names if named["namespace"] == own]


def _by_namespace(named: dict[str, str]) -> tuple[str, str]:
    return named["namespace"], named["name"]


def _told(namespace: str) -> str:
    """As the head of a cluster knows it."""
    return namespace or initialization.namespace_of_own()


def _where(namespace: str) -> str:
    return f" in namespace {namespace!r}" if namespace else ""


def _cluster() -> Any:
    """What only programs need that use one."""
    return import_module("distpool.actors.cluster_names")


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
