"""What WorkerDied tells, and how often a call runs: once, or as often as `retries` allows."""

import os
import re
import signal

import pytest

import distpool
import distpool.futures
from distpool.errors import DistpoolError, WorkerDied

from ..runtime.programs import output_of, program
from . import deeds, dying, innocents
from .cell import METHODS, Ended, Subject
from .innocents import LIMIT_S, Ledger

MEMORY_IN_WORDS = re.compile(r"\d+(\.\d+)? ?[KMG]i?B")


def died(handle: object) -> WorkerDied:
    ended = Ended.of(handle, LIMIT_S)
    assert isinstance(ended.error, WorkerDied), ended
    return ended.error


# What it says ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["Pool", "Executor"])
def test_it_names_the_call_the_process_its_end_its_memory_its_last_words_and_the_remedy(kind, method, ledger):
    with Subject(kind, method) as subject:
        error = died(subject.submit(dying.write_pid_and_die, ledger, "cannot find libfoo.so"))
    assert error.pid == int(ledger.lines()[0])
    assert error.exitcode == -signal.SIGKILL
    assert "write_pid_and_die" in error.call
    assert 2**20 < error.peak_memory_bytes < 2**40
    assert "cannot find libfoo.so" in error.stderr
    text = str(error)
    for told in (error.call, str(error.pid), "SIGKILL", "cannot find libfoo.so", "retries"):
        assert told in text
    assert MEMORY_IN_WORDS.search(text)
    assert isinstance(error, DistpoolError)
    assert isinstance(error, distpool.futures.BrokenProcessPool)


@pytest.mark.parametrize(
    ("function", "exitcode", "words"),
    [
        (deeds.kill_oneself, -signal.SIGKILL, "SIGKILL"),
        (deeds.segfault, -signal.SIGSEGV, "SIGSEGV"),
        (deeds.abort, -signal.SIGABRT, "SIGABRT"),
        (deeds.leave, 0, "code 0"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_end_of_the_process_is_told_by_its_name(survivor, function, exitcode, words):
    error = died(survivor.submit(function))
    assert error.exitcode == exitcode
    assert words in str(error)


def test_the_memory_is_that_of_the_call_that_needed_it(survivor):
    error = died(survivor.submit(dying.need_memory_and_die, 80 * 2**20))
    assert error.peak_memory_bytes > 80 * 2**20


def test_only_the_last_words_are_told(survivor):
    error = died(survivor.submit(dying.say_and_die, "\n".join(f"line {number}" for number in range(5000)), "exit"))
    assert "line 4999" in error.stderr
    assert "line 0\n" not in error.stderr
    assert len(error.stderr) <= 64 * 1024
    assert error.exitcode == 9


def test_each_death_tells_its_own_words(survivor):
    for number in range(3):
        error = died(survivor.submit(dying.say_and_die, f"words {number}", "kill"))
        assert f"words {number}" in error.stderr
        assert f"words {number - 1}" not in error.stderr


def test_a_death_through_map_names_the_function(ledger):
    with distpool.get_context("fork").Pool(2) as pool:
        with pytest.raises(WorkerDied, match="DiesAt") as caught:
            pool.map_async(dying.DiesAt(ledger, 2), range(6), chunksize=3).get(LIMIT_S)
        assert "DiesAt" in caught.value.call
        with pytest.raises(WorkerDied, match="lambda"):
            pool.apply_async(lambda: os._exit(3)).get(LIMIT_S)


def test_it_travels_between_processes(survivor):
    """A worker's own pool may lose a worker, and its error is a result like any other."""
    import pickle

    error = died(survivor.submit(dying.say_and_die, "last words", "kill"))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is WorkerDied
    assert (str(again), again.pid, again.exitcode) == (str(error), error.pid, error.exitcode)
    assert (again.call, again.stderr, again.peak_memory_bytes) == (error.call, error.stderr, error.peak_memory_bytes)


STDERR_PROGRAM = """
    import os, sys
    import distpool

    def speak(value):
        os.write(2, f"spoken {value}\\n".encode())
        print("printed", value, file=sys.stderr)

    if __name__ == "__main__":
        with distpool.get_context(sys.argv[1]).Pool(2) as pool:
            pool.map(speak, range(3))
"""


@pytest.mark.parametrize("method", METHODS)
def test_what_workers_write_to_the_error_stream_still_reaches_the_programs(method, tmp_path):
    with program(tmp_path, STDERR_PROGRAM, method) as process:
        _, errors = process.communicate(timeout=LIMIT_S)
    lines = sorted(errors.splitlines())
    assert lines == sorted(f"{how} {value}" for how in ("spoken", "printed") for value in range(3))


# How often a call runs ------------------------------------------------------------------------------------------------


def test_without_retries_a_call_that_kills_runs_once(survivor, ledger):
    died(survivor.submit(dying.DiesAt(ledger, 5), 5))
    assert ledger.counts() == {"item 5": 1}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["Pool", "Executor"])
def test_with_retries_a_call_runs_again_until_it_succeeds(kind, method, ledger):
    with Subject(kind, method) as subject:
        subject.pool = subject.pool.with_options(retries=2)
        call = subject.submit(dying.DiesTheFirstTimes(ledger, 5, times=2), 5)
        assert Ended.of(call, LIMIT_S) == Ended(value=5)
        assert ledger.counts() == {"item 5": 3}


def test_when_retries_are_used_up_the_death_is_told(survivor, ledger):
    retrying = survivor.pool.with_options(retries=2)
    submit = retrying.submit if survivor.kind == "Executor" else lambda *call: retrying.apply_async(call[0], call[1:])
    died(submit(dying.DiesAt(ledger, 5), 5))
    assert ledger.counts() == {"item 5": 3}
    died(survivor.submit(dying.DiesAt(ledger, 6), 6))
    assert ledger.counts()["item 6"] == 1, "the options are those of the calls made with them"


def test_errors_are_not_retried(survivor, ledger):
    retrying = survivor.pool.with_options(retries=5)
    submit = retrying.submit if survivor.kind == "Executor" else lambda *call: retrying.apply_async(call[0], call[1:])
    ended = Ended.of(submit(dying.write_and_raise, ledger), LIMIT_S)
    assert type(ended.error) is ValueError
    assert ledger.counts() == {"raises": 1}


@pytest.mark.parametrize("chunksize", [1, 3, 8])
@pytest.mark.parametrize("method", ["map", "imap", "imap_unordered"])
def test_with_retries_what_a_dead_worker_had_begun_runs_again_and_the_rest_once(method, chunksize, tmp_path):
    """The results of items before the culprit were in its worker, when they were in one chunk."""
    ledger = Ledger(tmp_path / "ledger")
    with distpool.get_context("fork").Pool(2) as pool:
        retrying = pool.with_options(retries=1)
        results = getattr(retrying, method)(dying.DiesTheFirstTimes(ledger, 3, times=1), range(8), chunksize=chunksize)
        assert sorted(results) == list(range(8))
    begun = ledger.counts()
    start = 3 - 3 % chunksize
    assert [value for value in range(8) if begun[f"item {value}"] != 1 and not start <= value <= 3] == []
    assert all(begun[f"item {value}"] <= 2 for value in range(start, 3))
    assert begun["item 3"] == 2


def test_idle_deaths_use_up_no_retries(ledger):
    """A call that was never begun may move as often as it has to."""
    with Subject("Pool", "fork", workers=1) as subject:
        Ended.of(subject.submit(innocents.square, ledger, 0), LIMIT_S)
        for value in range(1, 4):
            (pid,) = subject.pids()
            os.kill(pid, signal.SIGSTOP)
            call = subject.submit(innocents.square, ledger, value)
            os.kill(pid, signal.SIGKILL)
            assert Ended.of(call, LIMIT_S) == Ended(value=value * value)
    assert set(ledger.counts().values()) == {1}


DRIVER_OF_MANY_DEATHS = """
    import os
    import distpool
    from distpool.errors import WorkerDied

    def die(value):
        os._exit(1)

    if __name__ == "__main__":
        with distpool.get_context("fork").Pool(2) as pool:
            pool.map(abs, range(4))
            before = len(os.listdir("/proc/self/fd"))
            for value in range(200):
                try:
                    pool.apply(die, [value])
                except WorkerDied:
                    pass
            pool.map(abs, range(4))
            print(len(os.listdir("/proc/self/fd")) - before)
"""


def test_many_deaths_leave_no_descriptors(tmp_path):
    assert output_of(tmp_path, DRIVER_OF_MANY_DEATHS) == "0\n"
