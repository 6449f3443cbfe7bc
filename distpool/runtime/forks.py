"""Forks of this process that become templates, under `fork`.

What only workers need of the runtime is imported by the template, if the program has not done so. This module imports
nothing of it, so that a first pool can fork its template before the program's side is imported (see `early_start`).
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import traceback
from contextlib import ExitStack, suppress
from importlib import import_module
from multiprocessing import util
from typing import TYPE_CHECKING, NoReturn

from distpool.interrupts import held_back
from distpool.runtime.interpreter import end_child
from distpool.runtime.standard_descriptors import left_alone
from distpool.store.create import own_memory
from distpool.transport.pairs import socket_pair

if TYPE_CHECKING:
    from distpool.runtime.template_plan import TemplatePlan


class Fork:
    """The driver's side of one, which is forked from the thread that makes it. `control` and `rings` are what the
    template will be told by and will hand on."""

    def __init__(self, plan: TemplatePlan | None = None) -> None:
        """`plan`: that it has from the beginning; without it, it waits for the one that is sent."""
        with ExitStack() as ours, ExitStack() as theirs, left_alone():
            self.rings = os.memfd_create("distpool-rings", os.MFD_CLOEXEC)
            ours.callback(os.close, self.rings)
            store = os.dup(own_memory()[1])  # the child's: its hook of `os.fork` closes the other
            theirs.callback(os.close, store)
            self.control, control = socket_pair()
            ours.callback(self.control.close)
            theirs.callback(control.close)
            util._flush_std_streams()  # type: ignore[attr-defined]
            with held_back() as lets_interrupts_in:
                self.pid = os.fork()
                if self.pid == 0:
                    # What else the runtime has open was closed by its own hook of `os.fork` (see `session`).
                    self.control.close()
                    _become_template(plan, control, self.rings, store, lets_interrupts_in=lets_interrupts_in)
                ours.callback(end_child, self.pid)
            self._undo = ours.pop_all()

    def become_template(self, plan: bytes) -> None:
        """Send the pickled plan. From now on it ends when it is told to or nobody has the other end of `control`."""
        from distpool.transport.frames import send_frame  # which comes with msgspec

        with suppress(BrokenPipeError, ConnectionResetError):  # it has ended: the end of `control` tells of it
            send_frame(self.control, [plan])

    def discard(self) -> None:
        """End it: nobody has a plan for it."""
        self._undo.close()


def _become_template(
    plan: TemplatePlan | None, control: socket.socket, rings: int, store: int, *, lets_interrupts_in: bool
) -> NoReturn:
    """In the child; never returns to the code that forked it."""
    try:
        # Until these are left to the driver, whose handlers this process still has.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
        from distpool.runtime.template import run_template

        if plan is None:
            from distpool.transport.frames import receive_frame

            import_module("ctypes")  # which each template needs, and meanwhile the plan is made
            frame = receive_frame(control)
            if not frame:
                os._exit(0)  # The driver has no use for it after all, or is gone.
            plan = pickle.loads(frame)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        run_template(plan, control, rings, store, lets_interrupts_in=lets_interrupts_in)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)
