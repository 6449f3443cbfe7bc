"""The door between users' threads and the runtime: opens groups of workers (see `workers`), and ends with the last.

    facade ── pickles arguments ──► Workers.submit ── mailbox ──► loop ──► lanes ──► worker
    facade ◄── sink.deliver ◄── completions ◄──────────────────── loop ◄── ring  ◄── worker

One session per process, made with the first pool and ended with the last one. One that uses a cluster stays while a ref
is held to what lies on a node; after `distpool.init`, from there until `shutdown` or the end of the process.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from itertools import count
from multiprocessing import util
from typing import TYPE_CHECKING, Any, TypeVar

from distpool.config import SETTINGS
from distpool.ids import CLIENT, GroupId, LeaseId
from distpool.interrupts import deferred
from distpool.logic.group_plan import GroupPlan
from distpool.logic.places import OwnPlaces
from distpool.objects.stores import made_home
from distpool.protocol.messages import OutcomeKind
from distpool.protocol.placing import OpenPlaces, PlacesTold
from distpool.runtime import initialization
from distpool.runtime.addresses import head_address
from distpool.runtime.crews import Crew
from distpool.runtime.elsewhere import ALL_HERE
from distpool.runtime.ending import ENDING
from distpool.runtime.handles import WorkerHandle
from distpool.runtime.helm import Helm, wait_for_end
from distpool.runtime.launch_plan import LaunchPlan
from distpool.runtime.loop import Loop
from distpool.runtime.notices import Notice
from distpool.runtime.offers import first_devices, offer
from distpool.runtime.workers import OPEN_WORKERS, Workers, wait_briefly
from distpool.settings import current

if TYPE_CHECKING:
    from distpool.protocol.standing import StatusTold
    from distpool.runtime.far_crew import FarCrew
    from distpool.runtime.far_side import FarSide


Result = TypeVar("Result")


class Session:
    """The runtime of this process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        settings = current().constants
        # Imported by programs that use a cluster only.
        self.far: FarSide | None = None
        address = head_address()
        if address is not None:
            self.far = import_module("distpool.runtime.far_side").FarSide(address, settings)
        elsewhere = ALL_HERE if self.far is None else self.far.elsewhere
        self.loop = Loop(settings, offer(os.cpu_count() or 1), self._wait_for_handle, elsewhere)
        if self.far is not None:
            loop = self.loop
            self.far.serve(loop.post, loop.wake, self._wait_for_handle, self._at_rest, loop.client.group_of)
            self.far.programs.begin(self.post, self._wait_for_handle, lambda: self.loop.is_closed)
        # To stay without a pool: `init` was called.
        self._stays = self.far is not None and initialization.current() is not None
        self._has_failed = False
        self.helm = Helm(self.loop, settings, self.is_needed, self._crash, self.end)
        self.loop.up_lanes.serve = self._serve_worker
        self.functions = count(1)
        # A flag, set in the child of a fork: to ask the kernel for the pid at each call takes half a microsecond.
        self.is_foreign = False
        # On a node there may be groups of several callers.
        self._group_ids = count(1 if self.far is None else int.from_bytes(os.urandom(5), "little") << 20)
        util.Finalize(None, end_session, exitpriority=10)
        if self.far is not None:
            # Before the thread of pyzmq that keeps what is being sent, which ends before all that came before it.
            import_module("zmq.utils.garbage")
            atexit.register(end_session)

    def is_needed(self) -> bool:
        """There is a group; or this process is to stay in its cluster, or has refs to what lies on nodes."""
        if self.loop.client.is_used():
            return True
        if self.far is None or self.loop.is_closed or self._has_failed:
            return False
        return self._stays or self.far.nodes.objects.are_used() or self.far.programs.are_used()

    def cluster_cpus(self, *, look: bool) -> int | None:
        """How many the nodes have in all; `look`: now, as they may have changed since this session began."""
        if self.far is not None and look:
            self.far.look_at_cpus(self.loop.post, self._wait_for_handle)
        return None if self.far is None else self.far.cpus

    def hear_head(self) -> StatusTold | None:
        """How things stand in the cluster, after all that its head had to say to what it was told by now. None: there
        is no cluster, or its head is silent."""
        return None if self.far is None else self.far.status(self.loop.post, self._wait_for_handle)

    def stay(self) -> None:
        """Without a group, too, hear what is said to this process, if it needs to be. Whoever runs turns sees to that
        itself."""
        if not self.helm.is_held_here():
            self.helm.exclusively(self._run_if_needed)

    def _run_if_needed(self) -> None:
        if self.is_needed():
            self.helm.start()
        else:
            self.end()

    def open(self, plan: GroupPlan, launch: LaunchPlan, own: Own, *, drains_at_exit: bool) -> bool:
        """Start a group of workers; False when the session has just ended.

        Under `fork` the template is forked from this thread, while no thread of ours exists.
        """
        if self.far is None and plan.shape.gpus:
            self.look_for_devices()
        return self.helm.exclusively(partial(self._open, plan, launch, own, drains_at_exit))

    def exclusively(self, function: Callable[[], Result]) -> list[Result]:
        """Its result with the helm held, so that what it opens is opened at once; none when the session has just
        ended."""

        def run() -> list[Result]:
            if self.loop.is_closed:
                return []
            try:
                return [function()]
            finally:
                self._run_if_needed()

        return self.helm.exclusively(run)

    def open_places(self, opening: OpenPlaces, told: Callable[[], None]) -> OwnPlaces | None:
        """A placement group; None when the session has just ended."""
        if self.far is None and any(shape.gpus for shape in opening.bundles):
            self.look_for_devices()
        return self.helm.exclusively(partial(self._open_places, OwnPlaces(opening, told)))

    def _open_places(self, places: OwnPlaces) -> OwnPlaces | None:
        if self.loop.is_closed:
            return None
        self.loop.client.open_places(places)
        self.loop.turn(0.0)
        self.helm.start()
        return places

    def close_places(self, number: int) -> None:
        self.loop.post(self.loop.client.close_places, number)
        self.helm.poke()

    def post(self, function: Callable[..., None], *args: Any) -> None:
        """Have something done by whoever holds the loop, at once."""
        self.loop.post(function, *args)
        self.helm.poke()

    def _at_rest(self, function: Callable[..., None], *args: Any) -> None:
        """By the holder of the loop: have it done when all roles are at rest."""
        self.loop.completions.append(Notice(function, *args))

    def look_for_devices(self) -> None:
        """In local mode, where they are not looked for before somebody wants some."""
        devices = first_devices()
        self.helm.exclusively(partial(self.loop.node.has_devices, devices))

    def standing(self, *, with_devices: bool) -> StatusTold:
        """In local mode: what this machine has, and what of it is free. A session without a pool ends then."""
        if with_devices:
            self.look_for_devices()
        return self.helm.exclusively(self._standing)

    def _standing(self) -> StatusTold:
        self.loop.turn(0.0)
        told: StatusTold = self.loop.head.status(CLIENT, time.monotonic())
        if not self.is_needed():
            self.end()
        return told

    def _open(self, plan: GroupPlan, launch: LaunchPlan, own: Own, drains_at_exit: bool) -> bool:
        loop = self.loop
        if loop.is_closed:
            return False
        group_id = GroupId(next(self._group_ids))
        crew: Crew | FarCrew
        try:
            if self.far is not None:
                if not loop.client.groups:
                    self.far.forget_code()
                plan, launch = self.far.plans(plan, launch)
                crew = self.far.open(group_id, launch, self._wait_for_handle, partial(loop.post, self.far.nodes.obey))
            else:
                if launch.start_method == "fork" and not loop.launcher.has_template_for(launch):
                    wait_for_end(self.helm.end_thread())
                crew = loop.launcher.open(group_id, launch)
                loop.watch_template(group_id)
            group = loop.client.open(group_id, plan)
            group.nearness = None if self.far is None else self.far.nodes.nearness
            if not plan.on_demand:
                loop.turn(0.0)
        finally:
            self._run_if_needed()
        main: Any = crew.template.main if isinstance(crew, Crew) else self.far.view_of_main()  # type: ignore[union-attr]
        own(Workers(self, group, crew, main, drains_at_exit=drains_at_exit))
        return True

    def _serve_worker(self, lease: LeaseId, message: Any) -> None:
        """A worker has something to say. From the first on it is seen to by what few programs need: tasks."""
        self.loop.up_lanes.serve = import_module("distpool.tasks.served").Served(self).serve
        self.loop.up_lanes.serve(lease, message)

    def wait(
        self, is_done: Callable[[], bool], timeout_s: float | None, passively: Callable[[float | None], Any]
    ) -> bool:
        """See `Helm.wait`. Raises ValueError for a time that is no number: no clock comes to it."""
        if timeout_s is not None and timeout_s != timeout_s:
            raise ValueError(f"timeout is {timeout_s!r}; it must be a number of seconds, or None for no limit")
        return self.helm.wait(is_done, timeout_s, passively)

    def join(self) -> None:
        """If nothing is left to do, wait for the end of the background thread."""
        if not self.is_needed():
            self.helm.join()

    def end(self) -> None:
        """By the holder of the helm, with no group left. Said twice, it changes nothing."""
        with _changes:
            _forget(self)
        if self.loop.is_closed:
            return
        self.loop.close()
        if self.far is not None:
            self.far.close()
            self.loop.run_completions()  # who waited for what does not come any more
        store = made_home()
        if store is not None:
            store.cool()

    def _wait_for_handle(self, is_done: Callable[[], bool], timeout_s: float | None) -> None:
        """What a handle waits for is told by a template, so it needs turns of the loop."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not is_done() and not self.loop.is_closed:
            remaining_s = None if deadline is None else deadline - time.monotonic()
            if remaining_s is not None and remaining_s <= 0:
                return
            self.wait(is_done, remaining_s, wait_briefly)

    def _crash(self, error: BaseException) -> None:
        self._has_failed = True
        for group in self.loop.client.groups.values():
            group.terminate(self.loop.client.outbox, OutcomeKind.BROKEN, f"the runtime failed: {error!r}")
        for number, places in self.loop.client.places.items():
            told = PlacesTold(number, [], f"the runtime failed: {error!r}", is_refused=True)
            places.hear(told, self.loop.client.outbox)
        self.loop.completions.extend(self.loop.client.outbox.completions)
        self.loop.client.outbox.completions.clear()


Own = Callable[[Workers], object]
"""Takes what was opened; it is called with the helm held."""

# The session of this process ------------------------------------------------------------------------------------------

_current: list[Session] = []
_changes = threading.RLock()


def open_workers(plan: GroupPlan, launch: LaunchPlan, own: Own, *, drains_at_exit: bool = False) -> None:
    """Start a group of workers in this process's session. `drains_at_exit`: the interpreter waits for its calls.

    `own` is given them before Ctrl-C can take effect, so that somebody ends them when the caller is interrupted.
    """
    while True:
        # Held for a moment only, and never while anything is waited for: callbacks open groups too.
        with _changes:
            session = _session()
        if session.open(plan, launch, own, drains_at_exit=drains_at_exit):
            # While the workers start: it takes as long, and a program that ends can no longer import it.
            with deferred():
                import_module("distpool.errors")
            return


def exclusively(function: Callable[[], Result]) -> Result:
    """Call it while no other thread can open workers or run callbacks; it may do both."""
    while True:
        with _changes:
            session = _session()
        for result in session.exclusively(function):
            return result


def cluster_cpus() -> int | None:
    """How many CPUs the nodes have; None when this process uses no cluster. Raises DistpoolError without its head."""
    if head_address() is None:
        return None
    with _changes:
        is_new = not _current
        session = _session()
    return session.cluster_cpus(look=not is_new)


def join_cluster() -> None:
    """Have this process take part in its cluster from now on, though it has no pool. Raises DistpoolError."""
    with _changes:
        session = _session()
    session.stay()


def session_of_cluster() -> Session | None:
    """This process's, which begins now if there is none; None when it uses no cluster. Whoever asks calls its `stay`
    after that, as it may not be needed. Raises DistpoolError."""
    if head_address() is None:
        return None
    with _changes:
        return _session()


def _session() -> Session:
    """That of this process, which begins with the first question for it. Raises DistpoolError."""
    if not _current:
        _current.append(Session())
    return _current[0]


def open_places(opening: OpenPlaces, told: Callable[[], None]) -> tuple[Session, OwnPlaces]:
    """A placement group in this process's session, which goes on until it is closed."""
    while True:
        with _changes:
            session = _session()
        places = session.open_places(opening, told)
        if places is not None:
            return session, places


def cluster_standing(*, with_devices: bool = True) -> tuple[StatusTold, bool]:
    """What there is and what of it is free; and whether that is a cluster's. `with_devices`: those of this machine are
    looked for, which takes a while. Raises DistpoolError without its head."""
    address = head_address()
    if address is not None:
        return import_module("distpool.runtime.asking").asked_status(address), True
    with _changes:
        session = _session()
    return session.standing(with_devices=with_devices), False


def end_session() -> None:
    """End all pools of this process, and its session, also one that has no pool yet."""
    _terminate_at_exit()
    with _changes:
        remaining = [session for session in _current if not session.loop.client.is_used()]
    for session in remaining:
        session.helm.exclusively(session.end)


def live_handles() -> list[WorkerHandle]:
    """The workers of all groups of this process."""
    return [handle for workers in list(OPEN_WORKERS.values()) for handle in workers.handles()]


def _forget(session: Session) -> None:
    if session in _current:
        _current.remove(session)


def _after_fork_in_child() -> None:
    """The child of a fork has no session: its parent's goes on without it."""
    global _changes
    _changes = threading.RLock()
    for session in _current:
        session.is_foreign = True
        session.loop.close_after_fork()
    _current.clear()
    OPEN_WORKERS.clear()
    ENDING.clear()


def _terminate_at_exit() -> None:
    """Pools that were not closed end here."""
    remaining = list(OPEN_WORKERS.values())
    for workers in remaining:
        workers.terminate()
    for workers in remaining:
        workers.join(SETTINGS.terminate_grace_s + 4.0)
    for session in _current:
        for number in list(session.loop.client.places):
            session.close_places(number)
        session.join()


os.register_at_fork(after_in_child=_after_fork_in_child)
