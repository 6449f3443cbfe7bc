"""What is told in the order of results without being one: a worker's output and log records, and notes of our own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distpool.protocol.cluster import WorkerPrinted
from distpool.protocol.messages import WorkerLogged
from distpool.runtime.output import show


class Notice:
    """Stands among the completions. It runs when they do: user code, a log handler say, may run within it."""

    __slots__ = ("_args", "_function")

    def __init__(self, function: Callable[..., None], *args: Any) -> None:
        self._function = function
        self._args = args

    def tell(self) -> None:
        self._function(*self._args)


def notice_of(message: Any) -> Notice | None:
    """For what a worker has printed or logged; None: it is something else."""
    if type(message) is WorkerLogged:
        return Notice(handle_log_record, message.record, message.node)
    if type(message) is WorkerPrinted:
        return Notice(show, message.stream, message.text)
    return None


def log_note(text: str) -> None:
    """A decision that users want to know of, in the log of the name "distpool"."""
    import logging  # only here: a program need not have it

    logging.getLogger("distpool").warning(text)


def handle_log_record(pickled: bytes, node: str) -> None:
    """Give a worker's log record to this process's loggers. `node`: as in `handle_in_driver`."""
    from distpool.runtime.logs import handle_in_driver

    handle_in_driver(pickled, node)
