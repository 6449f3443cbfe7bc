"""A worker's way up to its program: a socket pair that is made when the worker first has something to say there.

    any thread ── tell, ask ──► send ──► program (`up_lanes`)
    whoever waits for an answer reads the socket: ◄── its own answer, and those of others, who are woken

There is no thread of its own: one of those that wait reads, and when it leaves it wakes another. A coroutine's answer
is read by its event loop, or by such a thread.
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from distpool.base_errors import ForeignProcess
from distpool.interrupts import Deferral
from distpool.protocol.codec import decode_down, encode
from distpool.protocol.messages import Message
from distpool.protocol.upcalls import ForgetRequest, RequestRefused
from distpool.runtime.locks import Wakeup
from distpool.runtime.own_way_up import FORKED
from distpool.serialization.remote_errors import decode_failure
from distpool.transport.frames import Packet, frame_of, send_frame, take_packet

if TYPE_CHECKING:
    import asyncio

Request = Callable[[int], Message]
"""Makes the message of a request of its number."""


class Waiter(Protocol):
    """Who waits for an answer."""

    def give(self, answer: Message) -> None:
        """By whoever has read it, from any thread."""
        ...

    def take_over(self) -> bool:
        """Nobody reads: whether it will."""
        ...


class ThreadWaiter:
    """A thread."""

    def __init__(self) -> None:
        self.answer: Message | None = None
        self.wakeup = Wakeup()

    def give(self, answer: Message) -> None:
        self.answer = answer
        self.wakeup.set()

    def take_over(self) -> bool:
        if self.answer is not None:
            return False
        self.wakeup.set()
        return True


class CoroutineWaiter:
    """A coroutine, whose event loop watches the socket by itself."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[Message] = loop.create_future()
        self._loop = loop

    def give(self, answer: Message) -> None:
        try:
            self._loop.call_soon_threadsafe(self._set, answer)
        except RuntimeError:
            pass  # The event loop is closed: nobody waits any more.

    def take_over(self) -> bool:
        return False

    def _set(self, answer: Message) -> None:
        if not self.future.done():
            self.future.set_result(answer)


class CallbackWaiter:
    """Something that is told by whichever thread reads the answer."""

    def __init__(self, give: Callable[[Message], None]) -> None:
        self.give = give

    def take_over(self) -> bool:
        return False


class UpLane:
    """The worker's end. Any thread may call any method; when the program is gone, the process ends at once."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._numbers = count(1)
        self._waiting: dict[int, Waiter] = {}
        # Frames that have left the kernel and were not given to anybody yet.
        self._packets: deque[Packet] = deque()
        # Under 0: who reads the socket now. A dict, as `setdefault` asks and takes in one step.
        self._reader: dict[int, object] = {}
        self._interrupted = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._poll.register(self._interrupted, select.POLLIN)
        self._watching: dict[asyncio.AbstractEventLoop, int] = {}
        self._is_foreign = False
        # Answers that nobody waits for here; the thread that reads then, if no other does; and to count and start them.
        self._callbacks = 0
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def tell(self, message: Message) -> None:
        """Say this. It is heard before any result that this worker tells later. Raises ForeignProcess."""
        self._check_process()
        self._send(message)

    def ask(self, request: Request, timeout_s: float | None = None) -> Any:
        """The answer; None when it has not come in time. Raises what the program refuses with, and ForeignProcess."""
        self._check_process()
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        number = next(self._numbers)
        waiter = ThreadWaiter()
        deferral = Deferral(lambda: self._end_wait(waiter), lambda: False)
        handler = deferral.begin()
        try:
            self._waiting[number] = waiter
            self._send(request(number))
            while waiter.answer is None and not deferral.noted:
                remaining_s = None if ends_at is None else ends_at - time.monotonic()
                if remaining_s is not None and remaining_s <= 0:
                    break
                self._wait(waiter, remaining_s)
        finally:
            try:
                self._leave(number, was_answered=waiter.answer is not None)
            finally:
                deferral.end(handler)
        return _checked(waiter.answer)

    def ask_value(self, request: Request, timeout_s: float | None = None) -> Any:
        """What the program answers as a pickle; None when that has not come in time. Raises as `ask`."""
        answer = self.ask(request, timeout_s)
        return None if answer is None else pickle.loads(answer.pickled)

    async def ask_async(self, request: Request) -> Any:
        """The answer, for a coroutine. Raises what the program refuses with, and ForeignProcess."""
        from asyncio import get_running_loop  # whoever has no coroutines need not have it

        self._check_process()
        loop = get_running_loop()
        number = next(self._numbers)
        waiter = CoroutineWaiter(loop)
        try:
            self._waiting[number] = waiter
            self._watch(loop)
            self._send(request(number))
            return _checked(await waiter.future)
        finally:
            self._unwatch(loop)
            self._leave(number, was_answered=waiter.future.done() and not waiter.future.cancelled())

    def ask_later(self, request: Request, give: Callable[[Message], None]) -> int:
        """Have `give` called with the answer, on another thread or this one. The number of the request. Raises
        ForeignProcess."""
        self._check_process()
        number = next(self._numbers)

        def take(answer: Message) -> None:
            if self._waiting.pop(number, None) is not None:
                with self._starting:
                    self._callbacks -= 1
                give(answer)

        self._waiting[number] = CallbackWaiter(take)
        with self._starting:
            self._callbacks += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._read_for_callbacks, name="distpool-up", daemon=True)
                self._thread.start()
        self._send(request(number))
        return number

    def close_after_fork(self) -> None:
        """In a child of the worker, which cannot use it, and in children of that."""
        if self._is_foreign:
            return  # the descriptors are closed, and their numbers may be others' by now
        self._is_foreign = True
        self._sock.close()
        os.close(self._interrupted)

    # Waiting --------------------------------------------------------------------------------------------------------

    def _wait(self, waiter: ThreadWaiter, timeout_s: float | None) -> None:
        """Until there is an answer to anybody, Ctrl-C, or nobody else that reads."""
        try:
            if self._reader.setdefault(0, waiter) is waiter:
                ready = self._poll.poll(None if timeout_s is None else timeout_s * 1000)
                if any(descriptor == self._interrupted for descriptor, _ in ready):
                    os.eventfd_read(self._interrupted)
                self._read()
                return
        finally:
            if self._reader.get(0) is waiter:
                self._reader.clear()
        # Who reads wakes somebody when it leaves, and so found this one among those that wait.
        waiter.wakeup.wait(-1.0 if timeout_s is None else timeout_s)

    def _read_for_callbacks(self) -> None:
        """On a thread of its own, while there are any: read, if nobody else does."""
        waiter = ThreadWaiter()
        number = next(self._numbers)
        self._waiting[number] = waiter
        while True:
            with self._starting:
                if not self._callbacks:
                    self._thread = None
                    break
            self._wait(waiter, None)
        self._waiting.pop(number, None)
        self._wake_another()

    def _end_wait(self, waiter: ThreadWaiter) -> None:
        """Ctrl-C, while its handler must wait."""
        waiter.wakeup.set()
        os.eventfd_write(self._interrupted, 1)

    def _leave(self, number: int, *, was_answered: bool) -> None:
        self._waiting.pop(number, None)
        if not was_answered:
            self._send(ForgetRequest(number))
        self._wake_another()

    def _wake_another(self) -> None:
        if self._reader:
            return  # that one wakes somebody when it leaves
        for waiter in list(self._waiting.values()):
            if waiter.take_over():
                return

    # Reading --------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Give whoever waits what has come."""
        try:
            while True:
                take_packet(self._sock, self._packets)
                if not self._packets[-1][0]:
                    break
        except BlockingIOError:
            pass
        except ConnectionResetError:
            os._exit(1)
        while self._packets:
            frame = frame_of(self._packets[0])
            if not frame:
                os._exit(1)  # The program is gone, and with it everyone who could want a result.
            answer = decode_down(frame)
            waiter = self._waiting.get(answer.number)
            if waiter is not None:
                waiter.give(answer)
            self._packets.popleft()

    def _read_for_loop(self) -> None:
        """By an event loop whose coroutines wait."""
        me = object()
        try:
            if self._reader.setdefault(0, me) is me:
                self._read()
        finally:
            if self._reader.get(0) is me:
                self._reader.clear()
                self._wake_another()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        coroutines = self._watching.get(loop, 0)
        if not coroutines:
            loop.add_reader(self._sock, self._read_for_loop)
        self._watching[loop] = coroutines + 1

    def _unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        left = self._watching.get(loop, 0) - 1
        if left > 0:
            self._watching[loop] = left
        elif self._watching.pop(loop, None) is not None:
            loop.remove_reader(self._sock)

    # Sending --------------------------------------------------------------------------------------------------------

    def _send(self, message: Message) -> None:
        frame = encode(message)
        while True:
            try:
                send_frame(self._sock, frame)
            except BlockingIOError:
                # The program has as many large frames unread as the kernel allows.
                time.sleep(0.001)
                continue
            except (BrokenPipeError, ConnectionResetError):
                os._exit(1)
            return

    def _check_process(self) -> None:
        if self._is_foreign:
            raise ForeignProcess(FORKED.format(pid=os.getpid()))


def _checked(answer: Any) -> Any:
    if isinstance(answer, RequestRefused):
        raise decode_failure(answer.failure)[0]
    return answer
