"""Kill a random worker again and again while several threads call: every result right, each call run at most once.

    python tests/soak.py [--seconds 600] [--kill-every 1] [--kinds map imap apply submit retries arrays] [--method fork]

Each call writes a line into a side file as it begins (O_APPEND), so that one that runs twice is seen. `arrays` sends
arrays and refs, which a worker keeps, writes to and puts itself; nothing of them may be left in the store. Memory and
descriptors of this program are compared between the end of a warm-up and the end of the run, both at rest. Prints a
summary; the exit status is 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import TimeoutError as PoolTimeoutError
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import numpy as np
import psutil

# Also as a script, whose folder and not the project's is on the path.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import distpool
import distpool.futures

KINDS = ("map", "imap", "apply", "submit", "retries", "arrays")
HANG_S = 60.0
WARM_UP_S = 5.0
RETRIES = 5
MEMORY_GROWTH_BYTES = 24 * 2**20
LARGE_EVERY, LARGE_BYTES = 50, 100_000
ARRAY_ITEMS, KEPT_ARRAYS = 50_000, 3


# In the workers -------------------------------------------------------------------------------------------------------


def expected(call: str) -> bytes:
    """What the call must return: 32 bytes, or now and then a result too large for the ring."""
    digest = hashlib.sha256(call.encode()).digest()
    return digest * (LARGE_BYTES // 32) if int(call.split()[1]) % LARGE_EVERY == 0 else digest


class Body:
    """Writes down that it has begun, works for up to four milliseconds, and returns what is expected."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, call: str) -> bytes:
        self._begin(call)
        return expected(call)

    def _begin(self, call: str) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, f"{call}\n".encode())
        os.close(descriptor)
        time.sleep(random.random() * 0.004)


kept: list[np.ndarray] = []
"""Arguments that a worker looks at after their calls."""


class ArrayBody(Body):
    """The same with arrays: what it got must be what was sent, and what it keeps must stay as it left it."""

    def __call__(self, call: str, array: np.ndarray, inner: list[distpool.ObjectRef]) -> Any:
        self._begin(call)
        assert all((old == old[0]).all() and not old[0] % 2 for old in kept), "what was kept has changed"
        assert (array == array[0]).all(), "the array is not as it was sent"
        assert (distpool.get(inner[0]) == array).all(), "the ref inside is not as it was sent"
        array *= 2
        kept.append(array)
        del kept[:-KEPT_ARRAYS]
        result = array + 1
        return [result, distpool.put(result)] if result[0] % 3 == 0 else result


# In the driver --------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What one thread saw. `calls`: how many it has made so far, of which `died` ended with WorkerDied."""

    kind: str
    calls: int = 0
    died: int = 0
    wrong: list[str] = field(default_factory=list)

    def take(self, count: int) -> list[str]:
        """The names of the next calls."""
        first = self.calls
        self.calls += count
        return [f"{self.kind} {number}" for number in range(first, self.calls)]

    def settle(self, names: list[str], get: Callable[[], list[bytes]]) -> None:
        """The results of these calls are right, or one worker has died."""
        try:
            values = get()
        except distpool.WorkerDied:
            self.died += 1
        except (TimeoutError, PoolTimeoutError):
            self.wrong.append(f"{names[0]} and {len(names) - 1} more hang")
        except BaseException as error:
            self.wrong.append(f"{names[0]}: {error!r}")
        else:
            self.wrong += [name for name, value in zip(names, values, strict=True) if value != expected(name)]


class Soak:
    """Pools, the threads that call them, and who kills their workers."""

    def __init__(self, kinds: list[str], method: str, workers: int, path: str) -> None:
        self._body = Body(path)
        self._array_body = ArrayBody(path)
        self._workers = workers
        self.kills = 0
        context = distpool.get_context(method)
        self._pool = context.Pool(workers)
        self._executor = distpool.Executor(workers, mp_context=context) if "submit" in kinds else None
        self.tallies = [Tally(kind) for kind in kinds]

    def run(self, seconds: float, kill_every_s: float) -> None:
        """Until the time is over and every call has ended."""
        until = time.monotonic() + seconds
        threads = [threading.Thread(target=self._call_until, args=(tally, until)) for tally in self.tallies]
        for thread in threads:
            thread.start()
        while time.monotonic() < until:
            time.sleep(kill_every_s)
            self._kill_one()
        for thread in threads:
            thread.join()

    def come_to_rest(self) -> bool:
        """Wait until all workers are there again; whether they came."""
        time.sleep(0.5)  # for the last one that was killed to be missed
        give_up_at = time.monotonic() + HANG_S
        expected_count = self._workers * (1 if self._executor is None else 2)
        while len(self._pids()) < expected_count and time.monotonic() < give_up_at:
            if self._executor is not None:  # it starts workers only while calls wait
                try:
                    list(self._executor.map(time.sleep, [0.1] * 2 * self._workers))
                except distpool.futures.BrokenProcessPool:
                    return False
            time.sleep(0.05)
        self._pool.map(abs, range(100), chunksize=1)
        gc.collect()
        return len(self._pids()) == expected_count

    def end(self) -> None:
        self._pool.close()
        self._pool.join()
        if self._executor is not None:
            self._executor.shutdown()

    def _pids(self) -> list[int]:
        handles = list(self._pool._pool)
        pids = [handle.pid for handle in handles]
        if self._executor is not None:
            pids += self._executor._processes or ()
        return [pid for pid in pids if pid is not None]

    def _kill_one(self) -> None:
        try:
            os.kill(random.choice(self._pids()), signal.SIGKILL)
        except (IndexError, ProcessLookupError):
            return  # It is being replaced just now.
        self.kills += 1

    def _call_until(self, tally: Tally, until: float) -> None:
        call = getattr(self, f"_{tally.kind}")
        while time.monotonic() < until and not tally.wrong:
            call(tally)

    def _map(self, tally: Tally) -> None:
        names = tally.take(100)
        tally.settle(names, lambda: self._pool.map_async(self._body, names, chunksize=7).get(HANG_S))

    def _imap(self, tally: Tally) -> None:
        names = tally.take(100)
        results = self._pool.imap(self._body, names)
        for name in names:
            tally.settle([name], lambda: [results.next(HANG_S)])

    def _apply(self, tally: Tally) -> None:
        names = tally.take(50)
        for name, result in [(name, self._pool.apply_async(self._body, [name])) for name in names]:
            tally.settle([name], lambda result=result: [result.get(HANG_S)])

    def _submit(self, tally: Tally) -> None:
        names = tally.take(50)
        for name, future in [(name, self._executor.submit(self._body, name)) for name in names]:
            tally.settle([name], lambda future=future: [future.result(HANG_S)])

    def _retries(self, tally: Tally) -> None:
        names = tally.take(50)
        died_before = tally.died
        retrying = self._pool.with_options(retries=RETRIES)
        tally.settle(names, lambda: retrying.map_async(self._body, names, chunksize=5).get(HANG_S))
        if tally.died > died_before:
            tally.wrong.append(f"{names[0]} and more: a death in spite of {RETRIES} retries")

    def _arrays(self, tally: Tally) -> None:
        names = tally.take(20)
        number = tally.calls
        array = np.full(ARRAY_ITEMS, number)
        ref = distpool.put(array)
        items = [(name, ref if position % 2 else array, [ref]) for position, name in enumerate(names)]

        def get() -> list[bytes]:
            # In a chunk of two neither shares its array with the other, as one object in one chunk would be.
            values = self._pool.starmap_async(self._array_body, items, chunksize=2).get(HANG_S)
            return [self._checked(name, value, number) for name, value in zip(names, values, strict=True)]

        tally.settle(names, get)
        if not (array == number).all():
            tally.wrong.append(f"{names[0]} and more: a call has changed its caller's array")

    def _checked(self, name: str, value: Any, number: int) -> bytes:
        """What `settle` expects, if the array is right."""
        expected_value = number * 2 + 1
        arrays = [value[0], distpool.get(value[1])] if expected_value % 3 == 0 else [value]
        is_right = all(array.shape == (ARRAY_ITEMS,) and (array == expected_value).all() for array in arrays)
        return expected(name) if is_right else b"another array"


@dataclass(frozen=True)
class AtRest:
    """What this program holds."""

    memory_bytes: int
    descriptors: int

    @classmethod
    def now(cls) -> AtRest:
        return cls(psutil.Process().memory_info().rss, len(os.listdir("/proc/self/fd")))

    def __str__(self) -> str:
        return f"{self.memory_bytes / 2**20:.1f} MiB, {self.descriptors} descriptors"


def main(arguments: list[str]) -> int:
    options = parsed(arguments)
    random.seed(options.seed)
    if options.method != "fork":
        resource_tracker.ensure_running()  # the standard library's, which stays
    memory_files = own_memory_files()
    others = psutil.Process().children()
    distpool.store_stats()  # makes the store, whose descriptor stays
    before = AtRest.now()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        path = f"{folder}/begun"
        soak = Soak(options.kinds, options.method, options.workers, path)
        soak.run(WARM_UP_S, options.kill_every)
        violations = [] if soak.come_to_rest() else ["the workers did not come back after the warm-up"]
        began = AtRest.now()
        soak.run(options.seconds, options.kill_every)
        if not soak.come_to_rest():
            violations.append("the workers did not come back")
        ended = AtRest.now()
        soak.end()
        gc.collect()
        stored = distpool.store_stats()
        left = [process for process in psutil.Process().children(recursive=True) if process not in others]
        after = AtRest.now()
        violations += broken_promises(soak, path)
    if ended.memory_bytes - began.memory_bytes > MEMORY_GROWTH_BYTES:
        violations.append(f"memory grew: {began} to {ended}")
    if ended.descriptors > began.descriptors:
        violations.append(f"descriptors were left while it ran: {began} to {ended}")
    if after.descriptors > before.descriptors:
        violations.append(f"descriptors were left at the end: {before} to {after}")
    if stored.objects:
        violations.append(f"objects are left in the store: {stored}")
    violations += [f"a process is left: {process}" for process in left]
    violations += [f"a file is left: /dev/shm/{name}" for name in own_memory_files() - memory_files]
    for tally in soak.tallies:
        print(f"{tally.kind:>8}: {tally.calls} calls, {tally.died} of them or of their maps ended with WorkerDied")
    print(
        f"{soak.kills} workers killed in {options.seconds + WARM_UP_S:.0f} s; "
        f"after the warm-up {began}; at the end {ended}"
    )
    print("\n".join(violations) or "every promise was kept")
    return 1 if violations else 0


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kill a random worker again and again while threads call.")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--kill-every", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="one thread for each")
    parser.add_argument("--method", choices=["fork", "forkserver", "spawn"], default="fork")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=None)
    return parser.parse_args(arguments)


def own_memory_files() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith("distpool")}


def broken_promises(soak: Soak, path: str) -> Iterator[str]:
    """By what the threads saw, and by the side file."""
    for tally in soak.tallies:
        yield from (f"wrong: {text}" for text in tally.wrong[:10])
    died = sum(tally.died for tally in soak.tallies)
    if died > soak.kills:
        yield f"{died} calls died of {soak.kills} kills: a death costs at most one"
    begun = Counter(Path(path).read_text().splitlines())
    for tally in soak.tallies:
        names = [f"{tally.kind} {number}" for number in range(tally.calls)]
        most = 1 + RETRIES if tally.kind == "retries" else 1
        for name in [name for name in names if begun[name] > most][:10]:
            yield f"{name} ran {begun[name]} times"
        missing = [name for name in names if not begun[name]]
        # Killed between its claim and its line: of a map that is told once, however many of its calls died.
        most_missing = soak.kills if tally.kind in ("map", "retries") else tally.died
        if len(missing) > most_missing:
            yield f"{tally.kind}: {len(missing)} calls never ran, and {most_missing} may have died: {missing[:10]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
