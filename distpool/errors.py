"""Every exception that distpool raises by its own name; where users catch the standard's, of that kind too."""

from __future__ import annotations

from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool

from distpool.base_errors import CallTimeout as CallTimeout
from distpool.base_errors import DistpoolError as DistpoolError
from distpool.base_errors import ForeignProcess as ForeignProcess
from distpool.base_errors import HeadUnreachable as HeadUnreachable
from distpool.base_errors import InvalidRef as InvalidRef
from distpool.base_errors import InvalidSetting as InvalidSetting
from distpool.base_errors import ObjectLost as ObjectLost
from distpool.base_errors import ProtocolError as ProtocolError
from distpool.base_errors import RemoteError as RemoteError
from distpool.base_errors import StoreFull as StoreFull
from distpool.base_errors import TooManyWaiting as TooManyWaiting
from distpool.base_errors import UnusableKey as UnusableKey


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


class NodeLost(WorkerDied):
    """The node on which a call had begun, or may have, was lost: its agent or machine ended, or cannot be reached.

    `node`: its name. The process id and the exit code of the worker are None.
    """

    node: str = ""


class OutOfMemory(WorkerDied, MemoryError):
    """Memory was about to run out, and the worker of this call was ended before the system would have ended something.

    The message has the largest workers, and how much was in use; the setting `memory_limit` says how much may be.
    """


class ActorDied(DistpoolError):
    """An actor cannot answer this call, nor any other: it is dead. The message says why.

    `actor`: the name of its class. `died_at`: when, in seconds since the epoch. `pid`, `exitcode`: of its last worker,
    if it died with that. When its constructor raised, that exception is the cause.
    """

    actor: str = ""
    died_at: float | None = None
    pid: int | None = None
    exitcode: int | None = None


class ActorUnavailable(DistpoolError):
    """An actor's worker died while it ran this call, and the actor is started again: other calls are answered.

    `actor`, `pid`, `exitcode`: as of ActorDied.
    """

    actor: str = ""
    pid: int | None = None
    exitcode: int | None = None


class PoolBroken(DistpoolError, BrokenProcessPool):
    """No call of this pool can run any more, as its initializer always failed, say; the message has the reason."""


class ResourcesUnavailable(PoolBroken, ValueError):
    """No node that is known can ever have what a worker needs; the message shows that beside what the nodes have."""


class PoolTerminated(DistpoolError, BrokenProcessPool):
    """The pool was terminated before the call was finished."""


class TaskCancelled(DistpoolError, CancelledError):
    """The task was cancelled by `distpool.cancel`."""
