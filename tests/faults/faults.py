"""The 23 faults of one call, and what its caller must see of each."""

import threading
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.pool import MaybeEncodingError
from typing import Any

from distpool.errors import WorkerDied

from . import deeds


@dataclass(frozen=True)
class Fault:
    """A call that goes wrong. `make_argument` makes its argument in the caller.

    `seen`: what the caller of a Pool and of an Executor gets. `seen_in_executor`: where an Executor's differs from a
    Pool's, as it does in the standard library. `breaks`: the standard library promises that it breaks a
    ProcessPoolExecutor.
    """

    name: str
    function: Callable[..., Any]
    seen: type[BaseException]
    make_argument: Callable[[], Any] = int
    seen_in_executor: type[BaseException] | None = None
    breaks: bool = False

    def seen_by(self, kind: str) -> type[BaseException]:
        """The exception that the caller of this class of pool must get."""
        if kind == "Pool":
            return self.seen
        if kind == "ProcessPoolExecutor" and self.breaks:
            return BrokenProcessPool
        return self.seen_in_executor or self.seen


def dies(name: str, function: Callable[..., Any], make_argument: Callable[[], Any] = int) -> Fault:
    return Fault(name, function, WorkerDied, make_argument, breaks=True)


def argument(deed: Callable[..., Any]) -> Callable[[], Any]:
    return lambda: deeds.WhileUnpickled(deed)


FAULTS = (
    dies("kill -9 self while running", deeds.kill_oneself),
    dies("segfault while running", deeds.segfault),
    dies("os._exit(0) in task", deeds.leave),
    Fault("sys.exit(3) in task", deeds.exit_with_three, SystemExit),
    Fault("KeyboardInterrupt raised in task", deeds.be_interrupted, KeyboardInterrupt),
    dies("os.abort in task", deeds.abort),
    Fault("arg raises at pickle", deeds.same, ValueError, lambda: deeds.WhilePickled(deeds.refuse)),
    Fault("arg unpicklable (lock)", deeds.same, TypeError, threading.Lock),
    Fault("arg raises at unpickle", deeds.same, ValueError, argument(deeds.refuse), breaks=True),
    dies("arg segfaults at unpickle", deeds.same, argument(deeds.segfault)),
    dies("arg os._exit at unpickle", deeds.same, argument(deeds.leave)),
    Fault("result unpicklable (lock)", deeds.return_a_lock, MaybeEncodingError, seen_in_executor=TypeError),
    Fault(
        "result raises at pickle", deeds.return_what_refuses_to_pickle, MaybeEncodingError, seen_in_executor=ValueError
    ),
    Fault("result sys.exit at pickle", deeds.return_what_exits_at_pickle, SystemExit),
    dies("result segfaults at pickle", deeds.return_what_segfaults_at_pickle),
    Fault("result raises at unpickle", deeds.return_what_refuses_to_unpickle, ValueError, breaks=True),
    Fault(
        "result too deep (100k nested list)",
        deeds.return_what_is_too_deep,
        MaybeEncodingError,
        seen_in_executor=RecursionError,
    ),
    Fault("exception __init__ needs args", deeds.raise_with_required_arguments, deeds.NeedsArguments),
    Fault("exception unpicklable", deeds.raise_with_a_lock, deeds.HoldsLock),
    Fault("RecursionError", deeds.recurse, RecursionError),
    Fault("MemoryError", deeds.exhaust_memory, MemoryError),
    Fault("chained exception (raise from)", deeds.raise_chained, RuntimeError),
    Fault("ExceptionGroup", deeds.raise_a_group, ExceptionGroup),
)

BY_NAME = {fault.name: fault for fault in FAULTS}
