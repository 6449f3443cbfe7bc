"""Every exception that distpool raises by its own name; where users catch the standard's, of that kind too."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool


class DistpoolError(Exception):
    """The root of distpool's own exceptions."""


class WorkerDied(DistpoolError, BrokenProcessPool):
    """A worker process ended before the call that it had begun was finished.

    `call`: the name of the function. `pid`, `exitcode`: of the process; the exit code is negative for a signal.
    `peak_memory_bytes`: the most memory that it had, None if that is not known. `stderr`: the last lines that it wrote
    there. The message says the same in words, and what may help.
    """

    call: str = ""
    pid: int | None = None
    exitcode: int | None = None
    peak_memory_bytes: int | None = None
    stderr: str = ""


class CallTimeout(DistpoolError, TimeoutError):
    """A call ran for longer than the time limit that its caller had set; the worker that ran it was ended."""


class PoolBroken(DistpoolError, BrokenProcessPool):
    """No call of this pool can run any more, as its initializer always failed, say; the message has the reason."""


class PoolTerminated(DistpoolError, BrokenProcessPool):
    """The pool was terminated before the call was finished."""


class ProtocolError(DistpoolError):
    """A frame could not be read as a message; the peer speaks another version or is not distpool."""


class RemoteError(DistpoolError):
    """An exception of a call that cannot be rebuilt in this process; the message holds its type and traceback."""


class ForeignProcess(DistpoolError, RuntimeError):
    """A pool was used in a process that was forked from its owner."""
