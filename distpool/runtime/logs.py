"""Log records of workers, handled by the driver's loggers.

A worker keeps the driver's levels and none of its handlers; a record that finds no handler there goes to the driver,
which handles it as its own (a NullHandler, which libraries give their loggers, is none). Handlers that the worker's own
code sets up are used as they are, and see what they saw with the standard library.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable
from typing import Any

_PLAIN = frozenset({str, int, float, bool, type(None)})


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
    """Sends records to the driver."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        super().__init__()
        self._forward = send

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


def forward_to_driver(send: Callable[[bytes], None], levels: dict[str, int]) -> None:
    """In a worker, before any user code runs: from now on `send` gets the pickled records."""
    for logger in [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]:
        if isinstance(logger, logging.Logger):
            logger.handlers = []
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)
    forwarding = ForwardingHandler(send)
    own_pid = os.getpid()
    find_handlers = logging.Logger.callHandlers

    def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
        if _has_real_handlers(logger):
            find_handlers(logger, record)
        elif os.getpid() == own_pid:
            forwarding.handle(record)
        elif logging.lastResort is not None and record.levelno >= logging.lastResort.level:
            logging.lastResort.handle(record)  # a child of the worker: the lane is not its own

    setattr(logging.Logger, "callHandlers", call_handlers)  # noqa: B010
    _shield_root()


def _shield_root() -> None:
    """Functions like `logging.warning` configure a root that has no handler; here they shall not, but the worker's own
    code may."""
    root, shield, configure = logging.getLogger(), logging.NullHandler(), logging.basicConfig
    root.addHandler(shield)

    def basic_config(**options: Any) -> None:
        """As `logging.basicConfig`, which does nothing where the root has a handler."""
        if root.handlers == [shield]:
            root.removeHandler(shield)
        configure(**options)

    logging.basicConfig = basic_config


def _has_real_handlers(logger: logging.Logger | None) -> bool:
    """Somebody handles its records in this process. Libraries give their loggers a NullHandler, which does not."""
    while logger is not None:
        for handler in logger.handlers:
            if not isinstance(handler, logging.NullHandler):
                return True
        logger = logger.parent if logger.propagate else None
    return False


def handle_in_driver(pickled: bytes, node: str = "") -> None:
    """Give a worker's record to the logger of its name in this process. `node`: where the worker is, if the record is
    to say so, in its text and as its attribute."""
    record = logging.makeLogRecord(_loads(pickled))
    if node:
        record.node = node
        record.msg = f"[{node}] {record.msg}"
    logger = logging.getLogger(None if record.name == "root" else record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def _dumps(attributes: dict[str, Any]) -> bytes:
    """Plain attributes as they are; what a user added with `extra` each on its own, as it may not survive."""
    plain = {name: value for name, value in attributes.items() if type(value) in _PLAIN}
    extra = {name: _pickled_or_shown(value) for name, value in attributes.items() if type(value) not in _PLAIN}
    return pickle.dumps((plain, extra), 5)


def _loads(pickled: bytes) -> dict[str, Any]:
    plain, extra = pickle.loads(pickled)
    attributes: dict[str, Any] = plain
    for name, (value, shown) in extra.items():
        try:
            attributes[name] = shown if value is None else pickle.loads(value)
        except Exception:  # its class is not known here, say
            attributes[name] = shown
    return attributes


def _pickled_or_shown(value: object) -> tuple[bytes | None, str]:
    try:
        return pickle.dumps(value, 5), repr(value)
    except Exception:
        return None, repr(value)
