"""A keeper: a program that owns the detached actors of another one, and so outlives it.

    program ── starts, StartActor ──► keeper ── claims names, leases ──► head, nodes
                                        ▲
    any program of the cluster ── CallActor

It is the program's double: of the same folder, paths, variables and requirements, so that its workers have the same
code. It runs no code of the program's itself. It ends when it has no actor and nobody has a link to it, or when its
cluster has ended.
"""

from __future__ import annotations

import io
import logging
import os
import queue
import signal
import sys
import threading
import time
from importlib.machinery import ModuleSpec
from multiprocessing import process
from pathlib import Path
from typing import Any

import msgspec

from distpool.actors.cluster_names import ClusterNames, in_cluster, taken_text
from distpool.actors.life import Life
from distpool.actors.options import ActorOptions
from distpool.actors.traits import decoded, encoded
from distpool.api import shutdown
from distpool.context import default_context
from distpool.errors import DistpoolError
from distpool.logic.actor_plan import ActorState
from distpool.logic.silence import Silence
from distpool.protocol.names import ActorStarted, NamedActor, Place, StartActor
from distpool.runtime import initialization
from distpool.runtime.own_log import keeping_log
from distpool.runtime.session import join_cluster
from distpool.serialization.remote_errors import encode_failure
from distpool.settings import current
from distpool.transport.home import home_folder

_LOOK_EVERY_S = 1.0
_FIRST_USE_LIMIT_S = 10.0
"""How long it waits for the program that has started it."""

_log = logging.getLogger("distpool.keeper")


class KeeperOrder(msgspec.Struct):
    """What a program says to its keeper on its standard input: what it is itself, as far as workers see it.
    `main_file`, `main_name`: of its `__main__`, a script or a module."""

    sys_path: list[str]
    argv: list[str]
    main_file: str | None
    main_name: str | None
    original_dir: str | None
    start_method: str
    initialization: initialization.Initialization


class KeeperTold(msgspec.Struct):
    """The answer on its standard output. `failure`: why it is none."""

    place: Place | None = None
    failure: str = ""


class ActorOrder(msgspec.Struct):
    """An actor that is to be started; see `StartActor`. `call`: of its constructor, pickled, which its worker opens.
    `traits`: see `distpool.actors.traits`."""

    options: ActorOptions
    traits: bytes
    call: bytes


def keep(order: bytes) -> None:
    """The whole life of a keeper, in a process of its own, without a thread yet."""
    told = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    with keeping_log(Path(home_folder()), f"keeper-{os.getpid()}"):
        sys.stdout = sys.stderr = LogLines()
        logging.getLogger("distpool").setLevel(logging.INFO)
        try:
            keeper = _joined(msgspec.json.decode(order, type=KeeperOrder))
        except DistpoolError as error:
            _say(told, KeeperTold(failure=str(error)))
            raise
        _say(told, KeeperTold(keeper.place))
        keeper.run()
        shutdown()


def _say(stream: Any, told: KeeperTold) -> None:
    try:
        stream.write(msgspec.json.encode(told))
        stream.close()
    except BrokenPipeError:  # the program has ended meanwhile
        pass


def _joined(order: KeeperOrder) -> Keeper:
    """Be like the program, and in its cluster. Raises DistpoolError."""
    main = sys.modules["__main__"]
    if order.main_file is not None:
        main.__file__ = order.main_file
    if order.main_name is not None:
        main.__spec__ = ModuleSpec(order.main_name, None, origin=order.main_file)
    sys.argv[:] = order.argv
    process.ORIGINAL_DIR = order.original_dir  # type: ignore[attr-defined]
    default_context.set_start_method(order.start_method)
    initialization.remember(order.initialization._replace(kind="keeper"))
    join_cluster()
    return in_cluster(Keeper)


class Keeper:
    """Owned by the main thread, which starts the actors that it is asked for one after the other."""

    def __init__(self, names: ClusterNames) -> None:
        self._names = names
        self._orders: queue.Queue[tuple[str, StartActor]] = queue.Queue()
        self._lives: list[Life] = []
        self._is_over = threading.Event()
        names.hosted.start = lambda guest, message: self._orders.put((guest, message))
        guests = names.listening()
        self.place = Place(names.programs.life, names.programs.name, guests.endpoint, guests.public)

    def run(self) -> None:
        """Until nobody needs it, its cluster has ended, or SIGTERM."""
        signal.signal(signal.SIGTERM, lambda *_: self._is_over.set())
        settings = current().constants
        silence = Silence(settings.head_gone_limit_s, settings.beat_every_s)
        unused_until = time.monotonic() + _FIRST_USE_LIMIT_S
        while not self._is_over.is_set():
            try:
                guest, order = self._orders.get(timeout=_LOOK_EVERY_S)
            except queue.Empty:
                pass
            else:
                self._start(guest, order)
            now = time.monotonic()
            self._lives = [life for life in self._lives if life.state is not ActorState.DEAD]
            if self._lives or self._names.programs.have_guests():
                unused_until = now
            elif now > unused_until:
                _log.info("it has no actor, and nobody has a link to it")
                return
            if silence.is_for_good(self._names.programs.head_heard_at(), now):
                _log.warning("the head was not heard of for %g s: the cluster has ended", settings.head_gone_limit_s)
                return

    def _start(self, guest: str, message: StartActor) -> None:
        try:
            answer = ActorStarted(message.number, self._started(msgspec.msgpack.decode(message.setup, type=ActorOrder)))
        except Exception as error:
            answer = ActorStarted(message.number, None, encode_failure(error))
        self._names.session.post(self._names.programs.answer, guest, answer)

    def _started(self, order: ActorOrder) -> NamedActor:
        """Or the one that has its name. Raises ValueError and HeadUnreachable."""
        options = order.options
        life = Life(decoded(order.traits).class_plan, options)
        namespace = options.namespace or ""
        if options.name is None:
            life.begin_pickled(order.call, [])
            self._names.hosted.begun(life.number, life)
            self._lives.append(life)
            return NamedActor(
                namespace,
                "",
                self.place.endpoint,
                self.place.public,
                life.number,
                life.class_plan.name,
                encoded(life.class_plan, life.traits, options),
                True,
                self.place.life,
                self.place.program,
            )
        actor = self._names.begin_named(
            life, namespace, options.name, lambda: life.begin_pickled(order.call, []), is_detached=True
        )
        if (actor.life, actor.actor) == (self.place.life, life.number):
            self._lives.append(life)
        elif not options.get_if_exists:
            raise ValueError(taken_text(options.name, namespace, actor))
        return actor


class LogLines(io.TextIOBase):
    """A stream whose lines go to the log: what workers print, and this process."""

    def __init__(self) -> None:
        self._part = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._part = f"{self._part}{text}".split("\n")
        for line in lines:
            _log.info("%s", line)
        return len(text)
