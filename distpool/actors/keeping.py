"""Detached actors of a program that uses a cluster: its keeper owns them, which it starts with the first of them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from multiprocessing import process, spawn
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from distpool.actors.cluster_names import ClusterNames, in_cluster, taken_text
from distpool.actors.foreign import ForeignLife
from distpool.actors.keeper import ActorOrder, KeeperOrder, KeeperTold
from distpool.actors.life import Life
from distpool.actors.names import Pickle
from distpool.actors.traits import encoded
from distpool.context import get_context
from distpool.errors import DistpoolError
from distpool.protocol.names import ActorStarted, Place, StartActor
from distpool.runtime import initialization
from distpool.runtime.addresses import head_address
from distpool.runtime.main_view import MainView
from distpool.serialization.remote_errors import decode_failure
from distpool.transport.home import home_folder

_TRIES = 2
_START_LIMIT_S = 30.0

# Of the interpreter that becomes a keeper: it is nobody's child, and has nothing of this program but what it reads.
_BECOME_KEEPER = """
import json, os, sys
order = sys.stdin.buffer.read()
if os.fork():
    os._exit(0)
sys.path[:] = json.loads(order)["sys_path"]
from distpool.actors.keeper import keep
keep(order)
"""


def begin_detached(life: Life, namespace: str, pickle_call: Pickle) -> Life | ForeignLife:
    """Have it started by this program's keeper. Gives the actor, or the one that has its name.

    Raises ValueError when its name is taken, or it is to be in a placement group, which ends with this program; what
    `pickle_call` raises; and HeadUnreachable.
    """
    options = life.options
    if options.shape.place is not None:
        raise ValueError(
            "a detached actor cannot be in a placement group, which ends with this program: leave out lifetime, or "
            "the placement group"
        )
    return in_cluster(lambda names: _begun(names, life, namespace, pickle_call))


def _begun(names: ClusterNames, life: Life, namespace: str, pickle_call: Pickle) -> Life | ForeignLife:
    options = life.options
    if options.name is not None:
        # Before a keeper is started for nothing.
        actor = names.find(namespace, options.name).actor
        found = None if actor is None else names.life_of(actor)
        if found is not None and actor is not None:
            if options.get_if_exists:
                return found
            raise ValueError(taken_text(options.name, namespace, actor))
    main = _view_of_main(names)
    order = ActorOrder(
        msgspec.structs.replace(options, needed={}, namespace=namespace),
        encoded(life.class_plan, life.traits, options),
        pickle_call(main),
    )
    setup = msgspec.msgpack.encode(order)
    for _ in range(_TRIES):
        keeper = _keeper_of(names)
        names.foreign.mains[keeper.life] = main
        told = names.programs.ask_owner(keeper, lambda number: StartActor(number, setup))
        if isinstance(told, ActorStarted):
            if told.actor is None:
                raise decode_failure(told.failure)[0]
            found = names.life_of(told.actor)
            if found is not None:
                return found
        with _starting:
            if _keepers.get(names) == keeper:
                del _keepers[names]
        if keeper.life not in names.foreign.gone:
            break  # it cannot be reached, and may have begun the actor
    raise DistpoolError(
        f"{keeper.program} was to start {options.name or 'an actor'!r}, and has ended, or cannot be reached, before it "
        f"said so; see its log in {os.path.join(home_folder(), 'logs')}"
    )


def _view_of_main(names: ClusterNames) -> MainView:
    """What the keeper's workers have of this program's `__main__`: the same as its own."""
    far = names.session.far
    assert far is not None
    return names.session.helm.exclusively(far.view_of_main)


_keepers: WeakKeyDictionary[ClusterNames, Place] = WeakKeyDictionary()
# Held while one is started: others wait for it, who may have the helm.
_starting = threading.Lock()


def _keeper_of(names: ClusterNames) -> Place:
    with _starting:
        known = _keepers.get(names)
        if known is None:
            known = _keepers[names] = _start_keeper()
            names.foreign.has_keeper = True
        return known


def _start_keeper() -> Place:
    """Raises DistpoolError."""
    main = sys.modules["__main__"]
    prepared: dict[str, Any] = spawn.get_preparation_data(process.current_process().name)
    order = KeeperOrder(
        prepared["sys_path"],
        sys.argv,
        getattr(main, "__file__", None),
        getattr(getattr(main, "__spec__", None), "name", None),
        process.ORIGINAL_DIR,  # type: ignore[attr-defined]
        str(get_context().get_start_method()),
        initialization.chosen()._replace(address=head_address()),
    )
    command = [os.fsdecode(spawn.get_executable()), "-c", _BECOME_KEEPER]
    started = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        said, _ = started.communicate(msgspec.json.encode(order), timeout=_START_LIMIT_S)
    except BaseException as error:
        started.kill()
        started.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        raise DistpoolError(
            f"the keeper of this program's detached actors did not start in {_START_LIMIT_S:g} s"
        ) from None
    told = msgspec.json.decode(said, type=KeeperTold) if said else KeeperTold(failure="it has ended without a word")
    if told.place is None:
        where = os.path.join(home_folder(), "logs")
        raise DistpoolError(
            f"the keeper of this program's detached actors has not started: {told.failure}; see its log in {where}"
        )
    return told.place


def _after_fork_in_child() -> None:
    global _starting
    _starting = threading.Lock()
    _keepers.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
