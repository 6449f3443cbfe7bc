"""The same scenario on the standard library and on distpool, and what must be equal afterwards.

A scenario is a plain function that takes one subject (a `Library`, a pool, an executor, a module) and returns a value
or raises. `compare` runs it on both subjects of a `Pair`. Whoever expects an exception says so with `raises`, so that a
scenario which is broken in itself cannot pass by failing twice in the same way.
"""

import gc
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Generic, Literal, TypeVar

import pytest

from . import tasks

Subject = TypeVar("Subject")

# A result that takes longer than this is a hang.
LIMIT_S = 20
LARGE = 100_000
"""Bytes that leave a pickle."""

# For modules about what knows nothing of how workers are started: waiting for futures, say.
UNDER_FORK = [
    pytest.mark.usefixtures("start_method"),
    pytest.mark.parametrize("start_method", ["fork"], indirect=True),
]


@dataclass(frozen=True)
class Pair(Generic[Subject]):
    """The same thing twice: the standard library's and distpool's."""

    standard: Subject
    distpool: Subject


@dataclass(frozen=True)
class Library:
    """One of the two libraries, used with one start method."""

    name: str
    multiprocessing: ModuleType
    futures: ModuleType
    context: Any

    def pool(self, *args: Any, **kwargs: Any) -> Any:
        return self.context.Pool(*args, **kwargs)

    def executor(self, *args: Any, **kwargs: Any) -> Any:
        return self.futures.ProcessPoolExecutor(*args, mp_context=self.context, **kwargs)


@dataclass(frozen=True)
class Failure:
    """An exception, as far as the two libraries must agree on it."""

    kind: str
    message: str
    cause: str | None

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        cause = None if error.__cause__ is None else standard_name(type(error.__cause__))
        return cls(standard_name(type(error)), normalised(str(error)), cause)


def standard_name(kind: type[BaseException]) -> str:
    """The class by which users of the standard library catch it: distpool's own subclasses count as their base."""
    for ancestor in kind.__mro__:
        if ancestor.__module__.partition(".")[0] != "distpool":
            return f"{ancestor.__module__}.{ancestor.__qualname__}"
    raise AssertionError(f"{kind} has no base")


def normalised(text: str) -> str:
    """`text` without what differs from run to run or names the library."""
    text = re.sub(r"<[\w.]+ object at 0x[0-9a-f]+>", "<object>", text)
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    text = re.sub(r"(Process|PoolWorker)-[\d:]+", r"\1-N", text)
    return text.replace("distpool", "multiprocessing")


@dataclass(frozen=True)
class Raised:
    """The scenario itself ended with this failure, where a `Failure` alone may also be what it returned."""

    failure: Failure


def outcome(scenario: Callable[[Subject], Any], subject: Subject) -> Any:
    """What the scenario returned, or `Raised`."""
    try:
        return scenario(subject)
    except Exception as error:
        return Raised(Failure.of(error))
    finally:
        # A standard pool is cyclic garbage with semaphores in it. Where the collector finds it by itself in the middle
        # of the standard resource tracker, that one fails or waits for its own lock.
        gc.collect()


def compare(
    scenario: Callable[[Subject], Any],
    pair: Pair[Subject],
    *,
    raises: type[BaseException] | None = None,
    message: Literal["same", "contained", "any"] = "same",
) -> None:
    """Run `scenario` on both and require the same outcome.

    With `raises`, both must end with that kind of exception. `message`: distpool's message is the standard one, or
    contains it and may say more, or is its own.
    """
    expected = outcome(scenario, pair.standard)
    if raises is None:
        assert not isinstance(expected, Raised), f"the scenario does not work on the standard library: {expected}"
    else:
        assert isinstance(expected, Raised), f"the standard library raises nothing and returns {expected!r}"
        assert expected.failure.kind == standard_name(raises), f"the standard library raises {expected}"
    actual = outcome(scenario, pair.distpool)
    if raises is None or message == "same":
        assert actual == expected
        return
    assert isinstance(actual, Raised), f"distpool raises nothing and returns {actual!r}"
    assert actual.failure.kind == expected.failure.kind
    if message == "contained":
        assert expected.failure.message in actual.failure.message


def start_both_workers(run: Callable[..., Iterable[int]]) -> None:
    """Give a pool of two workers calls by its `map` until both have run some. They may start late, and links to nodes
    with them, those for large values too: now, so that no test seems to leave them behind."""
    seen: set[int] = set()
    give_up_at = time.monotonic() + LIMIT_S
    while len(seen) < 2:
        assert time.monotonic() < give_up_at, "there is one worker instead of two"
        seen.update(run(tasks.pid_of_reader_after, [(0.05, bytes(LARGE))] * 4, chunksize=1))


def failure_of(call: Callable[[], Any]) -> Failure:
    """The failure of `call`, for a scenario that goes on after it."""
    try:
        result = call()
    except Exception as error:
        return Failure.of(error)
    raise AssertionError(f"no exception was raised, but {result!r} returned")
