"""Interrupt an operation at each point where Python may run a signal's handler, one after the other.

    python -m tests.faults.interrupting METHOD KIND OPERATION STRIDE

Python runs handlers in the main thread when one of its functions is entered and when one of C has been called, and the
one that changes handlers runs the old one first; so a profile function that sees these can raise SIGINT at the n-th of
them. After each interrupt everything must still work, within `HANG_S`. Prints how many points there were; what does not
work ends the program.
"""

import concurrent.futures
import contextlib
import faulthandler
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from multiprocessing import resource_tracker
from typing import Any

import distpool
from distpool.futures import as_completed, wait

from ..runtime.programs import processes_of, until

# The function of C, which `signal.signal` wraps.
_change_handler = import_module("_signal").signal

HANG_S = 10.0
AT_ONCE_S = 3.0


def same(value):
    return value


def first(one, _):
    return one


class Point:
    """A profile function that raises SIGINT at one point."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._passed = 0
        self.where = ""

    def __call__(self, frame: Any, event: str, function: Any) -> None:
        if event in ("call", "c_return") or (event == "c_call" and function is _change_handler):
            self._passed += 1
            if self._passed == self._number:
                code = frame.f_code
                self.where = f"{event} {code.co_name} {code.co_filename}:{frame.f_lineno} {function}"
                signal.raise_signal(signal.SIGINT)


def interrupted(operation: Callable[[], object], number: int) -> str:
    """Run it and interrupt it at its point of that number: where that was; empty when it has not so many."""
    point = Point(number)
    try:
        sys.setprofile(point)
        operation()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(None)
    return point.where


def interrupt_at_each_point(case: Callable[[], contextlib.AbstractContextManager], stride: int) -> int:
    """`case()` prepares, gives what is to be interrupted, and checks afterwards that everything works."""
    number = 1
    where = "nowhere yet"
    while where:
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        try:
            with case() as operation:
                where = interrupted(operation, number)
        except BaseException:
            print(f"interrupted at point {number}: {where}", file=sys.stderr)
            raise
        finally:
            faulthandler.cancel_dump_traceback_later()
        number += stride
    return number - stride


# Calls of a pool and an executor that live on -----------------------------------------------------------------------


def check(pool: Any, executor: Any) -> None:
    """Results come to whoever waits, and callbacks are called although nobody does."""
    called, done = threading.Event(), threading.Event()
    pool.apply_async(same, (3,), callback=lambda value: called.set())
    assert called.wait(AT_ONCE_S)
    executor.submit(same, 1).add_done_callback(lambda future: done.set())
    assert done.wait(AT_ONCE_S)
    assert executor.submit(same, 1).result(AT_ONCE_S) == 1
    assert pool.map_async(same, range(20), chunksize=2).get(AT_ONCE_S) == list(range(20))
    iterator = pool.imap(same, range(5))
    assert [iterator.next(AT_ONCE_S) for _ in range(5)] == list(range(5))
    assert len(list(as_completed([executor.submit(same, n) for n in range(5)], AT_ONCE_S))) == 5


def calls(pool: Any, executor: Any) -> dict[str, Callable[[], object]]:
    def submit(count: int) -> list[Any]:
        return [executor.submit(same, number) for number in range(count)]

    return {
        "apply": lambda: pool.apply(same, (1,)),
        "apply_async": lambda: pool.apply_async(same, (1,)),
        "map": lambda: pool.map(same, range(20), chunksize=3),
        "map of items": lambda: pool.map(same, range(20), chunksize=1),
        "starmap": lambda: pool.starmap(first, [(1, 2)] * 5),
        "imap": lambda: list(pool.imap(same, range(10))),
        "imap_unordered": lambda: list(pool.imap_unordered(same, range(10), chunksize=2)),
        "imap within bounds": lambda: list(pool.imap(same, range(6), buffersize=3)),
        "submit": lambda: submit(3),
        "result": lambda: executor.submit(same, 1).result(AT_ONCE_S),
        "executor's map": lambda: list(executor.map(same, range(5))),
        "as_completed": lambda: list(as_completed(submit(4))),
        "wait": lambda: wait(submit(4)),
        "cancel": lambda: [future.cancel() for future in submit(3)],
    }


@contextlib.contextmanager
def of_calls(pool: Any, executor: Any, operation: Callable[[], object]) -> Iterator[Callable[[], object]]:
    yield operation
    check(pool, executor)


@contextlib.contextmanager
def of_a_new_function(pool: Any, executor: Any) -> Iterator[Callable[[], object]]:
    """A function that travels by value is known to the driver and the workers, or to neither."""

    def new(value):
        return value

    yield lambda: executor.submit(new, 1).result(AT_ONCE_S)
    assert executor.submit(new, 1).result(AT_ONCE_S) == 1
    assert pool.map_async(new, [1, 2], chunksize=1).get(AT_ONCE_S) == [1, 2]


@contextlib.contextmanager
def of_an_iterator(pool: Any, executor: Any, name: str, options: dict[str, Any]) -> Iterator[Callable[[], object]]:
    """An iterator that was interrupted goes on, and ends. What it was about to give may be lost."""
    iterators = []

    def begin() -> None:
        iterators.append(getattr(pool, name)(same, range(30), **options))
        for _ in range(3):
            next(iterators[0])

    yield begin
    rest = []
    with contextlib.suppress(StopIteration):
        while iterators:
            rest.append(iterators[0].next(AT_ONCE_S))
    assert len(rest) >= 26 or not iterators
    check(pool, executor)


ITERATORS = {
    "imap": ("imap", {}),
    "imap_unordered": ("imap_unordered", {}),
    "imap within bounds": ("imap", {"buffersize": 4}),
}


@contextlib.contextmanager
def used_by_others(pool: Any, executor: Any) -> Iterator[None]:
    """Two threads of the program use them meanwhile."""
    ends = threading.Event()

    def use() -> None:
        while not ends.is_set():
            assert pool.apply(same, (1,)) == executor.submit(same, 1).result(AT_ONCE_S)

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        users = [threads.submit(use) for _ in range(2)]
        try:
            yield
        finally:
            ends.set()
    for user in users:
        user.result()


def interrupt_calls(context: Any, kind: str, name: str, stride: int) -> int:
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(context.Pool(2))
        executor = stack.enter_context(distpool.Executor(2, mp_context=context))
        check(pool, executor)
        if kind == "beside others":
            stack.enter_context(used_by_others(pool, executor))
        if kind == "iterator":
            return interrupt_at_each_point(lambda: of_an_iterator(pool, executor, *ITERATORS[name]), stride)
        if name == "a new function":
            return interrupt_at_each_point(lambda: of_a_new_function(pool, executor), stride)
        operation = calls(pool, executor)[name]
        return interrupt_at_each_point(lambda: of_calls(pool, executor, operation), stride)


# The store ----------------------------------------------------------------------------------------------------------

LARGE = bytes(300_000)
STORE_BYTES = 2 << 20


def fill() -> list[Any]:
    """More than the store has room for, so that some of it goes to disk."""
    return [distpool.put(bytearray([number]) * 300_000) for number in range(9)]


def uses_of_the_store(pool: Any, refs: list[Any]) -> dict[str, Callable[[], object]]:
    return {
        "put": lambda: distpool.put(LARGE),
        "get": lambda: distpool.get(refs[0]),
        "put on disk": fill,
        "get from disk": lambda: distpool.get(refs),
        "release": lambda: distpool.release([distpool.put(LARGE), distpool.put(LARGE)]),
        "map of arrays": lambda: pool.map(same, [memoryview(LARGE)] * 4, chunksize=1),
        "map of refs": lambda: pool.map(len, refs[:3], chunksize=1),
    }


@contextlib.contextmanager
def of_the_store(pool: Any, refs: list[Any], operation: Callable[[], object]) -> Iterator[Callable[[], object]]:
    yield operation
    gc.collect()
    assert [distpool.get(ref)[-1] for ref in refs] == list(range(9))
    assert distpool.get(distpool.put(LARGE)) == LARGE
    assert pool.map_async(same, [LARGE] * 3, chunksize=1).get(AT_ONCE_S) == [LARGE] * 3


def interrupt_store(context: Any, name: str, stride: int) -> int:
    distpool.configure_store(size=STORE_BYTES)
    with context.Pool(2) as pool:
        refs = fill()
        operation = uses_of_the_store(pool, refs)[name]
        operation()
        return interrupt_at_each_point(lambda: of_the_store(pool, refs, operation), stride)


# Tasks --------------------------------------------------------------------------------------------------------------

same_remote = distpool.remote(same)
first_remote = distpool.remote(first)


def tasks() -> dict[str, Callable[[], object]]:
    def start(count: int) -> list[Any]:
        return [same_remote.remote(number) for number in range(count)]

    return {
        "remote": lambda: start(3),
        "get": lambda: distpool.get(start(4)),
        "get in time": lambda: distpool.get(start(2), timeout=AT_ONCE_S),
        "a chain": lambda: distpool.get(first_remote.remote(same_remote.remote(same_remote.remote(1)), 2)),
        "several values": lambda: distpool.get(same_remote.options(num_returns=2).remote((1, 2))),
        "wait": lambda: distpool.wait(start(4), num_returns=3, timeout=AT_ONCE_S),
        "as_completed": lambda: list(distpool.as_completed(start(4), timeout=AT_ONCE_S)),
        "a future": lambda: same_remote.remote(1).future().result(AT_ONCE_S),
        "a ref in a value": lambda: same_remote.remote(start(2)).result(AT_ONCE_S),
        "cancel": lambda: [distpool.cancel(ref) for ref in start(3)],
    }


@contextlib.contextmanager
def of_tasks(operation: Callable[[], object]) -> Iterator[Callable[[], object]]:
    yield operation
    refs = [same_remote.remote(number) for number in range(6)]
    assert len(list(as_completed(refs, AT_ONCE_S))) == 6
    assert distpool.get(first_remote.remote(refs[3], refs[4]), timeout=AT_ONCE_S) == 3
    called = threading.Event()
    same_remote.remote(1).future().add_done_callback(lambda _: called.set())
    assert called.wait(AT_ONCE_S)


def interrupt_tasks(name: str, stride: int) -> int:
    operation = tasks()[name]
    operation()
    return interrupt_at_each_point(lambda: of_tasks(operation), stride)


# The life of a pool and an executor ---------------------------------------------------------------------------------


def open_pool(context: Any, opened: list[Any]) -> None:
    opened.append(context.Pool(2))


def open_executor(context: Any, opened: list[Any]) -> None:
    opened.append(distpool.Executor(2, mp_context=context))
    opened[0].submit(same, 1).result(AT_ONCE_S)


def nothing(context: Any, opened: list[Any]) -> None:
    pass


def use_pool(context: Any, opened: list[Any]) -> None:
    with context.Pool(2) as pool:
        pool.map(same, range(10))


def use_executor(context: Any, opened: list[Any]) -> None:
    with distpool.Executor(2, mp_context=context) as executor:
        list(executor.map(same, range(10)))


def close(pool: Any) -> None:
    pool.close()
    pool.join()


def cancel_and_shut_down(executor: Any) -> None:
    for _ in range(5):
        executor.submit(same, 1)
    executor.shutdown(cancel_futures=True)


# What comes first, what is interrupted, and how an object that is there is ended afterwards.
LIVES = {
    "Pool": (nothing, open_pool, "terminate"),
    "with Pool": (nothing, use_pool, ""),
    "join": (open_pool, lambda _, opened: close(opened[0]), "join"),
    "close": (open_pool, lambda _, opened: close(opened[0]), "close"),
    "terminate": (open_pool, lambda _, opened: opened[0].terminate(), "terminate"),
    "Executor": (nothing, open_executor, "shutdown"),
    "with Executor": (nothing, use_executor, ""),
    "shutdown": (open_executor, lambda _, opened: opened[0].shutdown(), "shutdown"),
    "cancel_futures": (open_executor, lambda _, opened: cancel_and_shut_down(opened[0]), "shutdown"),
}


@contextlib.contextmanager
def of_a_life(context: Any, name: str) -> Iterator[Callable[[], object]]:
    """No process is left of it, and a next pool works."""
    before, operation, end = LIVES[name]
    opened: list[Any] = []
    before(context, opened)
    yield lambda: operation(context, opened)
    for one in opened:
        if isinstance(one, distpool.Executor):
            one.shutdown()
        elif end == "join" and one._state != "RUN":
            one.join()  # also when the interrupt came before all that `close` does was done
        elif end == "terminate":
            one.terminate()
        else:
            close(one)
    opened.clear()
    gc.collect()
    assert_no_process_left()
    with context.Pool(1) as pool:
        assert pool.apply_async(same, (1,)).get(AT_ONCE_S) == 1
    assert_no_process_left()


def assert_no_process_left() -> None:
    tracker = resource_tracker._resource_tracker._pid
    assert until(lambda: {process.pid for process in processes_of(os.getpid())} <= {tracker}, AT_ONCE_S)


def interrupt_lives(context: Any, name: str, stride: int) -> int:
    with context.Pool(1) as pool:  # the standard library's resource tracker, for one, is not started a second time
        pool.apply(same, (1,))
    return interrupt_at_each_point(lambda: of_a_life(context, name), stride)


def main(method: str, kind: str, name: str, stride: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    context = distpool.get_context(method)
    if kind == "life":
        print(interrupt_lives(context, name, int(stride)))
    elif kind == "tasks":
        print(interrupt_tasks(name, int(stride)))
    elif kind == "store":
        print(interrupt_store(context, name, int(stride)))
    else:
        print(interrupt_calls(context, kind, name, int(stride)))


if __name__ == "__main__":
    main(*sys.argv[1:])
