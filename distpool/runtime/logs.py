"""Log records of workers, handled by the driver's loggers.

A worker keeps the driver's levels and none of its handlers; a record that finds no handler there goes to the driver,
which handles it as its own. Handlers that the worker's own code sets up are used as they are, and see what they saw
with the standard library.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any


def snapshot_of_levels() -> dict[str, int]:
    """The levels that this process has set, by the names of their loggers; the root's is ''."""
    levels = {
        name: logger.level
        for name, logger in list(logging.Logger.manager.loggerDict.items())
        if isinstance(logger, logging.Logger) and logger.level != logging.NOTSET
    }
    levels[""] = logging.getLogger().level
    return levels


class ForwardingHandler(logging.Handler):
    """Sends records to the driver, unless some handler of this process takes them."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        super().__init__()
        self._forward = send
        self._pid = os.getpid()
        self._fallback = logging.lastResort

    def handle(self, record: logging.LogRecord) -> bool:
        if self._is_handled_here(record):
            return False
        if os.getpid() != self._pid:  # a child of the worker: the lane is not its own
            fallback = self._fallback
            return bool(fallback is not None and record.levelno >= fallback.level and fallback.handle(record))
        return bool(super().handle(record))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            attributes = dict(record.__dict__)
            attributes["msg"] = record.getMessage()
            attributes["args"] = None
            if record.exc_info:
                attributes["exc_text"] = record.exc_text or logging.Formatter().formatException(record.exc_info)
                attributes["exc_info"] = None
            self._forward(_dumps(attributes))
        except Exception:
            self.handleError(record)

    def _is_handled_here(self, record: logging.LogRecord) -> bool:
        logger: logging.Logger | None = logging.getLogger(None if record.name == "root" else record.name)
        while logger is not None:
            for handler in logger.handlers:
                if handler is not self and not isinstance(handler, logging.NullHandler):
                    return True
            logger = logger.parent if logger.propagate else None
        return False


def forward_to_driver(send: Callable[[bytes], None], levels: dict[str, int]) -> None:
    """In a worker, before any user code runs: from now on `send` gets the pickled records."""
    root = logging.getLogger()
    for logger in [root, *logging.Logger.manager.loggerDict.values()]:
        if isinstance(logger, logging.Logger):
            logger.handlers = [handler for handler in logger.handlers if isinstance(handler, logging.NullHandler)]
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)
    forwarding = ForwardingHandler(send)
    # At the root as well: functions like `logging.warning` configure a root that has no handler.
    root.addHandler(forwarding)
    logging.lastResort = forwarding
    configure = logging.basicConfig

    def basic_config(**options: Any) -> None:
        """As `logging.basicConfig`, where only the handler that forwards to the driver is in its way."""
        if root.handlers == [forwarding]:
            root.removeHandler(forwarding)
        configure(**options)

    logging.basicConfig = basic_config


def handle_in_driver(pickled: bytes) -> None:
    """Give a worker's record to the logger of its name in this process."""
    record = logging.makeLogRecord(pickle.loads(pickled))
    logger = logging.getLogger(None if record.name == "root" else record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def _dumps(attributes: dict[str, Any]) -> bytes:
    try:
        return pickle.dumps(attributes, 5)
    except Exception:  # something that the user added with `extra`
        return pickle.dumps({name: _plain(value) for name, value in attributes.items()}, 5)


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | type(None)) else repr(value)


def take_streams(stdout: int, stderr: int) -> None:
    """In a worker, before any user code runs: standard output and standard error are these pipes from now on."""
    for name, number, pipe in (("stdout", 1, stdout), ("stderr", 2, stderr)):
        os.dup2(pipe, number)
        os.close(pipe)
        stream = getattr(sys, name)
        try:
            if stream.fileno() == number:
                # By lines, as on a terminal: what a call prints is there before its result.
                stream.reconfigure(line_buffering=True)
                continue
        except (AttributeError, OSError, ValueError):
            pass  # None, or something that the driver put there: a notebook's, a test's.
        errors = "backslashreplace" if number == 2 else None
        setattr(sys, name, os.fdopen(number, "w", buffering=1, errors=errors, closefd=False))
