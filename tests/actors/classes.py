"""The actors of the tests."""

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

import distpool
from distpool.actors import exit_actor, list_named_actors, method


class Counter:
    """Counts, and dies in every way."""

    def __init__(self, start=0):
        self.value = start

    def add(self, amount=1):
        self.value += amount
        return self.value

    def pid(self):
        return os.getpid()

    def parent(self):
        return os.getppid()

    def fail(self):
        raise KeyError("not there")

    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def leave(self):
        try:
            exit_actor()
        except Exception:
            return "it goes on"

    def exit_with(self, code):
        os._exit(code)

    def wait_for(self, path):
        Path(path).with_suffix(".begun").touch()
        wait_for(path)
        return self.add()

    def die_once(self, path):
        """In the first run only."""
        if not Path(path).exists():
            Path(path).touch()
            self.die()
        return self.add()

    def large(self, count):
        return b"x" * count

    @method(num_returns=2)
    def pair(self, value):
        return value, value + 1

    def total_of(self, array):
        return float(array.sum())


class Keeper:
    """Has a handle of another actor."""

    def __init__(self, other=None):
        self.other = other

    def add(self, amount):
        return distpool.get(self.other.add.remote(amount))

    def total(self, array):
        return float(distpool.get(self.other.predict.remote(array)).sum())

    def start(self, amount):
        return self.other.add.remote(amount)

    def pass_on(self):
        return [self.other]

    def drop(self):
        self.other = None


class Broken:
    def __init__(self, what):
        if what == "raises":
            raise ValueError("no such weights")
        if what == "exits":
            exit_actor()
        os.kill(os.getpid(), signal.SIGKILL)

    def run(self):
        return 1


class BrokenOnce:
    """Its constructor's worker dies in its first run."""

    def __init__(self, path):
        if not Path(path).exists():
            Path(path).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def run(self):
        return 1


class Gate:
    """Async: calls wait for each other."""

    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.gate = asyncio.Event()
        self.waiting = 0

    async def wait(self):
        self.waiting += 1
        await self.gate.wait()
        return self.waiting

    async def open(self):
        self.gate.set()
        return self.waiting

    async def peak(self):
        """The most calls of it that have run at the same time."""
        self.waiting += 1
        self.most = max(getattr(self, "most", 0), self.waiting)
        for _ in range(10):
            await asyncio.sleep(0)
        self.waiting -= 1
        return self.most

    def count(self):
        assert asyncio.get_running_loop() is self.loop
        return self.waiting

    async def fail(self):
        await asyncio.sleep(0)
        raise KeyError("not there")

    async def leave(self):
        await asyncio.sleep(0)
        exit_actor()

    async def die(self):
        os.kill(os.getpid(), signal.SIGKILL)

    @method(num_returns=2)
    async def both(self):
        return 0, 1

    async def large(self, count):
        return b"x" * count


class Plain:
    def is_on_main_thread(self):
        return threading.current_thread() is threading.main_thread()


class Meeting:
    """On threads: calls wait for each other."""

    def __init__(self, size):
        self.barrier = threading.Barrier(size)

    def meet(self):
        self.barrier.wait(20)
        return threading.current_thread().name

    @method(concurrency_group="io")
    def ask(self):
        return threading.current_thread().name

    def leave(self):
        exit_actor()

    def large(self, count):
        return b"x" * count


def wait_for(path):
    until = time.monotonic() + 20
    while not Path(path).exists():
        assert time.monotonic() < until, "nobody has opened the gate"
        time.sleep(0.002)


def is_elsewhere(counter, pid):
    """It answers from another process than this. A call that its dying worker has begun is lost."""
    ref = counter.pid.remote()
    return ref.exception(20) is None and ref.result() != pid


def add_in_task(handle, amount):
    refs = [handle.add.remote(n) for n in range(amount)]
    return distpool.get(refs)


def pairs_in_task(handle):
    first, second = handle.pair.remote(handle.add.remote(1))
    return distpool.get([first, second])


def mistakes_in_task(handle):
    said = []
    for mistake in (
        lambda: handle.adds,
        lambda: handle.add(),
        lambda: handle.add.options(x=1),
        lambda: distpool.kill(handle.add),
    ):
        try:
            mistake()
        except Exception as error:
            said.append(type(error).__name__)
    try:
        distpool.get(handle.fail.remote())
    except KeyError:
        said.append("told")
    return said


def add_by_name(name, namespace):
    """A task that calls the actor of this name; also (names in the namespace of its program)."""
    return distpool.get(distpool.get_actor(name, namespace).add.remote()), list_named_actors()


def kill_by_name(name, namespace):
    distpool.kill(distpool.get_actor(name, namespace))


def start_detached(name, *args):
    counter = distpool.remote(Counter).options(name=name, lifetime="detached").remote(*args)
    return distpool.get(counter.add.remote())
