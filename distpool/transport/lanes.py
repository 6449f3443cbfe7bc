"""The caller's end of a worker's lane: calls go out with a token each, results come in by the ring.

A token is one count of an eventfd in semaphore mode. The worker takes one right before it begins a call; the caller
takes what is left to get calls back, or to learn after a death which calls had begun. The kernel gives each token once.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from distpool.base_errors import ProtocolError
from distpool.protocol.codec import decode_lane, encode
from distpool.protocol.messages import (
    CallsDone,
    CallsFinished,
    Death,
    LargeOutcome,
    Message,
    OpenUpLane,
    OutcomeKind,
    RoomInRing,
    RunCalls,
    StreamItems,
    WorkerLogged,
)
from distpool.transport.frames import receive_frame, send_frame
from distpool.transport.ring import NUMBERED, Ring, without_number

_TOKEN = 8
_ERROR = int(OutcomeKind.ERROR)


def make_tokens() -> int:
    """An eventfd that gives out its counts one by one."""
    return os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)


def take_token(tokens: int) -> bool:
    """Take one token, if there is one."""
    try:
        os.read(tokens, _TOKEN)
    except BlockingIOError:
        return False
    return True


def _do_nothing() -> None:
    pass


class Lane:
    """Owned by whoever holds the loop."""

    def __init__(self, sock: socket.socket, tokens: int, ring: Ring, adopt: Callable[[bytes], Any]) -> None:
        """`adopt` takes what is told of a result in the store, and gives what stands for it from then on."""
        sock.setblocking(False)
        self.sock = sock
        self.tokens = tokens
        self.ring = ring
        self._adopt = adopt
        self.is_at_end = False
        self.ended = 0
        """Calls whose results were read."""
        self._unsent: deque[tuple[Message, int]] = deque()
        self._large: deque[bytes] = deque()
        self._read_ahead: list[Message] = []
        """Log records and items that were read when something else was due."""
        self.passed: list[int] = []
        """The descriptor of the worker's way up, until somebody takes it."""
        self._has_way_up = False
        self.hear_first: Callable[[], None] = _do_nothing
        """Sees to what the worker has said elsewhere before the results that were just read."""
        self._told_read = 0
        self._has_stopped = False
        """The worker has dropped what it had in hand, and that was read when something else was due."""
        self._busy_ns = 0

    def send(self, message: Message) -> None:
        """Send now, or keep until `flush` when the socket is full. A worker that has ended is told of elsewhere."""
        calls = 0
        if type(message) is RunCalls:
            for piece in message.slices:
                calls += piece.count
        self._unsent.append((message, calls))
        self.flush()

    def flush(self) -> bool:
        """Send what waits; False when some of it must still wait."""
        while self._unsent:
            message, calls = self._unsent[0]
            if calls:
                os.eventfd_write(self.tokens, calls)
            try:
                send_frame(self.sock, encode(message))
            except BlockingIOError:
                self._take_tokens(calls)
                return False
            except (BrokenPipeError, ConnectionResetError):
                # The tokens stay: they count as not begun when the death is reported.
                self._unsent.popleft()
                continue
            self._unsent.popleft()
        return True

    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def take_back(self) -> int:
        """Take back all calls that the worker has not begun: how many.

        Either it will find a token missing, and say that it has stopped, or nothing is taken: also what has not been
        sent yet stays, for a worker that has nothing else to do reads it in a moment.
        """
        taken = self._take_all_tokens()
        if not taken:
            return 0
        unsent = sum(calls for _, calls in self._unsent)
        # Functions are sent once, so those that wait must not go away with the calls that they came with.
        functions = [blob for message, _ in self._unsent if type(message) is RunCalls for blob in message.functions]
        kept: list[Message] = [message for message, _ in self._unsent if type(message) is not RunCalls]
        if functions:
            kept.insert(0, RunCalls([], functions))
        self._unsent = deque((message, 0) for message in kept)
        return unsent + taken

    def mark_interrupt(self, ended: int) -> bool:
        """The call that runs when so many have ended is the one to be interrupted; False: it has ended, or was."""
        return self.ended == ended and self.ring.mark_interrupt()

    def left_by(self, death: Death, stderr: str) -> Death:
        """After the worker's death: with how many of its calls it had not begun, and how many items of its chunk it
        had."""
        unbegun = sum(calls for _, calls in self._unsent) + self._take_all_tokens()
        begun = self.ring.items_begun()
        left: Death = msgspec.structs.replace(death, unbegun=unbegun, items_begun=begun, stderr=stderr)
        return left

    def receive(self) -> list[Message]:
        """All that has come: results as one CallsDone, after what came before them; other messages as they are."""
        messages = self.take_read_ahead()
        stopped = False
        while not self.is_at_end:
            try:
                frame = receive_frame(self.sock, passed=self.passed)
            except BlockingIOError:
                break
            except ConnectionResetError:
                self.is_at_end = True
                break
            if not frame:
                self.is_at_end = True
                break
            match decode_lane(frame):
                case CallsFinished(this_stopped):
                    stopped = stopped or this_stopped
                case LargeOutcome(payload):
                    self._large.append(payload)  # type: ignore[arg-type]
                case WorkerLogged() | StreamItems() as told:
                    self._read_told(told)
                    messages += self.take_read_ahead()
                case OpenUpLane():
                    self._has_way_up = True
                case other:
                    messages.append(other)
        done = self.peek(stopped=stopped)
        messages += self.take_read_ahead()
        if done is not None:
            messages.append(done)
        return messages

    def take_read_ahead(self) -> list[Message]:
        """What came before the results that `peek` has just given."""
        messages, self._read_ahead = self._read_ahead, []
        return messages

    def has_unread_frames(self) -> bool:
        """What comes before results in the ring: `receive`, and not only `peek`."""
        return (
            self.ring.frames_told() != self._told_read
            or bool(self._read_ahead)
            or self.ring.has_way_up() != self._has_way_up
        )

    def peek(self, *, stopped: bool = False) -> CallsDone | None:
        """The results that lie in the ring, told of or not. What came before them is to be taken before."""
        ring = self.ring
        outcomes = ring.read_all()
        self.ended += len(outcomes)
        if ring.take_wait():
            self.send(RoomInRing())
        if not outcomes and not stopped:
            return None
        read_to = 0
        if ring.has_way_up():
            read_to = ring.read_to()
            self._find(lambda: self._has_way_up)
            self.hear_first()
        told = ring.frames_told()
        if told != self._told_read:
            self._find(lambda: self._told_read >= told)
        numbers: list[int] = []
        for position, (kind, payload) in enumerate(outcomes):
            if kind > _ERROR:
                if kind & NUMBERED:
                    kind, number, payload = without_number(kind, payload)
                    numbers.append(number)
                if kind == OutcomeKind.FRAME:
                    kind, payload = self._large_outcome(payload)
                if kind == OutcomeKind.STORED:
                    payload = self._adopt(payload)
                outcomes[position] = kind, payload
        stopped, self._has_stopped = stopped or self._has_stopped, False
        busy_ns, self._busy_ns = self._busy_ns, ring.busy_ns()
        return CallsDone(outcomes, (self._busy_ns - busy_ns) / 1e9, stopped, numbers, read_to)

    def close(self) -> None:
        while self.passed:
            os.close(self.passed.pop())
        self.sock.close()
        os.close(self.tokens)
        self.ring.close()

    def _large_outcome(self, kind: bytes) -> tuple[int, bytes]:
        self._find(lambda: bool(self._large))
        return kind[0], self._large.popleft()

    def _find(self, is_found: Callable[[], bool]) -> None:
        """Read on to what was sent before the results that were just read: it is there."""
        while not is_found():
            match decode_lane(receive_frame(self.sock, passed=self.passed)):
                case OpenUpLane():
                    self._has_way_up = True
                case LargeOutcome(payload):
                    self._large.append(payload)  # type: ignore[arg-type]
                case WorkerLogged() | StreamItems() as told:
                    self._read_told(told)
                case CallsFinished(stopped):
                    self._has_stopped = self._has_stopped or stopped
                case other:
                    raise ProtocolError(f"a {type(other).__name__} came before results that were there")

    def _read_told(self, told: WorkerLogged | StreamItems) -> None:
        self._told_read += 1
        if type(told) is StreamItems and any(kind == OutcomeKind.STORED for kind, _ in told.outcomes):
            if self._has_way_up:
                self.hear_first()  # it may name tasks that were started before it
            for position, (kind, payload) in enumerate(told.outcomes):
                if kind == OutcomeKind.STORED:
                    told.outcomes[position] = kind, self._adopt(payload)
        self._read_ahead.append(told)

    def _take_all_tokens(self) -> int:
        taken = 0
        while take_token(self.tokens):
            taken += 1
        return taken

    def _take_tokens(self, count: int) -> None:
        for _ in range(count):
            take_token(self.tokens)
