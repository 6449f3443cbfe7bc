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

_READ_BYTES = 65536
_READS_LIMIT = 32
_TAIL_LINES = 20
_TAIL_LINE_BYTES = 400

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
        self.tail: deque[bytes] = deque(maxlen=_TAIL_LINES)

    def read(self) -> None:
        """Pass on the lines that have come whole."""
        for _ in range(_READS_LIMIT):
            try:
                data = os.read(self.descriptor, _READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self.is_at_end = True
                return
            # A progress bar ends its lines with a carriage return alone.
            end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
            if end:
                self._pass_on(self._line + data[:end])
                self._line = b""
            self._line += data[end:]
            if len(self._line) > _READ_BYTES:
                self.flush()

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
            self.tail.extend(line[:_TAIL_LINE_BYTES] for line in text.splitlines()[-_TAIL_LINES:] if line.strip())
        self._show(self.name, text)


class Output:
    """Both pipes of a worker. Owned by whoever holds the loop."""

    def __init__(self, stdout: int, stderr: int, show: Show) -> None:
        self.streams = (Stream(stdout, "stdout", show), Stream(stderr, "stderr", show))
        self._poll = select.poll()
        for stream in self.streams:
            self._poll.register(stream.descriptor, select.POLLIN)

    def read(self) -> None:
        """Pass on what has come by now; one system call when that is nothing."""
        if self._poll.poll(0):
            for stream in self.streams:
                stream.read()

    def has_part(self) -> bool:
        return any(stream.has_part() for stream in self.streams)

    def flush(self) -> None:
        for stream in self.streams:
            stream.flush()

    def last_lines(self) -> str:
        """Of standard error."""
        return b"\n".join(self.streams[1].tail).decode(errors="replace")

    def close(self) -> None:
        for stream in self.streams:
            os.close(stream.descriptor)


def show(name: str, text: bytes) -> None:
    """Write to this process's own `sys.stdout` or `sys.stderr`, whatever that is at the moment."""
    stream = getattr(sys, name)
    if stream is None:
        return  # a program without a console: nobody reads it
    try:
        buffer = getattr(stream, "buffer", None)
        if buffer is None:
            stream.write(text.decode(errors="replace"))
        else:
            stream.flush()
            buffer.write(text)
        stream.flush()
    except (OSError, ValueError):
        pass  # The stream is closed, or its reader is gone: there is nobody to tell either.


def can_be_forwarded() -> bool:
    """This process has a standard output and a standard error, so their numbers are not those of something else."""
    try:
        os.fstat(1)
        os.fstat(2)
    except OSError:
        return False
    return True
