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
from distpool.objects.refs import FROM_ABOVE
from distpool.runtime import initialization
from distpool.runtime.addresses import head_address
from distpool.runtime.main_view import MainView
from distpool.runtime.session import exclusively

_Key = tuple[str, str]

Pickle = Callable[[MainView], bytes]
"""Pickles the call of an actor's constructor, with all that it needs, for workers that have this of `__main__`."""

# Held while the tables below are used, and by whoever has the helm while an actor begins that shall have a name.
_lock = threading.RLock()
_named: WeakValueDictionary[_Key, Life] = WeakValueDictionary()
_detached: dict[_Key, Life] = {}


def begun(life: Life, begin: Callable[[], None], pickle_call: Pickle) -> Life | ForeignLife:
    """The actor that `begin` starts, kept and named as its options say; or that which has its name. On a cluster one
    that is detached is started from its pickled call, by this program's keeper.

    Raises ValueError when another has its name and `get_if_exists` is not set; what `begin` and `pickle_call` raise;
    and on a cluster HeadUnreachable.
    """
    options = life.options
    found: Life | ForeignLife
    if head_address() is not None and options.lifetime == "detached":
        found = import_module("distpool.actors.keeping").begin_detached(life, _told(options.namespace), pickle_call)
        return found
    if head_address() is not None and options.name is not None:
        found = _cluster().named(life, _told(options.namespace), begin)
        return found
    if options.name is not None:
        # With the helm, as a callback that starts one has it: nobody waits for it with the lock of the names.
        return exclusively(lambda: _named_one(life, begin))
    begin()
    if options.lifetime == "detached":
        with _lock:  # nothing finds it any more once its last handle is gone, but it goes on
            _detached["detached", str(life.number)] = life
    return life


def _named_one(life: Life, begin: Callable[[], None]) -> Life:
    options = life.options
    key = (options.namespace or initialization.namespace(), str(options.name))
    with _lock:
        known = _living(key)
        if known is not None:
            if options.get_if_exists:
                return known
            raise ValueError(
                f"the name {options.name!r}{_where(key[0])} is taken by {known!r}: take another, kill that actor, or "
                "say get_if_exists=True to have it"
            )
        begin()
        _named[key] = life
        if options.lifetime == "detached":
            _detached[key] = life
        return life


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """A handle of the actor of this name; a worker gets those of its program, and of others that its program finds.

    `namespace`: by default the one that `distpool.init` was given. On a cluster it may be the actor of another program.
    Raises ValueError, with the names that there are, when no actor has it, or the one that had it is dead; and on a
    cluster HeadUnreachable.
    """
    if not isinstance(name, str):
        raise TypeError(f"name is {name!r}, a {type(name).__name__}; it must be a str")
    namespace = initialization.checked_namespace(namespace)
    get: Any = import_module("distpool.actors.above").find if FROM_ABOVE else find
    return ActorHandle(get(name, namespace or ""))


def find(name: str, namespace: str) -> Life | ForeignLife:
    """In the program. `namespace`: empty for that of the program. Raises as `get_actor` does."""
    namespace = namespace or initialization.namespace()
    life: Life | ForeignLife | None
    others: Iterable[str]
    if head_address() is not None:
        life, others = _cluster().found(name, _told(namespace))
    else:
        with _lock:
            life = _living((namespace, name))
        others = [own for within, own in _local_names() if within == namespace]
    if life is not None:
        return life
    known = list(others)[:20]
    close = get_close_matches(name, known, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    there = f"there are {', '.join(map(repr, known))}" if known else "there is none with a name"
    raise ValueError(f"no actor that lives has the name {name!r}{_where(namespace)}: {there}{hint}")


def list_named_actors(all_namespaces: bool = False) -> list[str] | list[dict[str, str]]:
    """The names of the actors that have one; with `all_namespaces` as {"name": ..., "namespace": ...}. Raises
    DistpoolError without the head of the cluster."""
    own, names = import_module("distpool.actors.above").names() if FROM_ABOVE else all_names()
    if all_namespaces:
        return [{"name": name, "namespace": namespace} for namespace, name in names]
    return [name for namespace, name in names if namespace == own]


def all_names() -> tuple[str, list[_Key]]:
    """In the program: its own namespace, and (namespace, name) of the actors that have one. Raises DistpoolError."""
    if head_address() is None:
        return initialization.namespace(), _local_names()
    told = import_module("distpool.runtime.session").cluster_standing()[0].actors
    return _told(None), sorted((actor.namespace, actor.name) for actor in told)


def _local_names() -> list[_Key]:
    with _lock:
        return sorted(key for key in list(_named) if _living(key) is not None)


def _told(namespace: str | None) -> str:
    """As the head of a cluster knows it."""
    return namespace or initialization.namespace() or initialization.namespace_of_own()


def _where(namespace: str) -> str:
    return f" in namespace {namespace!r}" if namespace else ""


def _cluster() -> Any:
    """What only programs need that use one."""
    return import_module("distpool.actors.cluster_names")


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
