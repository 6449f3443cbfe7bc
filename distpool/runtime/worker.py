"""A worker at work: reads its lane on the main thread, runs calls, writes what became of them to the ring."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import time
import traceback
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from distpool.base_errors import ExitActor
from distpool.config import SETTINGS
from distpool.ids import INLINE_FUNCTION, FunctionId
from distpool.interrupts import DEAF, disregard
from distpool.logic.spinning import SpinPolicy
from distpool.objects.refs import noting_refs
from distpool.objects.stores import Attached
from distpool.protocol.codec import decode_lane, encode
from distpool.protocol.messages import (
    CallMode,
    CallsFinished,
    ExitWorker,
    LargeOutcome,
    Message,
    OutcomeKind,
    RoomInRing,
    RunCalls,
    Slice,
    WorkerReady,
    WorkerUnusable,
)
from distpool.roles.worker import ITEM_MODES, WorkerRole
from distpool.runtime.current_call import DEPTH, NUMBER
from distpool.runtime.main_view import CallersMain
from distpool.runtime.missing_modules import name_node
from distpool.runtime.worker_setup import WorkerSetup
from distpool.serialization.buffers import parts_of, standard_parts
from distpool.serialization.remote_errors import encode_failure, trace_of, unencodable
from distpool.transport.frames import DONT_WAIT, receive_frame, send_frame
from distpool.transport.lanes import take_token
from distpool.transport.ring import SMALL_BYTES, Ring

_LARGE_RESULT = SETTINGS.ring_record_bytes
_VALUE = int(OutcomeKind.VALUE)
_ITEM = int(CallMode.ITEM)
_CALL = int(CallMode.CALL)
_BESIDE = int(CallMode.BESIDE)
_PLAIN = frozenset({int, float, bool, type(None), str, bytes})


class Worker:
    """Runs calls. Everything happens on the thread that calls `serve`."""

    def __init__(self, sock: socket.socket, tokens: int, ring: Ring, setup: WorkerSetup, attached: Attached) -> None:
        sock.setblocking(True)
        self._sock = sock
        self._tokens = tokens
        self._ring = ring
        self._setup = setup
        self._role = WorkerRole(SETTINGS.hold_results_s)
        self._spin = SpinPolicy(SETTINGS.spin_s)
        self._functions: dict[FunctionId, Callable[..., Any]] = {}
        self._busy_ns = 0
        self._in_call = False
        self._is_copy = False
        self._beside: Any = None
        self._attached = attached
        self._dump_result = partial(parts_of, main=CallersMain()) if setup.extended_results else standard_parts
        os.register_at_fork(after_in_child=partial(setattr, self, "_is_copy", True))

    def prepare(self, main_failure: BaseException | None) -> None:
        """Run the initializer; if it, or the import of `__main__` before it, failed, tell the caller why and raise."""
        setup = self._setup
        is_pythons_own = signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_IGN, disregard)
        if setup.interruptible and is_pythons_own:
            signal.signal(signal.SIGINT, self._on_interrupt)
        try:
            if main_failure is not None:
                raise main_failure
            setup.initialize(self._ring.items)
            if self._attached.news:
                self._attached.settle()
        except BaseException as error:
            name_node(error, setup.node)
            self.send(WorkerUnusable(trace_of(error).encode()))
            if setup.breaks:
                # Where the standard Executor tells of it.
                import_module("logging").getLogger("concurrent.futures").critical(
                    "Exception in initializer:", exc_info=True
                )
                raise SystemExit(1) from None
            raise
        self.send(WorkerReady())

    def serve(self) -> None:
        """Until ExitWorker. When the caller is gone, the process ends at once, and by its exit code not as it should:
        what its calls have started ends with it, also where the template has not noticed it."""
        role = self._role
        while True:
            piece = role.next_slice()
            if piece is not None:
                (self._begin_beside if piece.mode == _BESIDE else self._run_slice)(piece)
                continue
            message = self._receive()
            if type(message) is ExitWorker or (self._beside is not None and self._beside.has_exited):
                return
            if message is None:
                os._exit(1)
            if type(message) is RunCalls:
                role.handle(message)
            elif type(message) is RoomInRing and self._beside is not None:
                self._beside.has_room()

    # Messages -------------------------------------------------------------------------------------------------------

    def _receive(self) -> Message | None:
        """The next message; before it sleeps it tells what is untold, and spins a little for the next call."""
        try:
            return _decoded(receive_frame(self._sock, DONT_WAIT, mapped=True))
        except BlockingIOError:
            self._attached.look_after_children()
            role = self._role
            just_ran = role.untold
            if just_ran or role.has_stopped:
                self._tell_news()
        except ConnectionResetError:
            return None
        budget_s = self._spin.budget_s() if just_ran else 0.0
        if budget_s:
            until = time.perf_counter() + budget_s
            while time.perf_counter() < until:
                try:
                    frame = receive_frame(self._sock, DONT_WAIT, mapped=True)
                except BlockingIOError:
                    continue
                except ConnectionResetError:
                    return None
                self._spin.spun(hit=True)
                return _decoded(frame)
            self._spin.spun(hit=False)
        try:
            return _decoded(receive_frame(self._sock, mapped=True))
        except ConnectionResetError:
            return None

    def send(self, message: Message) -> None:
        frame = encode(message)
        while True:
            try:
                send_frame(self._sock, frame)
            except BlockingIOError:
                # The caller has as many large frames unread as the kernel allows.
                time.sleep(0.001)
                continue
            except (BrokenPipeError, ConnectionResetError):
                # The caller is gone, and with it everyone who could want the result.
                os._exit(1)
            return

    def _tell_news(self) -> None:
        """Unless the caller watches the ring or has read all of it: who waits for a result is often the quicker one."""
        if self._role.has_stopped or (self._ring.has_records() and not self._ring.reader_looks()):
            self._tell()
        else:
            self._role.told(time.monotonic())

    def _tell(self) -> None:
        self.send(CallsFinished(self._role.has_stopped))
        self._role.told(time.monotonic())

    # Calls ----------------------------------------------------------------------------------------------------------

    def _run_slice(self, piece: Slice) -> None:
        """Claim and run the calls of a slice one after another."""
        DEPTH[0] = piece.depth
        args = piece.args
        if piece.packed:
            items = pickle.loads(args)  # type: ignore[arg-type]
        elif piece.count == 1 and type(args) is not list:
            items = [args]
        else:
            items = args
        if piece.count > 1 and piece.mode == (_ITEM if piece.packed else _CALL):
            function = self._functions.get(piece.function)
            if function is not None:
                self._run_many(function, items, None if piece.packed else self.load_arguments)
                return
        role = self._role
        begun = self._ring.items
        first = NUMBER[0]
        for NUMBER[0], item in enumerate(items, first):
            begun[0] = 0
            if not take_token(self._tokens):
                role.refused()
                return
            began_ns = time.monotonic_ns()
            kind, payload = self._run_call(piece, item)
            ended_ns = time.monotonic_ns()
            self._busy_ns += ended_ns - began_ns
            if self._attached.news:
                self._attached.settle()
            self._write(kind, payload)
            if self._attached.dropped:
                self._attached.flush()
            # Small results cannot fill half of the ring before it is time to tell anyway.
            if role.finished(ended_ns * 1e-9) or (len(payload) > SMALL_BYTES and self._ring.is_half_full()):
                self._tell_news()
        NUMBER[0] += 1

    def _begin_beside(self, piece: Slice) -> None:
        if self._beside is None:  # what only some actors need
            make = import_module("distpool.runtime.calls_beside").CallsBeside
            self._beside = make(self, self._ring, self._sock, self._tokens, self._attached, self._busy_ns)
        if not self._beside.begin(piece):
            self._role.refused()

    def _run_many(self, function: Callable[..., Any], items: Any, load: Callable[[Any], Any] | None) -> None:
        """Claim and run many calls of one function, where each step counts. `load` makes (args, kwargs) of an item;
        without it, the item is the argument."""
        read, dumps, clock = os.read, pickle.dumps, time.monotonic_ns
        tokens, role, plain = self._tokens, self._role, _PLAIN
        news, dropped = self._attached.news, self._attached.dropped
        write = self._ring.small_writer()
        tell_at = role.tell_at_ns()
        # Added to the clock it gives the time in calls: this worker does nothing else here.
        busy_less_clock = self._busy_ns - clock()
        number, first = NUMBER, NUMBER[0]
        for number[0], item in enumerate(items, first):
            try:
                read(tokens, 8)
            except BlockingIOError:
                role.refused()
                break
            try:
                self._in_call = True
                if load is None:
                    value = function(item)
                else:
                    args, kwargs = load(item)
                    value = function(*args, **kwargs)
                self._in_call = False
            except BaseException as error:
                self._in_call = False  # before any call: an interrupt would come out of the handler
                kind, payload = self.failed(error)
            else:
                if type(value) in plain and not self._is_copy:
                    payload = dumps(value, 5)
                    kind = _VALUE
                else:
                    kind, payload = self.succeeded(value)
            if news:
                args = kwargs = value = None
                self._attached.settle()
            now = clock()
            if kind or len(payload) > SMALL_BYTES or not write(payload, now + busy_less_clock):
                self._busy_ns = now + busy_less_clock
                role.untold = True
                self._write(kind, payload)
                if self._ring.is_half_full():
                    self._tell()
                write = self._ring.small_writer()
                tell_at = role.tell_at_ns()
            elif now > tell_at:
                self._tell()
                tell_at = role.tell_at_ns()
            else:
                role.untold = True
            if dropped:
                self._attached.flush()
        else:
            NUMBER[0] += 1
        self._busy_ns = clock() + busy_less_clock

    def _run_call(self, piece: Slice, item: Any) -> tuple[int, bytes]:
        try:
            self._in_call = True
            if not piece.packed:
                item = self.load_arguments(item)
            value = self._apply(piece, item)
            self._in_call = False
        except BaseException as error:
            self._in_call = False  # as above
            return self.failed(error)
        return self.succeeded(value)

    def failed(self, error: BaseException) -> tuple[int, bytes]:
        """SystemExit and KeyboardInterrupt too: they belong to the call, and the worker lives on."""
        self._leave_if_forked()
        if type(error) is ExitActor:
            return OutcomeKind.EXITED, b""
        name_node(error, self._setup.node)
        return OutcomeKind.ERROR, encode_failure(error)

    def succeeded(self, value: Any) -> tuple[int, bytes]:
        if self._is_copy:
            self._leave_if_forked()
        if type(value) in _PLAIN:
            return _VALUE, pickle.dumps(value, 5)
        try:
            parts, refs = noting_refs(self._dump_result, value)
            if type(parts) is bytes and not refs:
                return _VALUE, parts
            results = import_module("distpool.objects.results")
            return OutcomeKind.STORED, results.store_result(self._attached.store(), parts, refs)
        except Exception as error:
            told = unencodable(error, value) if self._setup.maybe_encoding_error else error
            return OutcomeKind.ERROR, encode_failure(told)
        except BaseException as error:  # the value's own code wants to exit: it belongs to the call
            return OutcomeKind.ERROR, encode_failure(error)

    def _on_interrupt(self, signum: int, frame: Any) -> None:
        """Ctrl-C reaches every process of a terminal: here it interrupts the call that runs, and nothing else. So does
        the caller, which means one call only: it may have ended meanwhile."""
        is_meant = self._ring.is_interrupted()
        if is_meant and frame is not None and frame.f_code.co_filename in DEAF:
            return  # it is sent again
        if is_meant is not False and self._in_call:
            if is_meant:
                self._ring.hear_interrupt()
            raise KeyboardInterrupt

    def _leave_if_forked(self) -> None:
        """The call has forked, and this is the child: it must not answer in its parent's place."""
        if self._is_copy:
            raise SystemExit(0)

    def load_arguments(self, pickled: Any) -> Any:
        try:
            return pickle.loads(pickled)
        except BaseException:
            if self._setup.breaks:
                # The standard Executor's worker ends here, and breaks its pool.
                traceback.print_exc()
                os._exit(1)
            raise

    def _apply(self, piece: Slice, item: Any) -> Any:
        mode = piece.mode
        if piece.function == INLINE_FUNCTION:
            function, *rest = item
            item = rest[0] if mode != CallMode.CALL else tuple(rest)
        else:
            known = self._functions.get(piece.function)
            function = self.load_function(piece.function) if known is None else known
        if mode in ITEM_MODES:
            return function(item) if mode == CallMode.ITEM else function(*item)
        if mode == CallMode.CALL:
            args, kwargs = item
            return function(*args, **kwargs)
        if piece.skip:
            item = item[piece.skip :]
        begun = self._ring.items
        # The store before each call tells a caller after our death which item it was.
        if mode == CallMode.CHUNK:
            return [function(each) for begun[0], each in enumerate(item, 1)]
        return [function(*each) for begun[0], each in enumerate(item, 1)]

    def load_function(self, function_id: FunctionId) -> Callable[..., Any]:
        known = self._role.functions[function_id]
        function: Callable[..., Any] = pickle.loads(known.blob)
        if not known.fresh:
            self._functions[function_id] = function
        return function

    def _write(self, kind: int, payload: bytes) -> None:
        """Put the outcome of the oldest call into the ring; a large one goes by a frame, which comes first."""
        if len(payload) > _LARGE_RESULT:
            self.send(LargeOutcome(payload))
            kind, payload = OutcomeKind.FRAME, bytes([kind])
        while not self._ring.write(kind, payload, self._busy_ns):
            self._ring.wait_for_room()
            if self._ring.write(kind, payload, self._busy_ns):
                break
            self._tell()
            self._wait_for_room()
        if kind in (OutcomeKind.FRAME, OutcomeKind.EXITED):
            self._tell()
        if kind == OutcomeKind.EXITED:
            raise SystemExit(0)

    def _wait_for_room(self) -> None:
        while True:
            message = _decoded(receive_frame(self._sock, mapped=True))
            if message is None:
                os._exit(1)
            if type(message) is RoomInRing:
                return
            if type(message) is RunCalls:
                self._role.handle(message)
            elif type(message) is ExitWorker:
                raise SystemExit(0)


def _decoded(frame: Any) -> Message | None:
    return decode_lane(frame) if frame else None
