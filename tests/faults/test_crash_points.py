"""A worker dies at each point of a call's life. Which point is proven where is listed in `points.py`."""

import os
import signal
import time

import psutil
import pytest

import distpool
from distpool.errors import WorkerDied

from ..runtime.programs import until
from . import deeds, dying, innocents
from .cell import METHODS, Ended, Subject
from .innocents import LIMIT_S, Ledger

REPLACED_WITHIN_S = 0.5
TOLD_WITHIN_S = 0.25


def lone(kind: str) -> Subject:
    return Subject(kind, "fork", workers=1)


def only_worker(subject: Subject) -> psutil.Process:
    assert until(lambda: len(subject.pids()) == 1 and None not in subject.pids())
    return psutil.Process(next(iter(subject.pids())))


def value_of(handle: object) -> object:
    ended = Ended.of(handle, LIMIT_S)
    assert not ended.hangs
    if ended.error is not None:
        raise ended.error
    return ended.value


# Before the call has begun --------------------------------------------------------------------------------------------


def test_a_worker_that_dies_while_the_caller_still_pickles_costs_nothing(ledger):
    with lone("Pool") as subject:
        victim = only_worker(subject)
        argument = deeds.WhilePickled(victim.kill)
        assert value_of(subject.submit(innocents.square, ledger, argument)) == 0
        assert ledger.counts() == {"square 0": 1}


def test_workers_that_are_killed_idle_are_replaced_and_no_call_is_touched(survivor, ledger):
    value_of(survivor.submit(innocents.square, ledger, 1))
    assert until(lambda: len(survivor.pids() - {None}) == 2)
    before = survivor.pids()
    killed_at = time.monotonic()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert until(lambda: len(survivor.pids() - before - {None}) == 2, 2 * REPLACED_WITHIN_S)
    assert time.monotonic() - killed_at < REPLACED_WITHIN_S
    assert [value_of(survivor.submit(innocents.square, ledger, value)) for value in (2, 3)] == [4, 9]
    assert ledger.counts() == {"square 1": 1, "square 2": 1, "square 3": 1}


@pytest.mark.parametrize("kind", ["Pool", "Executor"])
def test_calls_sent_to_a_worker_that_dies_before_it_reads_them_run_elsewhere_once(kind, ledger):
    with lone(kind) as subject:
        value_of(subject.submit(innocents.square, ledger, 0))
        victim = only_worker(subject)
        victim.suspend()
        calls = [subject.submit(innocents.square, ledger, value) for value in range(1, 6)]
        time.sleep(0.02)  # they are on their way to it
        victim.kill()
        killed_at = time.monotonic()
        assert [value_of(call) for call in calls] == [1, 4, 9, 16, 25]
        assert time.monotonic() - killed_at < 2 * TOLD_WITHIN_S
        assert ledger.counts() == {f"square {value}": 1 for value in range(6)}


def test_an_argument_too_large_for_a_socket_sent_to_a_worker_that_dies_before_it_reads_runs_elsewhere(ledger):
    with lone("Pool") as subject:
        value_of(subject.submit(len, b""))
        victim = only_worker(subject)
        victim.suspend()
        calls = [subject.submit(len, bytes(size)) for size in (200_000, 20_000, 2_000_000, 100)]
        time.sleep(0.02)
        victim.kill()
        assert [value_of(call) for call in calls] == [200_000, 20_000, 2_000_000, 100]


# While its arguments are unpickled ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_an_argument_that_kills_at_unpickle_fails_its_call_and_kills_nobody_but_the_worker(method, ledger):
    with Subject("Pool", method) as subject:
        value_of(subject.submit(innocents.square, ledger, 1))
        with pytest.raises(WorkerDied):
            value_of(subject.submit(deeds.same, deeds.WhileUnpickled(deeds.kill_oneself)))
        assert psutil.Process(subject.pool._workers._crew.template.pid).is_running(), (
            "the template never unpickles arguments"
        )
        assert value_of(subject.submit(innocents.square, ledger, 2)) == 4


def test_an_argument_that_raises_at_unpickle_has_its_remote_traceback_and_the_worker_lives(survivor, ledger):
    value_of(survivor.submit(innocents.square, ledger, 1))
    before = survivor.pids()
    for _ in range(5):
        with pytest.raises(ValueError, match="refused") as caught:
            value_of(survivor.submit(deeds.same, deeds.WhileUnpickled(deeds.refuse)))
        assert "in refuse" in str(caught.value.__cause__)
    assert survivor.pids() == before


# While it runs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_death_while_running_is_told_at_once(method, ledger, gate):
    with Subject("Pool", method) as subject:
        call = subject.submit(innocents.stay_with_pid, ledger, "runs", str(gate))
        assert until(ledger.lines)
        victim = int(ledger.lines()[0].split()[1])
        os.kill(victim, signal.SIGKILL)
        killed_at = time.monotonic()
        with pytest.raises(WorkerDied, match=str(victim)):
            value_of(call)
        assert time.monotonic() - killed_at < TOLD_WITHIN_S


CALLS = {
    "apply_async": lambda pool: pool.apply_async(deeds.kill_oneself).get(LIMIT_S),
    "map_async": lambda pool: pool.map_async(deeds.kill_oneself, [1]).get(LIMIT_S),
    "starmap_async": lambda pool: pool.starmap_async(deeds.kill_oneself, [(1, 2)]).get(LIMIT_S),
    "imap": lambda pool: pool.imap(deeds.kill_oneself, [1]).next(LIMIT_S),
    "imap in chunks": lambda pool: list(pool.imap(deeds.kill_oneself, [1, 2], chunksize=2)),
    "imap_unordered": lambda pool: pool.imap_unordered(deeds.kill_oneself, [1]).next(LIMIT_S),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_death_surfaces_through_every_kind_of_call(call):
    with distpool.get_context("fork").Pool(2) as pool:
        with pytest.raises(WorkerDied):
            call(pool)
        assert pool.map_async(abs, [-1, -2]).get(LIMIT_S) == [1, 2]


# While its result is pickled and sent ---------------------------------------------------------------------------------


def test_a_result_that_cannot_be_pickled_says_what_it_was_and_the_worker_lives(survivor, ledger):
    value_of(survivor.submit(innocents.square, ledger, 1))
    before = survivor.pids()
    for function in (deeds.return_a_lock, deeds.return_what_refuses_to_pickle, deeds.return_what_is_too_deep):
        for _ in range(3):
            with pytest.raises(Exception) as caught:
                value_of(survivor.submit(function))
            assert not isinstance(caught.value, WorkerDied)
    assert survivor.pids() == before
    with pytest.raises(Exception, match="lock"):
        value_of(survivor.submit(deeds.return_a_lock))


def test_a_result_that_exits_while_it_is_pickled_is_that_exit_to_the_caller(survivor, ledger):
    value_of(survivor.submit(innocents.square, ledger, 1))
    before = survivor.pids()
    with pytest.raises(SystemExit) as caught:
        value_of(survivor.submit(deeds.return_what_exits_at_pickle))
    assert caught.value.code == 3
    assert survivor.pids() == before


@pytest.mark.parametrize("size", [100, 20_000, 70_000, 1_000_000])
@pytest.mark.parametrize("sends", [0, 1, 2, 3])
def test_a_worker_that_dies_while_it_sends_has_answered_or_not_but_never_half(sends, size, ledger):
    """It is killed right before its next-but-so-many message, at that of a small result or of a large one."""
    with lone("Pool") as subject:
        value_of(subject.submit(dying.die_before_send, sends))
        calls = [subject.submit(dying.large, ledger, number, size) for number in range(4)]
        lost = 0
        for number, call in enumerate(calls):
            ended = Ended.of(call, LIMIT_S)
            assert not ended.hangs
            lost += isinstance(ended.error, WorkerDied)
            assert ended.error is not None or ended.value == dying.content(number, size)
        assert lost <= 1
        assert set(ledger.counts().values()) == {1}
        assert value_of(subject.submit(innocents.square, ledger, 9)) == 81


@pytest.mark.parametrize("size", [100, 20_000, 200_000])
def test_a_worker_killed_at_any_moment_around_its_result_answers_whole_or_not_at_all(size, ledger):
    with lone("Pool") as subject:
        for step in range(40):
            call = subject.submit(dying.large_and_die_soon, ledger, step, size, step * 15e-6)
            ended = Ended.of(call, LIMIT_S)
            if ended.error is None:
                assert ended.value == dying.content(step, size)
            else:
                assert isinstance(ended.error, WorkerDied)
        # The last worker may have its death still before it.
        assert until(lambda: Ended.of(subject.submit(abs, -9), LIMIT_S) == Ended(value=9))
    assert set(ledger.counts().values()) == {1}, "no call ran twice"


# Several at once ------------------------------------------------------------------------------------------------------


def test_all_workers_die_in_the_same_moment(survivor, ledger, gate):
    running = [survivor.submit(innocents.stay_with_pid, ledger, f"runs-{number}", str(gate)) for number in range(2)]
    assert until(lambda: len(ledger.lines()) == 2)
    behind = [survivor.submit(innocents.square, ledger, value) for value in range(10)]
    for line in ledger.lines():
        os.kill(int(line.split()[1]), signal.SIGKILL)
    for call in running:
        with pytest.raises(WorkerDied):
            value_of(call)
    assert [value_of(call) for call in behind] == [value * value for value in range(10)]
    assert set(ledger.counts().values()) == {1}


def test_stopped_workers_that_are_killed_together_have_not_begun_what_they_hold(survivor, ledger):
    value_of(survivor.submit(innocents.square, ledger, 100))
    assert until(lambda: len(survivor.pids() - {None}) == 2)
    victims = [psutil.Process(pid) for pid in survivor.pids()]
    for victim in victims:
        victim.suspend()
    calls = [survivor.submit(innocents.square, ledger, value) for value in range(20)]
    time.sleep(0.02)
    for victim in victims:
        victim.kill()
    assert [value_of(call) for call in calls] == [value * value for value in range(20)]
    assert set(ledger.counts().values()) == {1}


@pytest.mark.parametrize("method", METHODS)
def test_workers_die_while_their_replacements_start(method, ledger):
    with Subject("Pool", method) as subject:
        value_of(subject.submit(innocents.square, ledger, 100))
        calls = []
        for value in range(12):
            calls.append(subject.submit(innocents.square, ledger, value))
            for pid in subject.pids() - {None}:
                kill_if_alive(pid)
        for value, call in enumerate(calls):
            ended = Ended.of(call, LIMIT_S)
            assert ended == Ended(value=value * value) or isinstance(ended.error, WorkerDied), ended
        assert until(lambda: Ended.of(subject.submit(innocents.square, ledger, 50), LIMIT_S) == Ended(value=2500))
    begun = ledger.counts()
    assert all(begun[f"square {value}"] <= 1 for value in range(12))


def kill_if_alive(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # It has ended meanwhile.


# Chunks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_the_rest_of_a_chunk_runs_elsewhere_once_when_an_item_kills_its_worker(method, ledger):
    with Subject("Pool", method) as subject:
        result = subject.pool.map_async(dying.DiesAt(ledger, 3), range(8), chunksize=8)
        with pytest.raises(WorkerDied):
            result.get(LIMIT_S)
        assert ledger.counts() == {f"item {value}": 1 for value in range(8)}


def test_several_items_of_a_chunk_kill_their_workers(ledger):
    with Subject("Pool", "fork") as subject:
        result = subject.pool.map_async(dying.DiesAt(ledger, 0, 4, 5, 15), range(16), chunksize=16)
        with pytest.raises(WorkerDied):
            result.get(LIMIT_S)
        assert ledger.counts() == {f"item {value}": 1 for value in range(16)}


def test_a_chunk_that_its_worker_had_not_begun_runs_elsewhere_as_a_whole(ledger):
    with lone("Pool") as subject:
        value_of(subject.submit(innocents.square, ledger, 0))
        victim = only_worker(subject)
        victim.suspend()
        result = subject.pool.map_async(dying.DiesAt(ledger), range(10), chunksize=5)
        time.sleep(0.02)
        victim.kill()
        assert result.get(LIMIT_S) == list(range(10))
        assert ledger.counts() == {"square 0": 1} | {f"item {value}": 1 for value in range(10)}


def test_an_iterator_over_chunks_goes_on_behind_the_item_that_killed(ledger):
    with Subject("Pool", "fork") as subject:
        results = subject.pool.imap(dying.DiesAt(ledger, 1), range(8), chunksize=4)
        with pytest.raises(WorkerDied):
            list(results)
        assert until(lambda: sum(ledger.counts().values()) == 8)
        assert set(ledger.counts().values()) == {1}


def test_an_executors_chunk_loses_nothing_but_the_item_that_killed(ledger):
    with Subject("Executor", "fork") as subject:
        with pytest.raises(WorkerDied):
            list(subject.pool.map(dying.DiesAt(ledger, 3), range(8), chunksize=8, timeout=LIMIT_S))
        assert until(lambda: sum(ledger.counts().values()) == 8)
        assert set(ledger.counts().values()) == {1}


def test_the_ledger_shows_a_call_that_ran_twice(tmp_path):
    """The instrument itself."""
    ledger = Ledger(tmp_path / "book")
    assert [innocents.square(ledger, 3), innocents.square(ledger, 3)] == [9, 9]
    assert ledger.counts() == {"square 3": 2}
