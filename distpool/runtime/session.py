"""The door between users' threads and the runtime: opens groups of workers, hands in calls, waits for their outcomes.

    facade ── pickles arguments ──► Workers.submit ── mailbox ──► loop ──► lanes ──► worker
    facade ◄── sink.deliver ◄── completions ◄──────────────────── loop ◄── ring  ◄── worker

One session per process, made with the first pool and ended with the last one.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from importlib import import_module
from itertools import count
from multiprocessing import util
from typing import Any, Protocol

from distpool.base_errors import ForeignProcess
from distpool.config import SETTINGS
from distpool.ids import GroupId
from distpool.logic.calls import NO_OPTIONS, SCALAR_BYTES, Bundle, CallOptions, Entry, Outcome
from distpool.logic.group import Group, GroupPlan, GroupState
from distpool.protocol.messages import CallMode, OutcomeKind
from distpool.runtime.arguments import Arguments
from distpool.runtime.handles import WorkerHandle
from distpool.runtime.helm import Helm
from distpool.runtime.interrupts import deferred
from distpool.runtime.launcher import Crew, LaunchPlan
from distpool.runtime.locks import Event
from distpool.runtime.loop import Loop
from distpool.runtime.main_view import MainView, view_of_main


class Receiver(Protocol):
    """A sink: who waits for a bundle's calls. Both methods run on the thread that holds the loop."""

    def begin(self) -> bool:
        """The calls are about to be sent; False if they were cancelled."""
        ...

    def put_back(self) -> None:
        """The call waits again."""
        ...

    def deliver(self, first: int, outcomes: list[Outcome]) -> None:
        """Calls `first` and following ended like this."""
        ...


class Session:
    """The runtime of this process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = Loop(SETTINGS, os.cpu_count() or 1, self._wait_for_handle)
        self.helm = Helm(self.loop, SETTINGS, self._crash, self._end)
        self.functions = count(1)
        # A flag, set in the child of a fork: to ask the kernel for the pid at each call takes half a microsecond.
        self.is_foreign = False
        self._group_ids = count(1)
        util.Finalize(None, _terminate_at_exit, exitpriority=10)

    def open(self, plan: GroupPlan, launch: LaunchPlan, own: Own, *, drains_at_exit: bool) -> bool:
        """Start a group of workers; False when the session has just ended.

        Under `fork` the template is forked from this thread, while no thread of ours exists.
        """
        return self.helm.exclusively(partial(self._open, plan, launch, own, drains_at_exit))

    def _open(self, plan: GroupPlan, launch: LaunchPlan, own: Own, drains_at_exit: bool) -> bool:
        loop = self.loop
        if loop.is_closed:
            return False
        group_id = GroupId(next(self._group_ids))
        try:
            if launch.start_method == "fork":
                wait_for_end(self.helm.end_thread())
            crew = loop.launcher.open(group_id, launch)
            loop.watch_template(group_id)
            group = loop.client.open(group_id, plan)
            if not plan.on_demand:
                loop.turn(0.0)
        finally:
            if loop.client.groups:
                self.helm.start()
            else:
                self._end()
        own(Workers(self, group, crew, view_of_main(launch.start_method), drains_at_exit=drains_at_exit))
        return True

    def wait(
        self, is_done: Callable[[], bool], timeout_s: float | None, passively: Callable[[float | None], Any]
    ) -> bool:
        return self.helm.wait(is_done, timeout_s, passively)

    def join(self) -> None:
        """If the last group is gone, wait for the end of the background thread."""
        if not self.loop.client.groups:
            self.helm.join()

    def _end(self) -> None:
        """By the holder of the helm: no group is left, so the session ends."""
        with _changes:
            _forget(self)
        self.loop.close()

    def _wait_for_handle(self, is_done: Callable[[], bool], timeout_s: float | None) -> None:
        """What a handle waits for is told by a template, so it needs turns of the loop."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not is_done() and not self.loop.is_closed:
            remaining_s = None if deadline is None else deadline - time.monotonic()
            if remaining_s is not None and remaining_s <= 0:
                return
            self.wait(is_done, remaining_s, _wait_briefly)

    def _crash(self, error: BaseException) -> None:
        for group in self.loop.client.groups.values():
            group.terminate(self.loop.client.outbox, OutcomeKind.BROKEN, f"the runtime failed: {error!r}")
        self.loop.completions.extend(self.loop.client.outbox.completions)
        self.loop.client.outbox.completions.clear()


class Workers:
    """One group of workers, as a facade uses it. Every method may be called from any thread."""

    def __init__(self, session: Session, group: Group, crew: Crew, main: MainView, *, drains_at_exit: bool) -> None:
        self._session = session
        self._group = group
        self._crew = crew
        self.arguments = Arguments(main, session.functions, session.loop.client.functions)
        self._incoming: deque[Bundle] = deque()
        self._is_posted = False
        self._gone = Event()
        self.drains_at_exit = drains_at_exit
        self.poke = session.helm.poke
        """Send what was handed in, if nobody else is about to."""
        _open_workers[id(self)] = self
        group.on_gone = self._note_gone

    # Calls ----------------------------------------------------------------------------------------------------------

    def hand_in(
        self,
        function_id: Any,
        mode: CallMode,
        entries: list[Entry],
        sink: Receiver,
        first: int = 0,
        options: CallOptions = NO_OPTIONS,
        name: str = "",
        chunksize: int = 1,
    ) -> None:
        """Hand in calls, whose outcomes go to the sink. `poke` sends them: a facade may hold a lock of its own here."""
        sizes = [len(entry) for entry in entries if type(entry) is bytes]
        entry_bytes = max(SCALAR_BYTES, sum(sizes) // len(sizes)) if sizes else SCALAR_BYTES
        if self._session.is_foreign:
            self._check_process()
        self._incoming.append(Bundle(function_id, mode, entries, sink, first, entry_bytes, options, name, chunksize))
        if not self._is_posted:
            self._post_take_in()

    def hand_in_call(
        self, function_id: Any, call: bytes, sink: Receiver, options: CallOptions = NO_OPTIONS, name: str = ""
    ) -> None:
        """`hand_in` for one pickled call: the hot path of `submit` and `apply_async`."""
        if self._session.is_foreign:
            self._check_process()
        self._incoming.append(Bundle(function_id, CallMode.CALL, (call,), sink, 0, len(call), options, name))
        if not self._is_posted:
            self._post_take_in()

    def _post_take_in(self) -> None:
        self._is_posted = True
        try:
            self._session.loop.post(self.take_in)
        except BaseException:
            self._is_posted = False  # an interrupt, perhaps before it was posted: whoever comes next does it
            raise

    def take_in(self) -> None:
        """By whoever holds the loop: all that was handed in goes to the client role at once."""
        self._is_posted = False
        bundles = []
        while self._incoming:
            bundles.append(self._incoming.popleft())
        if bundles:
            self._session.loop.client.submit(self._group, bundles)

    def look_again(self) -> None:
        """See that a turn follows, after which whoever runs the loop looks whether it has what it waits for."""
        self._post(_do_nothing)

    def post(self, function: Callable[..., None], *args: Any) -> None:
        """Have something done by whoever holds the loop."""
        self._post(function, *args)

    def wait(
        self, is_done: Callable[[], bool], timeout_s: float | None, passively: Callable[[float | None], Any]
    ) -> bool:
        """Wait until `is_done()`; this thread runs the loop meanwhile if it can."""
        self._check_process()
        return self._session.wait(is_done, timeout_s, passively)

    # Life -----------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> GroupState:
        return self._group.state

    @property
    def breaks(self) -> bool:
        """The death of a worker ends all of them."""
        return self._group.plan.breaks

    @property
    def broken(self) -> str:
        """Why no call can run any more; empty while they can."""
        return self._group.reason if self._group.is_broken() else ""

    def is_open(self) -> bool:
        """Calls can be handed in."""
        return self._group.state is GroupState.OPEN

    def is_over(self) -> bool:
        """No call can run any more."""
        return self._group.state not in (GroupState.OPEN, GroupState.CLOSING)

    def is_owned_here(self) -> bool:
        """This process made the group, and was not forked from the one that did."""
        return not self._session.is_foreign

    def handles(self) -> list[WorkerHandle]:
        """The worker processes that live, oldest first."""
        return list(self._crew.handles.values()) if self.is_owned_here() else []

    def settle(self) -> None:
        """Wait until what was handed in has been decided on, so that `handles` shows the workers that it needs."""
        for _ in range(2):  # what is posted second is done in a turn after that of the first
            done: list[bool] = []
            self._post(done.append, True)
            while not done and not self._session.is_foreign:
                self._session.wait(lambda: bool(done), None, _wait_briefly)  # noqa: B023

    def close(self) -> None:
        """No more calls: workers end when all are done."""
        self._post(self._session.loop.client.close, self._group)

    def cancel_waiting(self) -> None:
        """Cancel the calls that were not sent to a worker."""
        self._post(self._session.loop.client.cancel_waiting, self._group)

    def terminate(self, kind: OutcomeKind = OutcomeKind.TERMINATED, text: str = "the pool was terminated") -> None:
        """End all calls and all workers."""
        if self.is_owned_here() and not self._gone.is_set():
            with deferred():  # the garbage collector calls this too, and only once
                self._post(self._session.loop.client.terminate, self._group, kind, text)

    def break_down(self, text: str) -> None:
        """By whoever holds the loop, at rest: end all calls before anybody can hear of the reason."""
        self._session.loop.client.terminate(self._group, OutcomeKind.BROKEN, text)
        self.look_again()  # A turn tells of it.

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until no process of the group is left."""
        if not self.is_owned_here():
            return False
        if not self._session.wait(self._gone.is_set, timeout_s, self._gone.wait):
            return False
        self._session.join()
        return True

    def _note_gone(self) -> None:
        self._gone.set()
        # No cycle is left, so that what the initializer's arguments hold is free when its pool is.
        self._group.on_gone = _do_nothing
        _open_workers.pop(id(self), None)

    def _post(self, function: Callable[..., None], *args: Any) -> None:
        self._check_process()
        self._session.loop.post(function, *args)
        self._session.helm.poke()

    def _check_process(self) -> None:
        if self._session.is_foreign:
            raise ForeignProcess(
                f"this pool belongs to process {self._session.pid}; process {os.getpid()} was forked from it and "
                "cannot use it: make a pool in the process that uses it"
            )


Own = Callable[[Workers], object]
"""Takes what was opened; it is called with the helm held."""

# The session of this process ------------------------------------------------------------------------------------------

_open_workers: dict[int, Workers] = {}
_current: list[Session] = []
_changes = threading.RLock()


def open_workers(plan: GroupPlan, launch: LaunchPlan, own: Own, *, drains_at_exit: bool = False) -> None:
    """Start a group of workers in this process's session. `drains_at_exit`: the interpreter waits for its calls.

    `own` is given them before Ctrl-C can take effect, so that somebody ends them when the caller is interrupted.
    """
    while True:
        # Held for a moment only, and never while anything is waited for: callbacks open groups too.
        with _changes:
            if not _current:
                _current.append(Session())
            session = _current[0]
        if session.open(plan, launch, own, drains_at_exit=drains_at_exit):
            # While the workers start: it takes as long, and a program that ends can no longer import it.
            import_module("distpool.errors")
            return


def live_handles() -> list[WorkerHandle]:
    """The workers of all groups of this process."""
    return [handle for workers in list(_open_workers.values()) for handle in workers.handles()]


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
    _open_workers.clear()
    ENDING.clear()


ENDING: list[bool] = []
"""Not empty once the interpreter has begun to end: no call can be submitted any more."""


def _drain_at_exit() -> None:
    """The interpreter is about to end: executors finish what was submitted, as the standard ones do, unless it was
    ended by Ctrl-C."""
    ENDING.append(True)
    if issubclass(getattr(sys, "last_type", None) or Exception, KeyboardInterrupt):
        return
    for workers in list(_open_workers.values()):
        if workers.drains_at_exit:
            workers.close()
    for workers in list(_open_workers.values()):
        if workers.drains_at_exit:
            workers.join()


def _terminate_at_exit() -> None:
    """Pools that were not closed end here."""
    remaining = list(_open_workers.values())
    for workers in remaining:
        workers.terminate()
    for workers in remaining:
        workers.join(SETTINGS.terminate_grace_s + 4.0)


def wait_for_end(native_id: int | None) -> None:
    """Python 3.12 returns from `join` a moment before the thread is gone, and warns of a fork with threads then."""
    if native_id is None or sys.version_info[:2] != (3, 12):
        return
    until = time.monotonic() + 0.05
    while os.path.exists(f"/proc/self/task/{native_id}") and time.monotonic() < until:
        time.sleep(0.0001)


def _do_nothing() -> None:
    pass


def _wait_briefly(timeout_s: float | None) -> None:
    """Another thread runs the loop; what a handle waits for has no event of its own, and takes a few milliseconds."""
    time.sleep(0.001)


os.register_at_fork(after_in_child=_after_fork_in_child)
threading._register_atexit(_drain_at_exit)  # type: ignore[attr-defined]
