"""How many calls per second does an actor answer, and how quickly does one start?

Measured: 2,000 calls of a method that adds to a counter, each waited for before the next; 20,000 of them at once, from
the first call to the last value, the same of an async method; all in calls per second. The time from starting an actor
to the answer of its first call while another one is there, median of 20, in milliseconds; and the same of 100 actors
that are started at once, in seconds.
Against: a standard Manager's proxy, whose object lives in a process of the manager: its calls are waited for in any
case, and each new object shares that process. Ray with its own.
Goal: 32,400 calls/s one by one and 59,000 calls/s at once; a start in 50 ms, and 100 of them in 5 s.
"""

from __future__ import annotations

import multiprocessing.managers
from contextlib import contextmanager
from statistics import median

from figure import Figure
from libraries import OURS, STANDARD, NotOffered, fewer, main, seconds

FIGURES = [
    Figure(
        "lone_per_s",
        "actor calls one by one",
        "calls/s",
        value_goal=32_400,
        more_is_better=True,
        panel="Actor calls one by one",
    ),
    Figure(
        "burst_per_s",
        "20,000 actor calls, then get",
        "calls/s",
        value_goal=59_000,
        more_is_better=True,
        panel="20,000 actor calls, then get",
    ),
    Figure("async_per_s", "20,000 calls of an async actor", "calls/s", more_is_better=True),
    Figure("start_ms", "start of an actor", "ms", 1, value_goal=50, panel="Start of an actor"),
    Figure("hundred_s", "start of 100 actors", "s", 2, value_goal=5),
]
LONE, BURST, STARTS, MANY = 2_000, 20_000, 20, 100
FEWER = {"ray": 10, "standard": 10}


class Counter:
    def __init__(self):
        self.value = 0

    def add(self, amount):
        self.value += amount
        return self.value


class AsyncCounter(Counter):
    async def add(self, amount):
        self.value += amount
        return self.value


class Manager(multiprocessing.managers.BaseManager):
    pass


Manager.register("Counter", Counter)


class Face:
    """`start(is_async)` gives a function that calls the counter's method and gives a handle; `get(handles)` the values.
    `has_own`: each counter has a process of its own, and there are async methods."""

    def __init__(self, start, get, *, has_own=True):
        self.start = start
        self.get = get
        self.has_own = has_own


@contextmanager
def of_standard():
    with Manager() as manager:

        def start(is_async):
            return manager.Counter().add

        yield Face(start, lambda values: values, has_own=False)


@contextmanager
def of_distpool():
    import distpool

    counter, async_counter = distpool.remote(Counter), distpool.remote(AsyncCounter)
    yield Face(lambda is_async: (async_counter if is_async else counter).remote().add.remote, distpool.get)
    distpool.shutdown()


@contextmanager
def of_ray():
    import ray

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    counter, async_counter = ray.remote(num_cpus=0)(Counter), ray.remote(num_cpus=0)(AsyncCounter)
    yield Face(lambda is_async: (async_counter if is_async else counter).remote().add.remote, ray.get)
    ray.shutdown()


FACES = {STANDARD: of_standard, OURS: of_distpool, "ray": of_ray}


def measure(name):
    if name not in FACES:
        raise NotOffered(f"{name} has no actors")
    with FACES[name]() as face:
        call = face.start(False)
        lone, burst = fewer(LONE, name, FEWER), fewer(BURST, name, FEWER)
        one_by_one(face, call, lone // 10)
        figures = {
            "lone_per_s": lone / seconds(lambda: one_by_one(face, call, lone)),
            "burst_per_s": burst / seconds(lambda: at_once(face, call, burst)),
        }
        if face.has_own:
            async_call = face.start(True)
            at_once(face, async_call, burst // 10)
            figures["async_per_s"] = burst / seconds(lambda: at_once(face, async_call, burst))
            figures["start_ms"] = median(seconds(lambda: face.get([face.start(False)(1)])) for _ in range(STARTS)) * 1e3
            figures["hundred_s"] = seconds(lambda: start_many(face, MANY))
        return figures


def one_by_one(face, call, count):
    for _ in range(count):
        face.get([call(1)])


def at_once(face, call, count):
    values = face.get([call(1) for _ in range(count)])
    assert len(values) == count


def start_many(face, count):
    calls = [face.start(False) for _ in range(count)]
    assert len(face.get([call(1) for call in calls])) == count


if __name__ == "__main__":
    main(measure)
