"""What users call beside the standard names: `init` and `shutdown`, and values behind refs, of the store and of tasks:
`put`, `get`, `wait`, `as_completed`, `release`, `store_stats`, `configure_store`."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from distpool.objects.arrivals import is_here_by
from distpool.objects.bringing import bring_all
from distpool.objects.promises import TaskRef, fetch, is_above, value_of
from distpool.objects.refs import FROM_ABOVE, ObjectRef, noting_refs
from distpool.objects.stats import StoreStats
from distpool.objects.stores import configure, current, get_value, uses_cluster
from distpool.quantities import check_timeout
from distpool.runtime import initialization
from distpool.runtime.addresses import LOCAL, parse_address, undirected_address
from distpool.runtime.main_view import CallersMain, view_of_main
from distpool.serialization.buffers import parts_of
from distpool.serialization.pickling import blame
from distpool.signatures import lists_options

if TYPE_CHECKING:
    from distpool.logic.promises import Promise
    from distpool.objects.generators import ObjectRefGenerator

Waitable = ObjectRef | Future[Any]


@lists_options
def init(
    address: str | None = None,
    *,
    working_dir: str | os.PathLike[str] | Literal[False] | None = None,
    env: Mapping[str, str] | None = None,
    pip: Sequence[str] | str | os.PathLike[str] | None = None,
    namespace: str | None = None,
) -> None:
    """Say where the pools of this program have their workers, and what these find there. Call it before the first one.

    `address`: of a head, as "tcp://host:7117" or "host"; "local": no cluster. By default the variable DISTPOOL_ADDRESS,
    else the head of this user that runs on this machine, else no cluster. The program joins it at once, and stays until
    `shutdown` or its end: refs to what lies on nodes are good for as long, also without a pool.

    `working_dir`: a folder that nodes get a copy of, which is their workers' working directory and first in `sys.path`;
    by default that of the program's script; False: none, workers import by the program's paths. Without a cluster the
    workers are in the folder itself. `env`: environment variables of the workers. `pip`: requirements as pip knows
    them, or the path of a file of them; each node makes an environment that has them, once.

    `namespace`: where the names of this program's actors are, and are looked for, if nothing else is said. Programs of
    a cluster that share one find each other's; by default each has one of its own.

    Raises TypeError and ValueError that say what is valid; RuntimeError when it was called before, or pools are open;
    DistpoolError (HeadUnreachable) when there is no such head, or it does not want this program.
    """
    if initialization.current() is not None:
        raise RuntimeError("distpool.init was called before; call distpool.shutdown first")
    if _has_open_pools():
        raise RuntimeError("pools are open: call distpool.init before the first one, or distpool.shutdown first")
    if address is not None and not isinstance(address, str):
        raise TypeError(f"address is {address!r}, a {type(address).__name__}; it must be a str, {LOCAL!r} or None")
    working_dir = initialization.checked_working_dir(working_dir)
    environment = initialization.checked_environment(env)
    requirements = initialization.checked_requirements(pip)
    namespace = initialization.checked_namespace(namespace)
    if address is None:
        address = undirected_address()
    else:
        address = None if address == LOCAL else parse_address(address, "address")
    if address is None and requirements:
        raise ValueError(
            f"pip is {list(requirements)}, but no cluster is used, and workers of this machine have this program's own "
            "environment: install them there, or name a head"
        )
    _end_session()
    initialization.remember(initialization.Initialization(address, working_dir, environment, requirements, namespace))
    if address is not None:
        try:
            import_module("distpool.runtime.session").join_cluster()
        except BaseException:
            initialization.forget()
            raise


def shutdown() -> None:
    """End all pools of this process, as `terminate` does, and leave the cluster; what `init` said is forgotten."""
    _end_session()
    initialization.forget()


def is_initialized() -> bool:
    """Whether `init` was called, and `shutdown` not since."""
    return initialization.current() is not None


def _has_open_pools() -> bool:
    workers = sys.modules.get("distpool.runtime.workers")
    return workers is not None and bool(workers.OPEN_WORKERS)


def _end_session() -> None:
    """That of this process, if it has one."""
    session = sys.modules.get("distpool.runtime.session")
    if session is not None:
        session.end_session()


def put(value: object) -> ObjectRef:
    """Store `value` once on this node, and return a handle to it.

    Buffers of 64 KiB and more (of NumPy arrays, Arrow tables, pandas columns) are copied once into shared memory, and
    readers on this node map them without a copy; `bytes` are copied once more by each reader. The value is kept for as
    long as any process has a ref to it. One that has refs of tasks or actors' handles in it, and is put by a worker, is
    kept by the worker's program: its ref is that of a task which has ended.

    Raises StoreFull when neither shared memory nor the spill folder has room, and what pickling raises, with the part
    of `value` that cannot be pickled in the message. A ref itself cannot be put (TypeError); a list of refs can.
    """
    if isinstance(value, ObjectRef):
        raise TypeError(f"{value!r} is a ref already: pass it on as it is, or put a list with it")
    store = current()
    main = CallersMain() if hasattr(store, "home_pid") else view_of_main(_start_method())
    try:
        parts, named = noting_refs(partial(parts_of, main=main), value)
    except Exception as error:
        raise blame(error, [("the value", value)], main) from None
    if FROM_ABOVE and any(isinstance(ref, TaskRef) for ref in named):
        return import_module("distpool.tasks.program").program().put(parts, named)  # type: ignore[no-any-return]
    return store.put(parts, named)


def get(refs: Any, *, timeout: float | None = None, readonly: bool = False) -> Any:
    """The value of a ref or future, or a list of the values of a list of them.

    Arrays arrive as private copies whose pages are copied where they are written to: writable, and nobody else sees
    the change. With `readonly` they are the shared memory itself and cannot be written to.

    `timeout`: seconds in all, 0 or more; then TimeoutError says which are not ready. Raises ObjectLost for a value that
    was freed, InvalidRef for a ref that this process cannot ask for, and what a task or the call of a future raised.
    """
    if type(refs) is TaskRef and timeout is None and not readonly:
        return refs.result()
    check_timeout(timeout)
    if isinstance(refs, (ObjectRef, Future)):
        return _get_all([refs], timeout, readonly=readonly)[0]
    _check(refs, "get")
    return _get_all(refs, timeout, readonly=readonly)


def wait(
    refs: Sequence[Waitable | ObjectRefGenerator], *, num_returns: int = 1, timeout: float | None = None
) -> tuple[list[Waitable | ObjectRefGenerator], list[Waitable | ObjectRefGenerator]]:
    """Wait until `num_returns` of the refs or futures are ready, at most `timeout` seconds: (ready, not ready), both in
    the order of `refs`. At most `num_returns` are in the first list. Raises ValueError when there are fewer of them; of
    none there is nothing to wait for.

    A generator is ready when its next step need not wait, as an item is there, or none will come.
    """
    check_timeout(timeout)
    _check(refs, "wait", takes_generators=True)
    if isinstance(num_returns, bool) or not isinstance(num_returns, int):
        raise TypeError(f"num_returns is {num_returns!r}, a {type(num_returns).__name__}; it must be an int")
    if num_returns < 1:
        raise ValueError(f"num_returns is {num_returns}; it must be from 1 to the number of refs")
    if not refs:
        return [], []
    if num_returns > len(refs):
        raise ValueError(f"num_returns is {num_returns}; it must be from 1 to {len(refs)}, the number of refs")
    watched = [_watched(ref) for ref in refs]
    # A value that is to be made again after a loss counts as ready all the same where it was seen to be.
    done = {ref for ref in watched if ref is not None and ref.done()}
    pending = Counter(ref for ref in watched if ref is not None and ref not in done)
    missing = num_returns - (len(refs) - pending.total())
    if missing > 0 and watched == [*refs] and (above := _all_above(pending.elements())):
        fetch(above, missing, timeout)  # with one request, however many there are
    elif missing > 0:
        ends_at = None if timeout is None else time.monotonic() + timeout
        try:
            with closing(_completion().as_completed(pending, timeout)) as completed:
                while missing > 0:
                    ref = next(completed)
                    done.add(ref)
                    missing -= pending[ref]
        except TimeoutError:
            if ends_at is None or time.monotonic() < ends_at:
                raise  # it is a signal handler's
    ready: list[Waitable | ObjectRefGenerator] = []
    others: list[Waitable | ObjectRefGenerator] = []
    for ref, seen in zip(refs, watched, strict=True):
        is_ready = seen is None or seen in done or seen.done()
        (ready if len(ready) < num_returns and is_ready else others).append(ref)
    return ready, others


def _all_above(refs: Iterable[Waitable]) -> list[Promise]:
    """In a worker: the promises of these refs, if all are its program's and pending; else none."""
    if not FROM_ABOVE:
        return []
    promises = []
    for ref in refs:
        if type(ref) is not TaskRef or not is_above(promise := ref.known()):
            return []
        promises.append(promise)
    return promises


def _watched(ref: Waitable | ObjectRefGenerator) -> Waitable | None:
    """What ends when this is ready; None: it is."""
    return ref if isinstance(ref, (ObjectRef, Future)) else ref._front()


def as_completed(refs: Sequence[Waitable], *, timeout: float | None = None) -> Iterator[Waitable]:
    """Each of the refs or futures, once, as soon as it is ready; those of `put` are.

    Raises TimeoutError when not all are ready `timeout` seconds after the first was asked for.
    """
    check_timeout(timeout)
    _check(refs, "as_completed")
    return _completion().as_completed(refs, timeout)  # type: ignore[no-any-return]


def release(refs: ObjectRef | Iterable[ObjectRef]) -> None:
    """Give up refs: their values are freed at once where nobody else holds them, and `get` of them raises ObjectLost.

    Values that came from them stay as they are. To release a ref twice does nothing.
    """
    for ref in refs if isinstance(refs, Iterable) else [refs]:
        if not isinstance(ref, ObjectRef):
            raise TypeError(f"{ref!r} is a {type(ref).__name__}; release takes refs that put returned, or of tasks")
        hold, ref._hold = ref._hold, None
        if hold is not None and not isinstance(ref, TaskRef):  # a task goes on, and its value is nobody's
            hold.end()


def store_stats() -> StoreStats:
    """How full this node's store is."""
    return current().stats()


def configure_store(*, size: str | int | None = None, spill_folder: str | os.PathLike[str] | None = None) -> None:
    """Set how much memory the store of this process may take, and where it puts on disk what does not fit.

    `size`: bytes, or "512MiB", "4GB", or a share of the memory as "30%"; by default the environment variable
    DISTPOOL_STORE_SIZE, or 40 % of the memory of the machine or control group. `spill_folder`: a folder, by default
    DISTPOOL_SPILL_FOLDER, or else /var/tmp. Raises ValueError and TypeError that list what is valid, and RuntimeError
    when the store is in use already.
    """
    configure(size, spill_folder)


def _get_all(refs: Iterable[Waitable], timeout: float | None, *, readonly: bool) -> list[Any]:
    refs = list(refs)
    remaining_s = timeout
    ends_at = None if timeout is None else time.monotonic() + timeout
    if FROM_ABOVE and {TaskRef, ObjectRef}.issuperset(map(type, refs)):
        asked = [promise for ref in refs if type(ref) is TaskRef and is_above(promise := ref.known())]
        fetch(asked, len(asked), timeout)
        remaining_s = None if ends_at is None else max(0.0, ends_at - time.monotonic())
    if timeout is not None or not {TaskRef, ObjectRef}.issuperset(map(type, refs)):
        late = _completion().wait({ref for ref in refs if not ref.done()}, remaining_s).not_done
        if late:
            names = ", ".join(f"{position} ({ref!r})" for position, ref in enumerate(refs) if ref in late)
            raise TimeoutError(f"after {timeout} s {len(late)} of {len(refs)} are not ready: {names}")
    if len(refs) > 1 and uses_cluster():
        bring_all(ref.known() for ref in refs if type(ref) is TaskRef)
    if ends_at is not None:
        _await_arrival(refs, ends_at, timeout)
    if readonly:
        return [_value_of(ref, readonly=True) for ref in refs]
    return [get_value(ref) if type(ref) is ObjectRef else ref.result() for ref in refs]


def _await_arrival(refs: list[Any], ends_at: float, timeout: float | None) -> None:
    """Of the values, which are ready. Raises TimeoutError."""
    late = [ref for ref in refs if type(ref) is TaskRef and not is_here_by(ref.known(), ends_at)]
    if late:
        names = ", ".join(map(repr, late))
        raise TimeoutError(
            f"after {timeout} s the values of {len(late)} of {len(refs)} have not arrived from their nodes: {names}"
        )


def _value_of(ref: Waitable, *, readonly: bool) -> Any:
    if isinstance(ref, TaskRef):
        return value_of(ref.ended(), readonly=readonly)
    return get_value(ref, readonly=readonly) if isinstance(ref, ObjectRef) else ref.result()


def _completion() -> Any:
    """Not every program that has refs waits for futures."""
    return import_module("distpool.futures.completion")


def _check(refs: Any, name: str, *, takes_generators: bool = False) -> None:
    """Raises TypeError for what is no list, or has something in it that nobody can wait for."""

    def is_taken(value: Any) -> bool:
        return isinstance(value, (ObjectRef, Future)) or (takes_generators and _is_generator(value))

    if not isinstance(refs, (list, tuple)):
        text = f"{refs!r} itself: write {name}([...])" if is_taken(refs) else _fault(refs, name)
        raise TypeError(f"{name} takes a list of refs or futures, not {text}")
    for position, ref in enumerate(refs):
        if not is_taken(ref):
            raise TypeError(f"{name} takes refs or futures; number {position} is {_fault(ref, name, is_item=True)}")


def _fault(value: Any, name: str, *, is_item: bool = False) -> str:
    """What a value is that is no ref, and what to write instead, if that can be guessed. `is_item`: of the list."""
    remedy = ""
    if _is_generator(value):
        remedy = ": iterate over it, its items are refs"
    elif value is None:
        remedy = ": a call with num_returns=0 gives no ref"
    elif isinstance(value, (list, tuple)):
        remedy = ": make one list of all refs"
    elif isinstance(value, Mapping):
        remedy = f": write {name}([*refs.values()])"
    elif callable(getattr(type(value), "remote", None)):
        remedy = ": call it by its remote(...), which gives a ref"
    elif callable(value) and getattr(value, "__name__", "") == "remote":
        remedy = ": call it, which gives a ref"
    elif type(value).__name__ == "ActorHandle":
        remedy = ": call a method of it, as in actor.method.remote(...), which gives a ref"
    elif callable(getattr(type(value), "successful", None)):
        remedy = ": its own get() gives the value"
    elif isinstance(value, Iterable) and not isinstance(value, (str, bytes)) and not is_item:
        remedy = f": write {name}([*refs])"
    return f"{value!r}, a {type(value).__name__}{remedy}"


def _is_generator(value: object) -> bool:
    """It is the handle of one; a program that has none need not import its class."""
    return isinstance(value, import_module("distpool.objects.generators").ObjectRefGenerator)


def _start_method() -> str:
    from distpool.context import get_context  # imports what a program with no pool does not need

    return str(get_context().get_start_method())
