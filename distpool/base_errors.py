"""The errors that need nothing of the standard Executor, so that no worker imports it; `errors` has them all."""

from __future__ import annotations


class DistpoolError(Exception):
    """The root of distpool's own exceptions."""


class ExitActor(BaseException):
    """Raised by `exit_actor`: the call has no result, and the worker ends. No `except Exception` is to catch it."""


class CallTimeout(DistpoolError, TimeoutError):
    """A call ran for longer than the time limit that its caller had set; the worker that ran it was ended."""


class ProtocolError(DistpoolError):
    """A frame could not be read as a message; the peer speaks another version or is not distpool."""


class RemoteError(DistpoolError):
    """An exception of a call that cannot be rebuilt in this process; the message holds its type and traceback."""


class ForeignProcess(DistpoolError, RuntimeError):
    """A pool was used in a process that was forked from its owner."""


class StoreFull(DistpoolError, MemoryError):
    """Neither the store's memory nor its spill folder has room for a value; the message says who takes it."""


class ObjectLost(DistpoolError, LookupError):
    """The object of a ref is gone: it was released, its home has ended, or its copy on disk is damaged."""


class InvalidRef(DistpoolError, ValueError):
    """A ref of a store that this process cannot reach."""


class InvalidSetting(DistpoolError, ValueError):
    """A setting that is unknown or makes no sense; the message names it, where it was found, and what is valid."""


class TooManyWaiting(DistpoolError, RuntimeError):
    """As many workers as may wait for calls that theirs have started; the message says what helps."""


class UnusableKey(DistpoolError):
    """A key file that is missing, damaged or of another kind; the message says what to do."""


class HeadUnreachable(DistpoolError, ConnectionError):
    """A cluster's head could not be reached, or refused; the message says what was tried and what to look at.

    `step`: where joining it came to an end: "name", "port", "keys", "answer" or "welcome"; empty for what came later.
    `refusal`: why a connection was refused there; empty when none was.
    """

    step: str = ""
    refusal: str = ""
