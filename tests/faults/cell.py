"""One cell of the fault matrix: a faulty call, innocent ones beside and behind it, and a fresh one after it.

worker 1:  beside ───────────────────────────────── gate opens ─► done
worker 2:          faulty ✗   (its next)  behind 0..3
caller:                     outcome of the faulty call ─► opens the gate ─► innocents ─► fresh call
"""

import importlib
import multiprocessing
import time
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import innocents
from .faults import Fault
from .innocents import Ledger

KINDS = ("Pool", "ProcessPoolExecutor", "Executor")
METHODS = ("fork", "forkserver", "spawn")
LIBRARIES = {"distpool": "distpool.futures", "multiprocessing": "concurrent.futures"}
BEHIND = 4


class Subject:
    """A pool of one class and start method, of distpool or of the standard library, called in one way."""

    def __init__(self, kind: str, method: str, library: str = "distpool", workers: int = 2) -> None:
        module = importlib.import_module(library)
        context = module.get_context(method)
        self.kind = kind
        if kind == "Pool":
            self.pool = context.Pool(workers)
        elif kind == "Executor":
            self.pool = module.Executor(workers, mp_context=context)
        else:
            futures = importlib.import_module(LIBRARIES[library])
            self.pool = futures.ProcessPoolExecutor(workers, mp_context=context)

    def submit(self, function: Any, *args: Any) -> Any:
        return self.pool.apply_async(function, args) if self.kind == "Pool" else self.pool.submit(function, *args)

    def pids(self) -> set[int]:
        """The workers that live."""
        if self.kind == "Pool":
            return {worker.pid for worker in self.pool._pool}
        return set(self.pool._processes or ())

    def end(self) -> None:
        if self.kind == "Pool":
            self.pool.terminate()
            self.pool.join()
        else:
            self.pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> "Subject":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


@dataclass(frozen=True)
class Ended:
    """How a call ended. `hangs`: it did not within its time."""

    value: Any = None
    error: BaseException | None = None
    hangs: bool = False

    @classmethod
    def of(cls, handle: Any, limit_s: float) -> "Ended":
        """Of an AsyncResult or a Future."""
        wait, is_done = (handle.get, handle.ready) if hasattr(handle, "ready") else (handle.result, handle.done)
        try:
            return cls(value=wait(limit_s))
        except (TimeoutError, multiprocessing.TimeoutError) as error:
            return cls(error=error) if is_done() else cls(hangs=True)
        except BaseException as error:
            return cls(error=error)

    @classmethod
    def of_next(cls, results: Any, limit_s: float) -> "Ended":
        """Of the next item of a Pool's iterator."""
        try:
            return cls(value=results.next(limit_s))
        except multiprocessing.TimeoutError:
            return cls(hangs=True)
        except BaseException as error:
            return cls(error=error)

    def in_words(self) -> str:
        if self.hangs:
            return "HANG"
        return "no error" if self.error is None else type(self.error).__name__


@dataclass
class Verdict:
    """What became of a cell's calls."""

    faulty: Ended = field(default_factory=Ended)
    faulty_s: float = 0.0
    beside: Ended = field(default_factory=Ended)
    behind: list[Ended] = field(default_factory=list)
    fresh: Ended = field(default_factory=Ended)
    begun: Counter[str] = field(default_factory=Counter)

    def innocent_lost(self) -> bool:
        right = [Ended(value=number * number) for number in range(BEHIND)]
        return self.beside != Ended(value="beside") or self.behind != right

    def is_unusable(self) -> bool:
        return self.fresh != Ended(value=81)

    def ran_twice(self) -> list[str]:
        """Innocent calls that began more than once."""
        return [line for line, count in self.begun.items() if count > 1]


def run_cell(subject: Subject, fault: Fault, folder: Path, limit_s: float) -> Verdict:
    """Each wait takes at most what is left of `limit_s`, or half a second."""
    ledger = Ledger(folder / "ledger")
    gate = folder / "gate"
    verdict = Verdict()
    give_up_at = time.monotonic() + limit_s

    def left_s() -> float:
        return max(0.5, give_up_at - time.monotonic())

    beside = subject.submit(innocents.stay, ledger, "beside", str(gate))
    if not ledger.wait_for("beside", left_s()):
        raise TimeoutError("the innocent call did not begin")
    argument = fault.make_argument()
    began = time.monotonic()
    faulty = subject.submit(fault.function, argument)
    behind = []
    try:
        behind += (subject.submit(innocents.square, ledger, number) for number in range(BEHIND))
    except BrokenProcessPool:
        pass  # The fault was quicker than this thread: the outcome of the faulty call says whether it was to break.
    verdict.faulty = Ended.of(faulty, left_s())
    verdict.faulty_s = time.monotonic() - began
    gate.touch()
    verdict.beside = Ended.of(beside, left_s())
    verdict.behind = [Ended.of(call, left_s()) for call in behind]
    try:
        verdict.fresh = Ended.of(subject.submit(innocents.square, ledger, 9), left_s())
    except BrokenProcessPool as error:
        verdict.fresh = Ended(error=error)
    verdict.begun = ledger.counts()
    return verdict
