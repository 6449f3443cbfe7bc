"""What a pool's workers need to know before their first call."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import msgspec

from distpool.ids import NO_STORE, StoreId
from distpool.objects.refs import ObjectRef
from distpool.runtime.program_paths import ProgramPaths


class WorkerSetup(msgspec.Struct, frozen=True):
    """What a worker needs before its first call. Under `fork` it is inherited; otherwise `pickled` holds (initializer,
    initargs) and `main` the keys by which `__main__` is imported again under the standard rules."""

    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    pickled: bytes | None = None
    main: dict[str, Any] = {}
    maybe_encoding_error: bool = False
    """A result that cannot be pickled raises what it does with the standard Pool."""
    breaks: bool = False
    """As the standard Executor's workers do, end when arguments cannot be unpickled."""
    extended_results: bool = False
    """Results may be what only cloudpickle can pickle."""
    interruptible: bool = True
    """The driver does not ignore Ctrl-C, so its workers do not either."""
    paths: ProgramPaths | None = None
    """Of a caller on another machine: its modules'."""
    node: str = ""
    """The name of the node, if the caller is on another machine."""
    program: StoreId = NO_STORE
    """The store of the process that runs what its workers' calls start."""
    native_threads: int = 1
    log_levels: dict[str, int] = {}

    def initialize(self, begun: Any) -> None:
        """Run the initializer; `begun`: where it is noted that it has begun."""
        initializer, initargs = self.initializer, self.initargs
        if self.pickled is not None:
            initializer, initargs = pickle.loads(self.pickled)
        elif any(isinstance(arg, ObjectRef) for arg in initargs):
            initargs = tuple(arg.result() if isinstance(arg, ObjectRef) else arg for arg in initargs)
        if initializer is not None:
            begun[0] = 1
            initializer(*initargs)
