"""The standard output and standard error of one worker, as they arrive at the driver: in order, and in whole lines.

A worker writes into two pipes. Whatever it wrote before it told of a result is passed on before that result is. A line
that does not end is passed on when nothing follows for a while, or when the worker has ended. The last lines of
standard error are kept, for the day on which the worker dies.
"""

from __future__ import annotations

import os
import select
import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from distpool.ids import LeaseId

_READ_BYTES = 65536
_READS_LIMIT = 32
_PIECE_BYTES = 4096
"""A pipe takes so many at once; longer text may come in pieces."""
_LINE_LIMIT_BYTES = 1024 * 1024
_KEPT_LINES = 400
_TAIL_LINES = 20
_TAIL_LINE_BYTES = 400
_CRASH = b"Fatal Python error"
_OF_CRASH = (b"  ", b"Thread ", b"Current thread", b"Extension modules", b"Python runtime")

Show = Callable[[str, bytes], None]
"""Pass this text on to the driver's stream of that name: "stdout" or "stderr"."""


class Stream:
    """One pipe of a worker."""

    def __init__(self, descriptor: int, name: str, show: Show) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.name = name
        self.is_at_end = False
        self._show = show
        self._line = b""
        self._kept: deque[bytes] = deque(maxlen=_KEPT_LINES)

    def read(self) -> bool:
        """Pass on the lines that have come whole. True: what is left has just begun, or is still pouring in."""
        is_fresh = False
        for _ in range(_READS_LIMIT):
            try:
                data = os.read(self.descriptor, _READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                self.is_at_end = True
                break
            # A progress bar ends its lines with a carriage return alone.
            end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
            is_fresh = is_fresh or end > 0 or not self._line or len(data) >= _PIECE_BYTES
            if end:
                self._pass_on(self._line + data[:end])
                self._line = b""
            self._line += data[end:]
            if len(self._line) > _LINE_LIMIT_BYTES:
                self.flush()
        return is_fresh

    def has_part(self) -> bool:
        """A line has begun and not ended."""
        return bool(self._line)

    def flush(self) -> None:
        """Pass on a line that has not ended."""
        if self._line:
            self._pass_on(self._line)
            self._line = b""

    def _pass_on(self, text: bytes) -> None:
        if self.name == "stderr":
            self._kept.extend(line[:_TAIL_LINE_BYTES] for line in text.splitlines()[-_KEPT_LINES:] if line.strip())
        self._show(self.name, text)

    def last_lines(self) -> bytes:
        """Of standard error."""
        return b"\n".join(last_words(list(self._kept)))


def last_words(lines: list[bytes]) -> list[bytes]:
    """What to tell of a dead worker's lines: the last ones; of the report of a crash, whose beginning says where it
    was and whose end is in the runtime, the first ones of the thread that crashed."""
    for position in reversed(range(len(lines))):
        if lines[position].startswith(_CRASH):
            report = lines[position + 1 :]
            at = next((number for number, line in enumerate(report) if line.startswith(b"Current thread")), 0)
            return [*lines[max(0, position - _TAIL_LINES // 2) : position + 1], *report[at : at + _TAIL_LINES]]
        if not lines[position].startswith(_OF_CRASH):
            break
    return lines[-_TAIL_LINES:]


class Output:
    """Both pipes of a worker."""

    def __init__(self, stdout: int, stderr: int, show: Show) -> None:
        self.streams = (Stream(stdout, "stdout", show), Stream(stderr, "stderr", show))
        self._poll = select.poll()
        for stream in self.streams:
            self._poll.register(stream.descriptor, select.POLLIN)

    def read(self) -> list[Stream] | None:
        """Pass on what has come by now; one system call when that is nothing (None). The streams whose rest is
        fresh."""
        if not self._poll.poll(0):
            return None
        return [stream for stream in self.streams if stream.read()]

    def flush(self) -> None:
        for stream in self.streams:
            stream.flush()

    def last_lines(self) -> str:
        """Of standard error."""
        return self.streams[1].last_lines().decode(errors="replace")

    def close(self) -> None:
        for stream in self.streams:
            os.close(stream.descriptor)


class Outputs:
    """What all workers of this process print. Owned by whoever holds the loop."""

    def __init__(
        self, flush_part_after_s: float, epoll: select.epoll, show: Callable[[LeaseId, str, bytes], None]
    ) -> None:
        """`show`: gets what a worker has written to its "stdout" or "stderr"."""
        self.pipes: dict[int, LeaseId] = {}
        """The pipes that are watched."""
        self.flush_at: dict[Stream, float] = {}
        """Streams with a line that has begun and not ended, and when it is passed on all the same."""
        self._outputs: dict[LeaseId, Output] = {}
        self._flush_part_after_s = flush_part_after_s
        self._epoll = epoll
        self._show = show

    def open(self, lease: LeaseId) -> list[int]:
        """Watch two new pipes: the ends that the worker writes to, standard output first."""
        pipes = [os.pipe(), os.pipe()]
        output = self._outputs[lease] = Output(pipes[0][0], pipes[1][0], partial(self._show, lease))
        for stream in output.streams:
            self.pipes[stream.descriptor] = lease
            self._epoll.register(stream.descriptor, select.EPOLLIN)
        return [writer for _, writer in pipes]

    def read(self, lease: LeaseId, now: float) -> None:
        """Pass on what a worker has written by now."""
        output = self._outputs.get(lease)
        if output is None:
            return
        fresh = output.read()
        if fresh is None:
            return
        for stream in output.streams:
            if stream.is_at_end:
                self._forget(stream)
            if not stream.has_part():
                self.flush_at.pop(stream, None)
            elif stream in fresh or stream not in self.flush_at:
                self.flush_at[stream] = now + self._flush_part_after_s

    def flush_parts(self, now: float) -> None:
        """Lines that have begun and were not ended for a while: a question, or dots that show progress."""
        for stream in [stream for stream, at in self.flush_at.items() if at <= now]:
            del self.flush_at[stream]
            stream.flush()

    def bury(self, lease: LeaseId) -> str:
        """The worker has ended: pass on what it still wrote; its last lines on standard error."""
        output = self._outputs.pop(lease, None)
        if output is None:
            return ""
        output.read()
        output.flush()
        for stream in output.streams:
            self.flush_at.pop(stream, None)
            self._forget(stream)
        output.close()
        return output.last_lines()

    def close(self) -> None:
        """In a forked child: let go of every pipe, without a word to anybody."""
        for output in self._outputs.values():
            output.close()
        self._outputs.clear()

    def _forget(self, stream: Stream) -> None:
        if self.pipes.pop(stream.descriptor, None) is not None:
            self._epoll.unregister(stream.descriptor)


def show(name: str, text: bytes) -> None:
    """Write to this process's own `sys.stdout` or `sys.stderr`, whatever that is at the moment.

    Where that fails, write to what it was when the process began.
    """
    for stream in (getattr(sys, name), getattr(sys, f"__{name}__")):
        if stream is None:
            return  # a program without a console: nobody reads it
        try:
            _write(stream, text)
        except Exception:
            continue  # It is closed, its reader is gone, or it is a user's own that fails: the next one.
        return


def _write(stream: Any, text: bytes) -> None:
    flush = getattr(stream, "flush", _nothing)
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        stream.write(text.decode(errors="replace"))
    else:
        flush()
        buffer.write(text)
    flush()


def _nothing() -> None:
    """For a stream that only writes."""


def can_be_forwarded() -> bool:
    """This process has a standard output and a standard error, so their numbers are not those of something else."""
    try:
        os.fstat(1)
        os.fstat(2)
    except OSError:
        return False
    return True
