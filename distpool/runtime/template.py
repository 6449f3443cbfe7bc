"""The template: a single-threaded process that starts a pool's workers, watches them, kills them if the driver dies.

Under `fork` it is forked from the thread that makes the pool, so its memory, and with it every worker's, is the
driver's at that moment. Under `forkserver` it is a fresh interpreter that has imported `__main__`; under `spawn` one
that has not: each worker, a fork of an interpreter that has run nobody's code, imports it itself.
"""

from __future__ import annotations

import atexit
import os
import pickle
import select
import signal
import socket
import sys
import time
import traceback
from importlib import import_module
from multiprocessing import util
from typing import Any, NoReturn

import msgspec

from distpool.ids import LeaseId
from distpool.interrupts import disregard, let_in
from distpool.protocol.codec import decode_template, encode
from distpool.protocol.devices import DEVICES_LIMIT
from distpool.protocol.messages import (
    Death,
    EndWorker,
    ForkWorker,
    InterruptWorker,
    Message,
    StopTemplate,
    StopWorkers,
    WorkerForked,
    WorkerReaped,
)
from distpool.runtime import initialization
from distpool.runtime.descendants import children_of, kill_orphans
from distpool.runtime.descriptor_limit import make_room
from distpool.runtime.native_threads import limit_loaded_libraries, native_threads_limited
from distpool.runtime.parentage import adopt_orphans
from distpool.runtime.program_paths import main_here
from distpool.runtime.standard_descriptors import open_missing
from distpool.runtime.template_plan import TemplatePlan
from distpool.runtime.worker_process import WorkerProcess, import_main
from distpool.runtime.worker_setup import WorkerSetup
from distpool.transport.frames import receive_with_descriptors, send_frame
from distpool.transport.ring import ring_size

_START_FAILED = 71
_ORPHANS_LIMIT_S = 0.5
_DESCRIPTORS_LIMIT = 5 + DEVICES_LIMIT

# The start methods whose processes run `atexit` functions: since Python 3.13 all.
_WITH_EXIT_FUNCTIONS = {"spawn"} if sys.version_info < (3, 13) else {"fork", "forkserver", "spawn"}


def run_template(
    plan: TemplatePlan, control: socket.socket, rings: int, store: int, *, lets_interrupts_in: bool
) -> NoReturn:
    """Serve until the driver says stop or is gone; never returns to the code that forked it.

    It was started with Ctrl-C held back, and may have to let it in.
    """
    status = 1
    try:
        open_missing()
        if plan.start_method == "fork":
            initialization.enter()
        template = Template(plan, control, rings, store)
        template.leave_signals_to_driver()
        if lets_interrupts_in:
            let_in()
        template.prepare()
        template.serve()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        util._flush_std_streams()  # type: ignore[attr-defined]
        os._exit(status)


class Template:
    """Starts and watches workers. It runs no user code but the import of `__main__`, and no threads."""

    def __init__(self, plan: TemplatePlan, control: socket.socket, rings: int, store: int) -> None:
        if plan.pickled_setup is not None:
            plan.setup = _setup_here(plan, pickle.loads(plan.pickled_setup))
        self._plan = plan
        self._control = control
        self._rings = rings
        self._store = store
        # They came through an exec, and programs that workers start must not keep the memory.
        for descriptor in (rings, store, control.fileno()):
            os.set_inheritable(descriptor, False)
        self._workers: dict[int, tuple[int, LeaseId]] = {}
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._driver = os.pidfd_open(plan.driver_pid)
        self._poll.register(self._driver, select.POLLIN)
        self._kill_at: dict[int, float] = {}
        self._busy: set[LeaseId] = set()
        self._spared: set[int] = set()
        self._is_stopping = False
        # What workers get back, and what this process has instead.
        self._handlers: dict[int, Any] = {}
        self._own_handlers: dict[int, Any] = {}

    def prepare(self) -> None:
        """Import `__main__` where the workers shall inherit it."""
        import_module("ctypes")  # once, and not in each worker
        if self._plan.start_method == "spawn":
            import_module("pkgutil")  # likewise: `__main__` is imported with it
        adopt_orphans()
        if self._plan.start_method == "fork":
            limit_loaded_libraries(self._plan.setup.native_threads)
        setup = self._plan.setup
        if self._plan.start_method == "forkserver" and setup.main:
            try:
                with native_threads_limited(setup.native_threads):
                    import_main(setup.main)
            except BaseException:
                # Each worker tries again, and the failure is told where the standard library tells it.
                return
            self._plan.setup = msgspec.structs.replace(setup, main={})
            # Once more: `__main__` may have set handlers, which are the workers' to inherit.
            self.leave_signals_to_driver()

    def leave_signals_to_driver(self) -> None:
        """Handle none, and keep the handlers for the workers."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            handler = signal.getsignal(number)
            if number not in self._handlers or handler is not self._own_handlers[number]:
                self._handlers[number] = handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in (signal.SIGTERM, signal.SIGHUP):
            # What the driver ignores (under nohup, say) its template ignores too; only handlers are the driver's own.
            if self._handlers[number] is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        self._own_handlers = {number: signal.getsignal(number) for number in self._handlers}

    def serve(self) -> None:
        while not (self._is_stopping and not self._workers):
            timeout_ms = None
            if self._kill_at:
                timeout_ms = max(0, int((min(self._kill_at.values()) - time.monotonic()) * 1000) + 1)
            for descriptor, _ in self._poll.poll(timeout_ms):
                if descriptor == self._control.fileno():
                    self._obey()
                elif descriptor == self._driver:
                    self._kill_all()
                else:
                    self._reap(descriptor)
            now = time.monotonic()
            for watch in [watch for watch, at in self._kill_at.items() if at <= now]:
                del self._kill_at[watch]
                signal.pidfd_send_signal(watch, signal.SIGKILL)

    def _obey(self) -> None:
        try:
            frame, descriptors = receive_with_descriptors(self._control, _DESCRIPTORS_LIMIT)
        except ConnectionResetError:
            frame, descriptors = b"", []
        if not frame:
            self._kill_all()
            return
        match decode_template(frame):
            case ForkWorker() as order:
                self._start(order, *descriptors)
            case StopTemplate(grace_s, busy):
                self._is_stopping = True
                self._stop(list(self._workers), grace_s, busy)
            case StopWorkers(grace_s, leases, busy):
                watches = {lease: watch for watch, (_, lease) in self._workers.items()}
                self._stop([watches[lease] for lease in leases if lease in watches], grace_s, busy)
            case EndWorker(ended, _, grace_s):
                for watch, (_, lease) in self._workers.items():
                    if lease == ended:
                        self._busy.add(lease)
                        # Without a grace there is no interrupt: its call would end with that, if it is quick.
                        self._end(watch, signal.SIGINT if grace_s else signal.SIGKILL, grace_s)
            case InterruptWorker(running):
                for watch, (_, lease) in self._workers.items():
                    if lease == running:
                        signal.pidfd_send_signal(watch, signal.SIGINT)
            case other:
                raise ValueError(f"a template cannot obey {other!r}")

    def _stop(self, watches: list[int], grace_s: float, busy: list[LeaseId]) -> None:
        self._busy.update(busy)
        # Now, while they have parents: what workers had started whose calls have ended as they should.
        for watch in watches:
            pid, lease = self._workers[watch]
            if lease not in self._busy:
                self._spared.update(children_of(pid))
        for watch in watches:
            self._end(watch, signal.SIGTERM, grace_s)

    def _start(self, order: ForkWorker, *descriptors: int) -> None:
        plan = self._plan
        make_room(len(self._workers) + 1)
        offset = order.slot * ring_size(plan.ring_bytes)
        store = (plan.store_id, self._store)
        worker = WorkerProcess(plan.setup, descriptors, self._rings, offset, store, order.threads, order.devices)
        name = f"{plan.worker_name}-{order.number}"
        worker.become(
            name, order.number, daemon=plan.daemon, start_method=plan.start_method, parent_pid=plan.driver_pid
        )
        try:
            pid = self._fork(worker)
        except OSError:
            traceback.print_exc()
            self._tell(WorkerReaped(order.lease, Death(0, _START_FAILED)))
            return
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        watch = os.pidfd_open(pid)
        self._workers[watch] = (pid, order.lease)
        self._poll.register(watch, select.POLLIN)
        self._tell(WorkerForked(order.lease, pid))

    def _fork(self, worker: WorkerProcess) -> int:
        util._flush_std_streams()  # type: ignore[attr-defined]
        pid = os.fork()
        if pid:
            return pid
        status = 1
        runs_exit_functions = self._plan.start_method in _WITH_EXIT_FUNCTIONS
        try:
            self._control.close()
            for watch in self._workers:
                os.close(watch)
            for number, handler in self._handlers.items():
                if handler is signal.default_int_handler:
                    handler = disregard  # until the worker is ready for its own
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            if runs_exit_functions:
                atexit._clear()
                atexit.register(util._exit_function)  # type: ignore[attr-defined]
            status = worker._bootstrap(parent_sentinel=self._driver)
        finally:
            try:
                if runs_exit_functions:
                    atexit._run_exitfuncs()
                    util._flush_std_streams()  # type: ignore[attr-defined]
            finally:
                os._exit(status)

    def _end(self, watch: int, number: int, grace_s: float) -> None:
        """Send a signal now, and SIGKILL if the worker is still there after the grace."""
        signal.pidfd_send_signal(watch, number)
        self._kill_at[watch] = time.monotonic() + grace_s

    def _reap(self, watch: int) -> None:
        pid, lease = self._workers.pop(watch)
        self._poll.unregister(watch)
        self._kill_at.pop(watch, None)
        os.close(watch)
        _, status, usage = os.wait4(pid, 0)
        exitcode = os.waitstatus_to_exitcode(status)
        own = {worker for worker, _ in self._workers.values()}
        if lease in self._busy or (exitcode and not self._is_stopping):
            # What the call that it ran has started ends with it. Each worker adopts the orphans among its descendants,
            # so those that have just become children of this process are of the dead one.
            kill_orphans(own | self._spared, _ORPHANS_LIMIT_S)
        elif not self._is_stopping and not any(map(_has_ended, own)):
            self._spared.update(child for child in children_of(os.getpid()) if child not in own)
        self._tell(WorkerReaped(lease, Death(pid, exitcode, usage.ru_maxrss * 1024)))

    def _tell(self, message: Message) -> None:
        try:
            send_frame(self._control, encode(message))
        except (BrokenPipeError, ConnectionResetError):
            self._kill_all()

    def _kill_all(self) -> NoReturn:
        """The driver is gone: nobody wants these workers any more, nor what they have started."""
        for watch in self._workers:
            signal.pidfd_send_signal(watch, signal.SIGKILL)
        kill_orphans(self._spared, _ORPHANS_LIMIT_S)
        os._exit(1)


def _setup_here(plan: TemplatePlan, setup: WorkerSetup) -> WorkerSetup:
    """What a caller elsewhere wants, with the paths of this machine."""
    main = setup.main
    if setup.paths is not None:
        main = main_here(main, setup.paths, plan.folder, [entry for entry in sys.path if entry])
    own = plan.setup
    return msgspec.structs.replace(setup, main=main, node=own.node, native_threads=own.native_threads)


def _has_ended(pid: int) -> bool:
    """A child that is dead and not reaped: what it had started cannot be told from another's."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
