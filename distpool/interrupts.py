"""Ctrl-C, where it must not take effect at once.

It reaches every process of a terminal: while one is being started, the driver alone is to hear it. And Python runs its
handler after any call of a function in the main thread, so also between taking a lock and the next statement. In an
import Python ignores in some moments what the handler raises, and msgspec 0.22 crashes when it is raised while a
decoder is made: so a program that is interrupted while it opens its first pool would run on, or die of SIGSEGV.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

# The C functions: the wrappers of `signal` convert each value to an enum, which takes microseconds.
_signal: Any = import_module("_signal")

_SIGINT = int(signal.SIGINT)
_PATIENCE_S = 0.5

DEAF = frozenset({"<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"})
"""The files of code that has callbacks of weak references, in which Python ignores whatever a handler raises."""


_main_thread: list[int | None] = [threading.main_thread().ident]


def in_main_thread() -> bool:
    """Where Python runs the handlers of signals."""
    return threading.get_ident() == _main_thread[0]


class Deferral:
    """In the main thread: from `begin` to `end` Ctrl-C is noted, and takes effect at the end. `on_noted` is told.

    What is done meanwhile is short, unless there are callbacks of the user's in it: one that comes long after the
    first takes effect at once where `has_callbacks()` says so.
    """

    def __init__(self, on_noted: Callable[[], object], has_callbacks: Callable[[], bool]) -> None:
        self.noted = False
        self._noted_at = 0.0
        self._on_noted = on_noted
        self._has_callbacks = has_callbacks
        self._handler: Any = None

    def begin(self) -> Any:
        """What `end` is to be given. Nothing happens in another thread, without a handler, and within itself."""
        if not in_main_thread():
            return None
        handler = _signal.getsignal(_SIGINT)
        if not callable(handler) or self._handler is not None:
            return None
        self.noted = False
        # Python runs the old handler first if Ctrl-C came just now; when that raises, nothing has begun.
        _signal.signal(_SIGINT, self._note)
        self._handler = handler
        return handler

    def end(self, handler: Any) -> None:
        if handler is None:
            return
        self._handler = None
        try:
            # One that came just now is noted before the handler is back, or raises as soon as it is.
            _signal.signal(_SIGINT, handler)
        finally:
            # Others stand aside while one is noted.
            noted, self.noted = self.noted, False
        if noted:
            _signal.raise_signal(_SIGINT)

    def _note(self, signum: int, frame: Any) -> None:
        now = time.monotonic()
        if not self.noted:
            self.noted = True
            self._noted_at = now
            self._on_noted()
        elif self._handler is not None and now > self._noted_at + _PATIENCE_S and self._has_callbacks():
            raise KeyboardInterrupt


def _restore_in_child() -> None:
    """What is forked meanwhile has the handler of the program, and its only thread for the main one."""
    _main_thread[0] = threading.get_ident()
    handler = before = _signal.getsignal(_SIGINT)
    while isinstance(getattr(handler, "__self__", None), Deferral) and handler.__self__._handler is not None:
        handler = handler.__self__._handler
    if handler is not before:
        _signal.signal(_SIGINT, handler)


os.register_at_fork(after_in_child=_restore_in_child)


@contextmanager
def deferred() -> Iterator[None]:
    """Within, Ctrl-C waits, but one that comes long after the first."""
    deferral = Deferral(lambda: None, lambda: True)
    handler = deferral.begin()
    try:
        yield
    finally:
        deferral.end(handler)


@contextmanager
def held_back() -> Iterator[bool]:
    """Within, this thread does not take it, and a process that it starts does not either until it lets it in. Gives
    whether it is to do so, as this thread did."""
    try:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {_SIGINT})
    except KeyboardInterrupt:  # one that came just before, and is heard when it is blocked already
        let_in()
        raise
    try:
        yield signal.SIGINT not in before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def let_in() -> None:
    """In a process that was started so, when it knows what to do."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {_SIGINT})


def disregard(signum: int, frame: Any) -> None:
    """The handler of a worker that is not ready. Not SIG_IGN, which programs that it starts would inherit."""
