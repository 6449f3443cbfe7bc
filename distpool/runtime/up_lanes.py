"""The program's ends of its workers' ways up: what they say is given to whoever serves them, who answers by the lease.

Of a worker on this machine it comes by a socket of its own, of one elsewhere by the link to its node; there the node's
loop has the socket, and does not read what it passes on.
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from distpool.base_errors import ProtocolError
from distpool.ids import LeaseId
from distpool.protocol.cluster import DownSaid, UpSaid
from distpool.protocol.codec import decode_up, encode
from distpool.protocol.messages import LeaseLost, Message, StreamItems
from distpool.serialization.remote_errors import encode_failure
from distpool.transport.frames import DONT_WAIT, receive_frame, send_frame
from distpool.transport.lanes import Lane

BACKLOG_LIMIT = 10_000
"""Answers that a worker has not read. Each was asked for by somebody who waits."""

SAID = frozenset({UpSaid, StreamItems})
"""The messages that `UpLanes.said` is for."""

_READ_WRITE = select.EPOLLIN | select.EPOLLOUT

Serve = Callable[[LeaseId, Any], None]
"""Of a worker: what it says, and at last `LeaseLost`."""


class UpLane:
    """One worker's."""

    def __init__(self, lease: LeaseId, sock: socket.socket) -> None:
        self.lease = lease
        self.sock = sock
        self.unsent: deque[bytes] = deque()


class UpLanes:
    """Owned by whoever holds the loop."""

    def __init__(
        self,
        epoll: select.epoll,
        tell: Callable[[LeaseId, bytes], None],
        pass_on: Callable[[LeaseId, Message], None],
        condemn: Callable[[LeaseId, str], None],
    ) -> None:
        """`tell`: a worker of this machine has said this frame; `pass_on`: to one that is elsewhere;
        `condemn`: end a worker that does not keep to the protocol, and say why."""
        self.lanes: dict[int, UpLane] = {}
        """By descriptor."""
        self._of: dict[LeaseId, UpLane] = {}
        self._epoll = epoll
        self._tell = tell
        self._pass_on = pass_on
        self._condemn = condemn
        self.serve: Serve = self._refuse
        """Sees to what workers say."""
        self._served: set[LeaseId] = set()

    # Sockets --------------------------------------------------------------------------------------------------------

    def open(self, lease: LeaseId, worker: Lane) -> None:
        """If the worker has sent its end. A second one takes the place of the first: its maker was interrupted."""
        while worker.passed:
            self._forget(lease)
            sock = socket.socket(fileno=worker.passed.pop(0))
            lane = self._of[lease] = UpLane(lease, sock)
            self.lanes[sock.fileno()] = lane
            self._epoll.register(sock, select.EPOLLIN)

    def expect(self, lease: LeaseId, worker: Lane) -> None:
        """The worker is being started."""
        worker.hear_first = partial(self._hear_first, lease, worker)

    def _hear_first(self, lease: LeaseId, worker: Lane) -> None:
        """What it has said before the results that were just read, which may name what it told of."""
        self.open(lease, worker)
        self.read(lease)

    def ready(self, descriptor: int, event: int) -> None:
        """There is something to read, or room for what could not be sent."""
        lane = self.lanes[descriptor]
        if event & select.EPOLLOUT and self._flush(lane):
            self._epoll.modify(lane.sock, select.EPOLLIN)
        self.read(lane.lease)

    def read(self, lease: LeaseId) -> None:
        """All that the worker has said by now."""
        lane = self._of.get(lease)
        while lane is not None:
            try:
                frame = receive_frame(lane.sock, DONT_WAIT)
            except BlockingIOError:
                return
            except ConnectionResetError:
                frame = b""
            if not frame:
                # The worker's end is closed: it has ended, which is told elsewhere.
                self._forget(lease)
                return
            self._tell(lease, bytes(frame))
            lane = self._of.get(lease)

    def send(self, lease: LeaseId, frame: bytes) -> None:
        """To a worker of this machine, now or when it has room. One that has ended hears nothing."""
        lane = self._of.get(lease)
        if lane is None:
            return
        had_unsent = bool(lane.unsent)
        lane.unsent.append(frame)
        if had_unsent:
            if len(lane.unsent) > BACKLOG_LIMIT:
                self._forget(lease)
                self._condemn(lease, f"it has not read {BACKLOG_LIMIT} answers that it had asked for")
        elif not self._flush(lane):
            self._epoll.modify(lane.sock, _READ_WRITE)

    def bury(self, lease: LeaseId) -> None:
        """The worker has ended: hear its last words."""
        self.read(lease)
        self._forget(lease)

    def close(self) -> None:
        """In a forked child: let go of the descriptors."""
        for lane in self.lanes.values():
            lane.sock.close()
        self.lanes.clear()
        self._of.clear()

    def _flush(self, lane: UpLane) -> bool:
        """Send what waits; False when some of it must still wait."""
        while lane.unsent:
            try:
                send_frame(lane.sock, [lane.unsent[0]], DONT_WAIT)
            except BlockingIOError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                lane.unsent.clear()
                break
            lane.unsent.popleft()
        return True

    def _forget(self, lease: LeaseId) -> None:
        lane = self._of.pop(lease, None)
        if lane is not None:
            self._epoll.unregister(lane.sock)
            del self.lanes[lane.sock.fileno()]
            lane.sock.close()

    # Messages -------------------------------------------------------------------------------------------------------

    def lost(self, message: LeaseLost) -> None:
        """A worker of this program has ended, wherever it was."""
        if message.lease in self._served:
            self._served.discard(message.lease)
            self.serve(message.lease, message)

    def said(self, lease: LeaseId, told: Any) -> None:
        """By a worker of this program, wherever it is: one of `SAID`."""
        try:
            message = decode_up(told.frame) if isinstance(told, UpSaid) else told
            self._served.add(lease)
            self.serve(lease, message)
        except ProtocolError as error:
            self._forget(lease)
            self._condemn(lease, f"what it said to its program cannot be read: {error}")

    def answer(self, lease: LeaseId, message: Message) -> None:
        """Tell a worker, wherever it is."""
        frame = b"".join(encode(message))
        if lease in self._of:
            self.send(lease, frame)
        else:
            self._pass_on(lease, DownSaid(frame))  # or it has ended

    def _refuse(self, lease: LeaseId, message: Any) -> None:
        """Nothing of this program has to do with tasks."""
        number = getattr(message, "number", None)
        if number is not None:
            from distpool.protocol.upcalls import RequestRefused  # what few programs need

            error = RuntimeError(f"process {os.getpid()}, the program of this worker, runs no tasks")
            self.answer(lease, RequestRefused(number, encode_failure(error)))
