"""Who runs the loop: a thread that waits for a result, or else the background thread.

Handing a result from one thread to another costs more than the whole round trip to a worker, so whoever waits takes
the helm. The background thread stands aside meanwhile; when the helm was left alone for `park_s` it takes it back, and
then sleeps in the loop for as long as nothing happens.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

from distpool.config import Settings
from distpool.interrupts import Deferral, in_main_thread
from distpool.runtime.locks import Wakeup
from distpool.runtime.loop import Loop

Result = TypeVar("Result")

# The C functions: the wrappers of `signal` convert each value to an enum, which takes microseconds.
_signal: Any = import_module("_signal")

# A handler of one of these may raise at any place, also in the middle of a turn; then others must run the turns.
_RAISING_SIGNALS = tuple(
    int(number)
    for number in (
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGALRM,
        signal.SIGVTALRM,
        signal.SIGPROF,
        signal.SIGCHLD,
        signal.SIGCONT,
        signal.SIGWINCH,
    )
)
_LOOK_EVERY_S = 0.05
_YIELD_S = 20e-6


class Helm:
    """Lets one thread at a time run the loop's turns."""

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        is_needed: Callable[[], bool],
        on_crash: Callable[[BaseException], None],
        on_idle: Callable[[], None],
    ) -> None:
        """`is_needed`: whether turns are to be run; when they are not any more, the holder calls `on_idle`."""
        self._loop = loop
        self._settings = settings
        self._is_needed = is_needed
        self._on_crash = on_crash
        self._on_idle = on_idle
        # Held by whoever runs turns.
        self._lock = threading.Lock()
        # Held by the one user thread that may ask for the helm; others wait passively.
        self._seat = threading.Lock()
        self._holder: int | None = None
        self._wanted = False
        # One thread at a time may ask for the helm for itself; whoever runs turns leaves it soon.
        self._opening = threading.Lock()
        self._opener_waits = False
        self._stop = False
        self._uses = 0
        self._resume = Wakeup()
        self._sleeps = False
        self._looks_at = math.inf
        """When the background thread wants the interpreter's lock, to see whether the helm was left alone."""
        # Begun before the first lock is taken, and ended when the last one is free.
        self._deferral = Deferral(loop.wake, lambda: self._holder == threading.get_ident())
        self._thread: threading.Thread | None = None

    # The background thread ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the background thread, if it does not run."""
        if self._thread is None:
            self._stop = False
            self._thread = threading.Thread(target=self._run, name="distpool", daemon=True)
            self._thread.start()

    def end_thread(self) -> int | None:
        """By the holder, before a fork: end the background thread, so that none of ours exists. `start` comes after.

        Its id for the kernel, if there was one.
        """
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return None  # a callback that forks cannot end the thread that it runs on
        self._thread = None
        self._stop = True
        self._resume.set()
        thread.join()
        self._stop = False
        return thread.native_id

    def join(self) -> None:
        """With nothing left to do, the background thread ends by itself: wait for that, unless there is something
        again."""
        thread = self._thread
        self._resume.set()
        self._loop.wake()
        while thread is not None and thread is not threading.current_thread() and thread.is_alive():
            thread.join(0.01)
            if self._is_needed():
                return

    def _run(self) -> None:
        while not self._stop:
            # Not for ever: a holder that is about to fork waits for this thread's end.
            if not self._lock.acquire(timeout=_LOOK_EVERY_S):
                continue
            self._holder = threading.get_ident()
            try:
                while not (self._wanted or self._opener_waits or self._stop):
                    if not self._is_needed():
                        self._on_idle()
                        return
                    self._turn(None)
            finally:
                self._holder = None
                self._lock.release()
            self._stand_aside()

    def _stand_aside(self) -> None:
        """Until the helm was left alone for a while, or somebody leaves it with work under way."""
        while not self._stop:
            uses = self._uses
            self._looks_at = time.monotonic() + self._settings.park_s
            was_resumed = self._resume.wait(self._settings.park_s)
            self._looks_at = math.inf
            if was_resumed:
                break
            if uses != self._uses:
                continue
            # A thread that has waited for so long says when it leaves: no need to look again and again.
            self._sleeps = True
            if self._holder is None:
                break
            self._resume.wait()
            break
        self._sleeps = False
        self._resume.clear()

    # User threads ---------------------------------------------------------------------------------------------------

    def poke(self) -> None:
        """Something was posted: send it at once if nobody holds the helm. Whoever holds it was woken by the post."""
        if self._loop.is_closed or self._lock.locked():
            return
        if self._may_run_turns() and self._turn_once():
            return
        # A burst: the background thread takes the rest, and what gathers while it works goes out in batches.
        self._resume.set()

    def wait(
        self, is_done: Callable[[], bool], timeout_s: float | None, passively: Callable[[float | None], Any]
    ) -> bool:
        """Until `is_done()`, at most `timeout_s`. `passively` waits while another thread runs the loop."""
        if is_done():
            return True
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        if self._holder == threading.get_ident():
            # From within a callback: every role is at rest, so turns may be run here.
            return self._run_until(is_done, deadline)
        if self._may_run_turns():
            handler = self._deferral.begin()
            try:
                self._wait_at_helm(is_done, deadline)
            finally:
                self._deferral.end(handler)
        if not is_done() and (deadline is None or time.monotonic() < deadline):
            # Somebody else has the helm, or wanted it for itself; the background thread goes on.
            passively(None if deadline is None else deadline - time.monotonic())
        return is_done()

    def _turn_once(self) -> bool:
        """If the helm is free; True when nothing is left to be sent."""
        handler = self._deferral.begin()
        try:
            if not self._lock.acquire(blocking=False):
                return False
            self._holder = threading.get_ident()
            try:
                self._turn(0.0)
            finally:
                self._holder = None
                self._let_go()
        finally:
            self._deferral.end(handler)
        return not (self._loop.mailbox or self._loop.client.has_many_outstanding())

    def _wait_at_helm(self, is_done: Callable[[], bool], deadline: float | None) -> None:
        if not self._seat.acquire(blocking=False):
            return
        try:
            if not self._take(deadline):
                return
            self._holder = threading.get_ident()
            try:
                self._run_until(is_done, deadline)
            finally:
                self._holder = None
                self._let_go()
        finally:
            self._wanted = False
            self._seat.release()
            self._leave()

    def _leave(self) -> None:
        """Wake the background thread where somebody must go on looking."""
        if self._loop.mailbox or self._loop.client.has_outstanding():
            self._resume.set()

    def is_held_here(self) -> bool:
        """This thread runs turns, and calls from within one."""
        return self._holder == threading.get_ident()

    def exclusively(self, function: Callable[[], Result]) -> Result:
        """Call it with the helm held and no turns run, for changes that the loop must not see half done."""
        if self._holder == threading.get_ident():
            return function()
        while True:
            handler = self._deferral.begin()
            try:
                if self._open():
                    try:
                        return function()
                    finally:
                        self._close()
            finally:
                # An interrupt that came meanwhile raises here, or else the helm is asked for again.
                self._deferral.end(handler)

    def _open(self) -> bool:
        """Take the helm without running turns; False when Ctrl-C comes first."""
        if not self._acquire(self._opening):
            return False
        self._opener_waits = True
        self._loop.wake()
        is_taken = self._acquire(self._lock)
        self._opener_waits = False
        if is_taken:
            self._holder = threading.get_ident()
        else:
            self._opening.release()
            self._resume.set()
        return is_taken

    def _close(self) -> None:
        self._holder = None
        self._uses += 1
        self._lock.release()
        self._opening.release()
        self._resume.set()

    def _acquire(self, lock: threading.Lock) -> bool:
        while not lock.acquire(timeout=_LOOK_EVERY_S):
            if self._deferral.noted:
                return False
        return True

    def _take(self, deadline: float | None) -> bool:
        if self._lock.acquire(blocking=False):
            return True
        self._wanted = True
        self._loop.wake()
        while not self._deferral.noted:
            remaining_s = _LOOK_EVERY_S if deadline is None else deadline - time.monotonic()
            if self._lock.acquire(timeout=min(max(0.0, remaining_s), _LOOK_EVERY_S)):
                return True
            if remaining_s <= 0:
                break
        return False

    def _let_go(self) -> None:
        self._uses += 1
        try:
            self._lock.release()
        finally:
            if self._sleeps:
                self._resume.set()
            elif time.monotonic() > self._looks_at:
                self._looks_at = math.inf
                time.sleep(_YIELD_S)

    def _run_until(self, is_done: Callable[[], bool], deadline: float | None) -> bool:
        while not is_done():
            remaining_s = None
            if deadline is not None:
                remaining_s = deadline - time.monotonic()
                if remaining_s <= 0:
                    break
            self._turn(remaining_s, spin=True)
            if self._deferral.noted or self._opener_waits:
                break
        if self._loop.completions:
            self._run_completions()
        return is_done()

    def _turn(self, timeout_s: float | None, *, spin: bool = False) -> None:
        try:
            self._loop.turn(timeout_s, spin=spin)
        except Exception as error:
            # A mistake in the runtime must be loud, and nobody may wait for ever because of it.
            traceback.print_exc(file=sys.stderr)
            self._on_crash(error)
        self._run_completions()

    def _run_completions(self) -> None:
        """What a user's callback raises is told of; it ends neither the background thread nor anybody's wait."""
        while True:
            try:
                self._loop.run_completions()
            except BaseException:
                traceback.print_exc(file=sys.stderr)
            else:
                return

    def _may_run_turns(self) -> bool:
        """Not the main thread while a signal handler may raise at any place there."""
        if not in_main_thread():
            return True
        return not any(map(callable, map(_signal.getsignal, _RAISING_SIGNALS)))


def wait_for_end(native_id: int | None) -> None:
    """Python 3.12 returns from `join` a moment before the thread is gone, and warns of a fork with threads then."""
    if native_id is None or sys.version_info[:2] != (3, 12):
        return
    until = time.monotonic() + 0.05
    while os.path.exists(f"/proc/self/task/{native_id}") and time.monotonic() < until:
        time.sleep(0.0001)
