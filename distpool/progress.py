"""A progress bar for `progress=True`: tqdm's where it is installed, else a plain line on standard error.

It advances when calls end, in whatever order, and not when their results are taken.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Protocol


class Bar(Protocol):
    """What shows progress. `total` is None while nobody knows it."""

    total: int | None

    def update(self, count: int) -> object: ...

    def refresh(self) -> object: ...

    def close(self) -> None: ...


class Progress:
    """Counts calls that have ended. Every method may be called from any thread.

    A bar that fails, as standard error is closed say, is not shown any more: the calls matter more.
    """

    def __init__(self, total: int | None, *, bar: Bar | None = None) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._expects_no_more = False
        self._bar = bar
        if bar is None:
            with self._unless_it_fails():
                self._bar = _bar(total)

    def advance(self, count: int = 1) -> None:
        """So many more have ended; not more than the total, as a last chunk that failed may have been a short one."""
        with self._unless_it_fails():
            if self._bar is not None:
                total = self._bar.total
                count = count if total is None else min(count, total - self._count)
                self._count += count
                self._bar.update(count)
                if self._expects_no_more and self._count == total:
                    self._close()

    def expect(self, total: int) -> None:
        """There will be so many in all."""
        with self._unless_it_fails():
            if self._bar is not None:
                self._bar.total = total
                self._bar.refresh()

    def expect_no_more(self) -> None:
        """The total will not grow: close when all of it has ended."""
        with self._unless_it_fails():
            self._expects_no_more = True
            if self._bar is not None and self._count == (self._bar.total or 0):
                self._close()

    def close(self) -> None:
        with self._unless_it_fails():
            self._close()

    def _close(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()

    @contextmanager
    def _unless_it_fails(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except Exception:
                self._bar = None


class PlainLine:
    """`12/100 calls, 3.4 s`: rewritten in place on a terminal, printed at each tenth elsewhere."""

    _REDRAW_AFTER_S = 0.1

    def __init__(self, total: int | None) -> None:
        self.total = total
        self._count = 0
        self._began = time.monotonic()
        self._drawn_at = float("-inf")
        self._drawn_count = -1
        self._is_terminal = sys.stderr is not None and sys.stderr.isatty()

    def update(self, count: int) -> None:
        self._count += count
        now = time.monotonic()
        if self._is_terminal:
            if now - self._drawn_at >= self._REDRAW_AFTER_S:
                self._draw(now)
        elif self.total and self._count * 10 // self.total > max(self._drawn_count, 0) * 10 // self.total:
            self._draw(now)

    def refresh(self) -> None:
        """The total has become known; the next update shows it."""

    def close(self) -> None:
        if self._drawn_count != self._count:
            self._draw(time.monotonic())
        if self._is_terminal:
            self._write("\n")

    def _draw(self, now: float) -> None:
        self._drawn_at = now
        self._drawn_count = self._count
        of_total = "" if self.total is None else f"/{self.total}"
        line = f"{self._count}{of_total} calls, {now - self._began:.1f} s"
        self._write(f"\r{line}" if self._is_terminal else f"{line}\n")

    def _write(self, text: str) -> None:
        if sys.stderr is not None:
            sys.stderr.write(text)
            sys.stderr.flush()


def _bar(total: int | None) -> Bar:
    try:
        tqdm: Any = import_module("tqdm")
    except ImportError:
        return PlainLine(total)
    return tqdm.tqdm(total=total, unit="call")  # type: ignore[no-any-return]
