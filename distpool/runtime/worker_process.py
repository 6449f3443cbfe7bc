"""A worker as a process: what it is called, whose child it is, and how it gets its `__main__`."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
import time
from multiprocessing import process, spawn
from typing import TYPE_CHECKING, Any

from distpool.config import SETTINGS
from distpool.ids import StoreId
from distpool.objects.refs import FROM_ABOVE
from distpool.objects.stores import attach
from distpool.protocol.codec import encode
from distpool.protocol.devices import NO_DEVICES, WorkerDevices
from distpool.protocol.messages import CallsFinished, OpenUpLane, WorkerLogged
from distpool.runtime import current_call, own_way_up, yielding
from distpool.runtime.addresses import be_a_worker
from distpool.runtime.import_hook import when_imported
from distpool.runtime.native_threads import limit_loaded_libraries, limit_native_threads
from distpool.runtime.parentage import adopt_orphans, die_with_parent
from distpool.runtime.stack_answers import answer_for_stacks
from distpool.runtime.worker import Worker
from distpool.runtime.worker_devices import take_devices
from distpool.runtime.worker_setup import WorkerSetup
from distpool.transport.frames import send_frame, send_with_descriptors
from distpool.transport.ring import Ring

if TYPE_CHECKING:
    from distpool.logic.promises import Promise


class WorkerProcess(process.BaseProcess):
    """One worker, as the standard library's machinery for child processes sees it."""

    def __init__(
        self,
        setup: WorkerSetup,
        descriptors: tuple[int, ...],
        ring: int,
        ring_offset: int,
        store: tuple[StoreId, int],
        threads: int,
        devices: WorkerDevices = NO_DEVICES,
    ) -> None:
        super().__init__()
        self._threads = threads
        self._devices = devices
        self._store = store
        self._setup = setup
        self._descriptors = descriptors
        self._ring_place = (ring, ring_offset)
        self._template_pid = os.getpid()
        self._main_failure: BaseException | None = None

    def become(self, name: str, number: int, *, daemon: bool, start_method: str, parent_pid: int) -> None:
        """Take the identity that the driver chose."""
        self._start_method = start_method
        self._identity = (*process.current_process()._identity, number)
        self._name = name
        self._config["daemon"] = daemon  # type: ignore[attr-defined]
        self._parent_pid = parent_pid

    def _bootstrap(self, parent_sentinel: int | None = None) -> Any:
        """Import `__main__` before this process becomes a pool's worker, as a spawned child does."""
        be_a_worker()
        die_with_parent(self._template_pid)
        adopt_orphans()
        lane, _, store_lane, *more = self._descriptors
        streams = more[self._devices.locks :]
        self._sock = socket.socket(fileno=lane)
        self._attached = attach(*self._store, socket.socket(fileno=store_lane), self._parent_pid)
        memory, offset = self._ring_place
        self._ring = Ring(memory, offset, SETTINGS.ring_bytes)
        os.close(memory)
        if streams:
            _take_streams(*streams)
        # A crash in native code says where it was, as the last words on standard error.
        faulthandler.enable(2)
        answer_for_stacks("worker")
        threads = take_devices(self._devices, self._threads)
        if threads != self._setup.native_threads:  # those of the template, which may be that of other groups too
            limit_loaded_libraries(threads)
        limit_native_threads(threads)
        when_imported("logging", self._forward_log_records)
        own_way_up.offer(self._send_way_up, self._setup.program, self._ring.written_to, self._announce_results)
        FROM_ABOVE[:] = [self._find_promise]
        if self._setup.main:
            try:
                import_main(self._setup.main)
            except BaseException as error:
                self._main_failure = error
        return super()._bootstrap(parent_sentinel)  # type: ignore[misc]

    def run(self) -> None:
        """Be ready, then serve until told to end."""
        signal.set_wakeup_fd(-1)
        current_call.be_new()
        worker = Worker(self._sock, self._descriptors[1], self._ring, self._setup, self._attached)
        yielding.offer(worker, self._ring.note_items)
        worker.prepare(self._main_failure)
        worker.serve()

    def _find_promise(self, number: int) -> Promise:
        """Of a ref that arrives, whose task is the program's."""
        from distpool.runtime.promises_above import above  # what few workers need

        return above().find(number)

    def _send_way_up(self, descriptor: int) -> None:
        """By whichever thread first has something to ask the program."""
        while True:
            try:
                send_with_descriptors(self._sock, encode(OpenUpLane()), [descriptor])
            except BlockingIOError:
                time.sleep(0.001)  # the caller has as many descriptors unread as the kernel allows
                continue
            except (BrokenPipeError, ConnectionResetError):
                os._exit(1)
            self._ring.note_way_up()
            return

    def _announce_results(self) -> None:
        """In the middle of a call, by any thread: what the calls before it have made is to be read."""
        while self._ring.has_records():
            try:
                send_frame(self._sock, encode(CallsFinished(False)))
            except BlockingIOError:
                time.sleep(0.001)  # the caller has as many frames unread as the kernel allows
                continue
            except (BrokenPipeError, ConnectionResetError):
                os._exit(1)
            return

    def _forward_log_records(self) -> None:
        from distpool.runtime.logs import forward_to_driver  # imports logging, which a program need not have

        forward_to_driver(self._send_record, self._setup.log_levels)

    def _send_record(self, record: bytes) -> None:
        # One thread at a time: the handler that calls this holds its lock.
        send_frame(self._sock, encode(WorkerLogged(record)))
        self._ring.note_log_record()


def import_main(main: dict[str, Any]) -> None:
    """Import the driver's `__main__` as `__mp_main__`, as spawned children of the standard library do."""
    current: Any = process.current_process()
    current._inheriting = True
    try:
        spawn.prepare(main)
    finally:
        del current._inheriting


def _take_streams(stdout: int, stderr: int) -> None:
    """In a worker, before any user code runs: standard output and standard error are these pipes from now on."""
    for name, number, pipe in (("stdout", 1, stdout), ("stderr", 2, stderr)):
        os.dup2(pipe, number)
        os.close(pipe)
        stream = getattr(sys, name)
        try:
            if stream.fileno() == number:
                # By lines, as on a terminal: what a call prints is there before its result.
                stream.reconfigure(line_buffering=True)
                continue
        except (AttributeError, OSError, ValueError):
            pass  # None, or something that the driver put there: a notebook's, a test's.
        errors = "backslashreplace" if number == 2 else None
        setattr(sys, name, os.fdopen(number, "w", buffering=1, errors=errors, closefd=False))
