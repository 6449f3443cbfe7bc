"""Calls that start calls and wait for them, in real workers, by the plainest program that can serve them."""

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from distpool.ids import INLINE_FUNCTION
from distpool.logic.calls import CallOptions
from distpool.logic.group_plan import GroupPlan
from distpool.protocol.messages import OutcomeKind
from distpool.protocol.upcalls import AwaitPromises, PromiseOutcome, PromisesTold, RequestRefused, SubmitTask
from distpool.runtime import session
from distpool.runtime.current_call import DEPTH
from distpool.runtime.launch_plan import LaunchPlan
from distpool.runtime.locks import Event
from distpool.runtime.own_way_up import way_up
from distpool.runtime.workers import Workers
from distpool.serialization.remote_errors import decode_failure, encode_failure
from tests.runtime.programs import LIMIT_S

numbers = count(1)


def start(function, *args) -> int:
    """In a worker: have the program run this call."""
    promise = os.getpid() << 32 | next(numbers)
    call = call_of(function, *args)
    way_up().tell(SubmitTask([promise], INLINE_FUNCTION, None, int(OutcomeKind.VALUE), call, [], b"", "", DEPTH[0] + 1))
    return promise


def values_of(*promises: int) -> list:
    told = way_up().ask(lambda number: AwaitPromises(number, list(promises), len(promises)))
    for outcome in told.outcomes:
        if outcome.kind == OutcomeKind.ERROR:
            raise decode_failure(outcome.payload)[0]
    return [pickle.loads(outcome.payload) for outcome in told.outcomes]


def call_of(function, *args) -> bytes:
    return pickle.dumps((function, args, {}))


class Serving:
    """Promises by number, and who waits for them."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self.outcomes: dict[int, tuple[int, bytes]] = {}
        self.asked: list[tuple[int, AwaitPromises]] = []
        self.loop = session._current[0].loop
        self.loop.up_lanes.serve = self.serve
        self.most_workers = 0

    def serve(self, lease, message) -> None:
        match message:
            case SubmitTask():
                self.run(message.promises[0], message.call, message.depth)
            case AwaitPromises(number):
                if self.is_ready(message):
                    self.answer(lease, message)
                elif why := self.loop.client.waits(lease):
                    self.loop.up_lanes.answer(lease, RequestRefused(number, encode_failure(RuntimeError(why))))
                else:
                    self.asked.append((lease, message))

    def run(self, promise: int, call: bytes, at: int = 0) -> None:
        self.workers.hand_in_call(INLINE_FUNCTION, call, Promise(self, promise), CallOptions(depth=at))

    def is_ready(self, asked: AwaitPromises) -> bool:
        return all(promise in self.outcomes for promise in asked.promises)

    def answer(self, lease, asked: AwaitPromises) -> None:
        told = [PromiseOutcome(*self.outcomes[promise]) for promise in asked.promises]
        self.loop.up_lanes.answer(lease, PromisesTold(asked.number, list(range(len(told))), told))

    def has_ended(self, promise: int, outcome: tuple[int, bytes]) -> None:
        self.outcomes[promise] = outcome
        self.most_workers = max(self.most_workers, len(self.workers.handles()))
        for lease, asked in [pair for pair in self.asked if self.is_ready(pair[1])]:
            self.asked.remove((lease, asked))
            self.loop.post(self.loop.client.goes_on, lease)  # the role decides in the next turn
            self.answer(lease, asked)

    def result(self, function, *args):
        """Of a call by the program itself."""
        done = Event()
        promise = -next(numbers)
        sink = Promise(self, promise, done)
        self.workers.hand_in_call(INLINE_FUNCTION, call_of(function, *args), sink)
        self.workers.poke()
        assert self.workers.wait(done.is_set, LIMIT_S, done.wait)
        kind, payload = self.outcomes[promise]
        if kind == OutcomeKind.ERROR:
            raise decode_failure(payload)[0]
        return pickle.loads(payload)


class Promise:
    def __init__(self, serving: Serving, number: int, done: Event | None = None) -> None:
        self.serving, self.number, self.done = serving, number, done

    def begin(self) -> bool:
        return True

    def put_back(self) -> None:
        pass

    def deliver(self, first: int, outcomes: list) -> None:
        self.serving.has_ended(self.number, outcomes[0])
        if self.done is not None:
            self.done.set()


@contextmanager
def serving(size: int) -> Iterator[Serving]:
    made: list[Workers] = []
    session.open_workers(
        GroupPlan(size, on_demand=True, replaces_waiting=True),
        LaunchPlan("fork", size, "Waiting", False, None, ()),
        made.append,
    )
    try:
        yield Serving(made[0])
    finally:
        made[0].terminate()
        assert made[0].join(LIMIT_S)


def fibonacci(n: int) -> int:
    return n if n < 2 else sum(values_of(start(fibonacci, n - 1), start(fibonacci, n - 2)))


def test_fibonacci_by_calls_that_wait_for_calls_ends_with_two_slots():
    with serving(2) as program:
        assert program.result(fibonacci, 9) == 34
        assert program.most_workers <= 2 * 9


def chain(length: int) -> int:
    return 0 if length == 0 else 1 + values_of(start(chain, length - 1))[0]


def test_beyond_the_limit_the_one_that_would_wait_is_told_so_and_nothing_hangs(monkeypatch):
    monkeypatch.setenv("DISTPOOL_WAITING_LIMIT", "4")
    with serving(1) as program, pytest.raises(RuntimeError, match="4 workers wait for calls that theirs have started"):
        program.result(chain, 6)
