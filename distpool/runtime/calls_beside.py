"""In an actor's worker: calls that run beside each other, on an event loop or on threads.

    main thread: lane ── token, number ──► loop / threads ── outcome with its number ──► ring

The main thread only begins calls, in the order in which they were sent; their caller sends no more than may run.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from distpool.config import SETTINGS
from distpool.ids import FunctionId
from distpool.objects.stores import Attached
from distpool.protocol.messages import CallsFinished, LargeOutcome, OutcomeKind, Slice
from distpool.runtime.current_call import NUMBER_BESIDE
from distpool.runtime.instance import BesideMethod, event_loop, traits
from distpool.runtime.yielding import WRITING
from distpool.transport.lanes import take_token
from distpool.transport.ring import Ring, with_number

Ended = tuple[int, int, bytes]
"""(number, kind, payload)"""


class Host(Protocol):
    """The worker, as this needs it."""

    def load_function(self, function_id: FunctionId) -> Any: ...

    def load_arguments(self, pickled: Any) -> Any: ...

    def succeeded(self, value: Any) -> tuple[int, bytes]: ...

    def failed(self, error: BaseException) -> tuple[int, bytes]: ...

    def send(self, message: Any) -> None: ...


class CallsBeside:
    """`begin` and `has_room` are for the main thread."""

    def __init__(
        self, host: Host, ring: Ring, sock: socket.socket, tokens: int, attached: Attached, busy_ns: int
    ) -> None:
        """`busy_ns`: the worker's time in calls until now. It stays at that, as these overlap."""
        self._host = host
        self._ring = ring
        self._sock = sock
        self._tokens = tokens
        self._attached = attached
        self._busy_ns = busy_ns
        self._next = 0
        self._writing = WRITING
        self._room = threading.Event()
        self.has_exited = False
        """A call has ended the actor."""
        self._ended: list[Ended] = []
        """By calls on the event loop, in this round of it."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads: dict[str, ThreadPoolExecutor] = {}
        attached.relieve = self._relieve

    def begin(self, piece: Slice) -> bool:
        """Begin the calls of a slice; False when the others were taken back."""
        args: Any = piece.args
        method: BesideMethod | None = None
        failure: BaseException | None = None
        try:
            method = self._host.load_function(piece.function)
        except Exception as error:  # the actor has no such method: each of the calls says so
            failure = error
        calls = args if type(args) is list else [args]
        begun: list[tuple[int, Any]] = []
        while len(begun) < len(calls) and take_token(self._tokens):
            begun.append((self._next, calls[len(begun)]))
            self._next += 1
        if method is None:
            for number, _ in begun:
                self._write([self._outcome(number, None, failure)])
        elif traits().is_async:
            event_loop().call_soon_threadsafe(self._start_on_loop, method.function, begun)
        else:
            threads = self._threads_of(method.group)
            for number, pickled in begun:
                threads.submit(self._run, method.function, number, pickled)
        return len(begun) == len(calls)

    def has_room(self) -> None:
        """The caller has read the ring."""
        self._room.set()

    # On threads -----------------------------------------------------------------------------------------------------

    def _threads_of(self, group: str) -> ThreadPoolExecutor:
        threads = self._threads.get(group)
        if threads is None:
            limits = traits().limits or {}
            threads = self._threads[group] = ThreadPoolExecutor(limits[group], f"distpool-actor-{group}")
        return threads

    def _run(self, function: Callable[..., Any], number: int, pickled: Any) -> None:
        value = error = None
        NUMBER_BESIDE.set(number)
        try:
            args, kwargs = self._host.load_arguments(pickled)
            value = function(*args, **kwargs)
        except BaseException as raised:
            error = raised
        self._write([self._outcome(number, value, error)])

    # On the event loop ----------------------------------------------------------------------------------------------

    def _start_on_loop(self, function: Callable[..., Any], begun: list[tuple[int, Any]]) -> None:
        loop = event_loop()
        for number, pickled in begun:
            NUMBER_BESIDE.set(number)
            try:
                args, kwargs = self._host.load_arguments(pickled)
                value = function(*args, **kwargs)
            except BaseException as error:
                self._end_on_loop(number, None, error)
                continue
            if inspect.isawaitable(value):
                task = loop.create_task(self._await(number, value))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                self._end_on_loop(number, value, None)

    async def _await(self, number: int, awaitable: Any) -> None:
        value = error = None
        try:
            value = await awaitable
        except BaseException as raised:
            error = raised
        self._end_on_loop(number, value, error)

    def _end_on_loop(self, number: int, value: Any, error: BaseException | None) -> None:
        self._ended.append(self._outcome(number, value, error))
        if len(self._ended) == 1:
            event_loop().call_soon(self._write_ended)

    def _write_ended(self) -> None:
        ended, self._ended = self._ended, []
        self._write(ended)

    # Outcomes -------------------------------------------------------------------------------------------------------

    def _outcome(self, number: int, value: Any, error: BaseException | None) -> Ended:
        with self._writing:
            return (number, *(self._host.succeeded(value) if error is None else self._host.failed(error)))

    def _write(self, ended: list[Ended]) -> None:
        with self._writing:
            if self._attached.news:
                self._attached.settle()
            for number, kind, payload in ended:
                if len(payload) > SETTINGS.ring_record_bytes:
                    self._host.send(LargeOutcome(payload))
                    self._put(*with_number(OutcomeKind.FRAME, number, bytes([kind])))
                else:
                    self._put(*with_number(kind, number, payload))
            if not self._ring.reader_looks():
                self._host.send(CallsFinished(False))
            if self._attached.dropped:
                self._attached.flush()
            if any(kind == OutcomeKind.EXITED for _, kind, _ in ended):
                self._host.send(CallsFinished(False))
                self.has_exited = True
                self._sock.shutdown(socket.SHUT_RD)  # the main thread, which waits for calls, ends the worker

    def _relieve(self, relief: Callable[[], None]) -> None:
        with self._writing:
            if not self._ended:
                relief()

    def _put(self, kind: int, payload: bytes) -> None:
        while not self._ring.write(kind, payload, self._busy_ns):
            self._room.clear()
            self._ring.wait_for_room()
            if self._ring.write(kind, payload, self._busy_ns):
                return
            self._host.send(CallsFinished(False))
            self._room.wait()
