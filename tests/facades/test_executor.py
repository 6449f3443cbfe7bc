"""`distpool.Executor`: an executor that outlives its workers, and takes as results what only cloudpickle can pickle."""

import os
import pickle
import signal
import sys
import time

import pytest

import distpool
import distpool.futures
from distpool.errors import PoolBroken, WorkerDied

from . import tasks
from .comparison import LIMIT_S

pytestmark = pytest.mark.extension

fork = distpool.get_context("fork")


def executor_of(method, workers=2, **options):
    return distpool.Executor(workers, mp_context=distpool.get_context(method), **options)


@pytest.fixture
def executor():
    with executor_of("fork") as executor:
        yield executor


@pytest.fixture
def lone_executor():
    with executor_of("fork", 1) as executor:
        yield executor


def test_it_is_an_executor_of_the_standard_library(executor):
    assert isinstance(executor, distpool.futures.ProcessPoolExecutor)
    future = executor.submit(tasks.add, 2, y=3)
    assert isinstance(future, distpool.futures.Future)
    assert future.result(LIMIT_S) == 5
    assert list(executor.map(tasks.add, [1, 2], [3, 4], chunksize=2)) == [4, 6]


# ---- deaths


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_it_outlives_the_death_of_a_worker(method):
    with executor_of(method, 1) as executor:
        with pytest.raises(WorkerDied, match="exit_at_once"):
            executor.submit(tasks.exit_at_once, 3).result(LIMIT_S)
        assert executor.submit(tasks.square, 3).result(LIMIT_S) == 9


def test_only_the_call_that_had_begun_is_lost(lone_executor, new_gate):
    gate = new_gate()
    blocker = lone_executor.submit(tasks.wait_for, gate.path, "ready")
    lost = lone_executor.submit(os._exit, 1)
    behind = [lone_executor.submit(tasks.square, n) for n in range(200)]
    gate.open()
    assert blocker.result(LIMIT_S) == "ready"
    assert isinstance(lost.exception(LIMIT_S), WorkerDied)
    assert [future.result(LIMIT_S) for future in behind] == [n * n for n in range(200)]


def test_many_deaths_in_a_row(executor):
    for _ in range(10):
        assert isinstance(executor.submit(os._exit, 1).exception(LIMIT_S), WorkerDied)
    assert executor.submit(tasks.square, 3).result(LIMIT_S) == 9


def test_a_worker_that_is_killed_while_idle_harms_nobody(lone_executor):
    os.kill(lone_executor.submit(tasks.pid).result(LIMIT_S), signal.SIGKILL)
    assert lone_executor.submit(tasks.square, 3).result(LIMIT_S) == 9


# ---- results


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_lambdas_and_closures_and_local_classes_are_results(method):
    def make(kind):
        class Local:
            value = 7

        return {"lambda": lambda x: x + 1, "closure": lambda: Local.value, "object": Local()}[kind]

    with executor_of(method, 1) as executor:
        assert executor.submit(make, "lambda").result(LIMIT_S)(2) == 3
        assert executor.submit(make, "closure").result(LIMIT_S)() == 7
        assert executor.submit(make, "object").result(LIMIT_S).value == 7
        assert [function(1) for function in executor.map(make, ["lambda"] * 3, chunksize=2)] == [2, 2, 2]


def test_a_result_that_cannot_be_pickled_fails_its_call(lone_executor):
    pid = lone_executor.submit(tasks.pid).result(LIMIT_S)
    with pytest.raises((TypeError, pickle.PicklingError), match="lock"):
        lone_executor.submit(tasks.return_lock).result(LIMIT_S)
    assert lone_executor.submit(tasks.pid).result(LIMIT_S) == pid


def test_a_result_that_cannot_be_unpickled_fails_only_its_call(lone_executor):
    futures = [lone_executor.submit(tasks.same, n) for n in range(5)]
    strange = lone_executor.submit(tasks.return_what_cannot_be_unpickled)
    futures += [lone_executor.submit(tasks.same, n) for n in range(5, 10)]
    with pytest.raises(ValueError, match="refused while unpickling"):
        strange.result(LIMIT_S)
    assert [future.result(LIMIT_S) for future in futures] == list(range(10))
    assert lone_executor.submit(tasks.same, 1).result(LIMIT_S) == 1


def test_an_argument_that_cannot_be_unpickled_fails_only_its_call(lone_executor):
    pid = lone_executor.submit(tasks.pid).result(LIMIT_S)
    with pytest.raises(ValueError, match="refused while unpickling"):
        lone_executor.submit(tasks.same, tasks.CannotUnpickle()).result(LIMIT_S)
    assert lone_executor.submit(tasks.pid).result(LIMIT_S) == pid


def test_an_exception_that_cannot_be_unpickled_fails_only_its_call(lone_executor):
    assert isinstance(lone_executor.submit(tasks.raise_badly_pickled).exception(LIMIT_S), Exception)
    assert lone_executor.submit(tasks.square, 3).result(LIMIT_S) == 9


# ---- the initializer


def note_and_fail(path):
    with open(path, "a") as log:
        log.write("tried\n")
    raise RuntimeError("no licence")


def fail_at_first(path):
    with open(path, "a") as log:
        log.write("tried\n")
    with open(path) as log:
        if len(log.readlines()) < 3:
            raise RuntimeError("not yet")


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_an_initializer_that_always_fails_breaks_it_after_three_tries(tmp_path, method):
    path = tmp_path / "log"
    with executor_of(method, 1, initializer=note_and_fail, initargs=(str(path),)) as executor:
        future = executor.submit(tasks.square, 3)
        with pytest.raises(PoolBroken, match="before it was ready to take calls") as caught:
            future.result(LIMIT_S)
        assert "as 2 before it" in str(caught.value)
        assert "RuntimeError: no licence" in str(caught.value)
        assert "in note_and_fail" in str(caught.value)
        with pytest.raises(distpool.futures.BrokenProcessPool, match="no licence"):
            executor.submit(tasks.square, 3)
    assert path.read_text().splitlines() == ["tried"] * 3


def test_an_initializer_that_fails_twice_does_not(tmp_path):
    with executor_of("fork", 1, initializer=fail_at_first, initargs=(str(tmp_path / "log"),)) as executor:
        assert executor.submit(tasks.square, 3).result(LIMIT_S) == 9


def test_a_standard_executor_breaks_at_the_first_failure(tmp_path):
    path = tmp_path / "log"
    options = {"mp_context": fork, "initializer": note_and_fail, "initargs": (str(path),)}
    with distpool.futures.ProcessPoolExecutor(1, **options) as executor:
        assert isinstance(executor.submit(tasks.square, 3).exception(LIMIT_S), distpool.futures.BrokenProcessPool)
    assert path.read_text().splitlines() == ["tried"]


# ---- what is known of a death


def allocate_and_die(mebibytes):
    print("the last words", file=sys.stderr, flush=True)
    memory = bytearray(mebibytes * 1024 * 1024)
    memory[::4096] = b"x" * len(memory[::4096])
    os.kill(os.getpid(), signal.SIGKILL)


def death_of(executor, function, *arguments):
    error = executor.submit(function, *arguments).exception(LIMIT_S)
    assert type(error) is WorkerDied
    return error


def attributes_of(error):
    return error.call, error.pid, error.exitcode, error.peak_memory_bytes, error.stderr, str(error)


def test_a_death_says_what_is_known_of_it(lone_executor, capsys):
    pid = lone_executor.submit(tasks.pid).result(LIMIT_S)
    error = death_of(lone_executor, allocate_and_die, 64)
    assert (error.pid, error.exitcode, error.stderr) == (pid, -signal.SIGKILL, "the last words")
    assert error.call.endswith("allocate_and_die")
    assert 64 * 1024 * 1024 < error.peak_memory_bytes < 1024**3
    message = str(error)
    assert f"worker process {pid} was killed by SIGKILL (signal 9) while it ran " in message
    assert "allocate_and_die" in message
    assert "MiB" in message
    assert "    the last words\n" in message
    assert "use fewer workers" in message
    assert "with_options(retries=1)" in message
    assert "the last words\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("die", "exitcode", "remedy"),
    [
        (lambda: os._exit(3), 3, "os._exit for instance"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), -15, "Find out who sent the signal"),
        (lambda: os.kill(os.getpid(), 40), -40, "was killed by signal 40"),
    ],
    ids=["exit", "SIGTERM", "a signal without a name"],
)
def test_a_death_says_what_may_help(lone_executor, die, exitcode, remedy):
    error = death_of(lone_executor, die)
    assert error.exitcode == exitcode
    assert remedy in str(error)


def test_the_item_of_a_map_is_named():
    with fork.Pool(1) as pool:
        for chunksize in (1, 4):
            with pytest.raises(WorkerDied, match=r"die_for_five for item 5\b"):
                pool.map(die_for_five, range(8), chunksize)
    pool.join()


def die_for_five(value):
    if value == 5:
        os._exit(1)
    return value


def test_a_death_survives_being_pickled(lone_executor):
    error = death_of(lone_executor, allocate_and_die, 1)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is WorkerDied
    assert attributes_of(copy) == attributes_of(error)


def death_in_a_nested_executor():
    with executor_of("fork", 1) as inner:
        inner.submit(allocate_and_die, 1).result(LIMIT_S)


def described_death_in_a_nested_executor():
    with executor_of("fork", 1) as inner:
        return attributes_of(death_of(inner, allocate_and_die, 1))


def test_a_death_in_a_nested_pool_keeps_what_is_known_of_it(lone_executor):
    outer = lone_executor.submit(tasks.pid).result(LIMIT_S)
    error = lone_executor.submit(death_in_a_nested_executor).exception(LIMIT_S)
    assert type(error) is WorkerDied
    assert error.pid != outer
    assert (error.exitcode, error.stderr) == (-signal.SIGKILL, "the last words")
    assert error.call.endswith("allocate_and_die")
    assert error.peak_memory_bytes > 1024 * 1024
    assert "death_in_a_nested_executor" in str(error.__cause__)
    assert lone_executor.submit(tasks.pid).result(LIMIT_S) == outer, "it is the inner worker that died"
    assert lone_executor.submit(described_death_in_a_nested_executor).result(LIMIT_S)[2] == -signal.SIGKILL


def test_calls_that_were_sent_ahead_of_a_long_one_can_be_cancelled(tmp_path):
    with distpool.Executor(1, mp_context=distpool.get_context("fork")) as executor:
        for _ in range(3):  # short ones, so that many are sent ahead
            list(executor.map(abs, range(200)))
        gate = tmp_path / "gate"
        blocker = executor.submit(tasks.wait_for, str(gate))
        futures = [executor.submit(abs, -n) for n in range(500)]
        ends_at = time.monotonic() + LIMIT_S
        while not all(future.cancel() for future in futures):
            assert time.monotonic() < ends_at
            time.sleep(0.005)
        gate.touch()
        assert blocker.result(LIMIT_S) is not False
        assert all(future.cancelled() for future in futures)
