"""`with_options`: a call's time limit, its retries and its priority."""

import contextlib
import logging
import os
import time
from pathlib import Path

import pytest

import distpool
import distpool.futures
from distpool.errors import CallTimeout, WorkerDied

from . import tasks
from .comparison import LIMIT_S, start_both_workers

pytestmark = pytest.mark.extension

TIMEOUT_S = 0.05
BOUND_S = 1.0

fork = distpool.get_context("fork")


def begin():
    """As an initializer: a worker on a node has imported this module before the time of its first call is counted. As a
    call: there is a worker."""


@pytest.fixture
def pool():
    with fork.Pool(2, begin) as pool:
        yield pool
    pool.join()


@pytest.fixture
def lone_pool():
    """With one worker, so that calls run in the order in which they are sent."""
    with fork.Pool(1, begin) as pool:
        yield pool
    pool.join()


@pytest.fixture(params=[distpool.Executor, distpool.futures.ProcessPoolExecutor])
def executor(request):
    with request.param(2, mp_context=fork, initializer=begin) as executor:
        executor.submit(begin).result(LIMIT_S)
        yield executor


def append_line(path, text):
    with open(path, "a") as log:
        log.write(f"{text}\n")


def lines_of(path):
    return Path(path).read_text().splitlines() if os.path.exists(path) else []


def die(path):
    append_line(path, "begun")
    os.kill(os.getpid(), 9)


def die_at_first(path, value=None):
    """The first run dies, the second returns."""
    append_line(path, "begun")
    if len(lines_of(path)) == 1:
        os.kill(os.getpid(), 9)
    return value


def die_once_for_three(folder, value):
    append_line(os.path.join(folder, str(value)), "begun")
    if value == 3 and len(lines_of(os.path.join(folder, "3"))) == 1:
        os.kill(os.getpid(), 9)
    return value


def sleep_for_three(value):
    if value == 3:
        time.sleep(LIMIT_S)
    return value


def write_at_the_end(path):
    try:
        time.sleep(LIMIT_S)
    finally:
        append_line(path, "cleaned up")


def catch_and_return(path):
    try:
        time.sleep(LIMIT_S)
    except KeyboardInterrupt:
        append_line(path, "caught")
    return "too late"


def catch_and_go_on(path):
    append_line(path, os.getpid())
    give_up_at = time.monotonic() + LIMIT_S
    while time.monotonic() < give_up_at:
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(LIMIT_S)


# ---- time limits


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_call_that_runs_for_too_long_ends_in_time_and_its_worker_is_replaced(method):
    with distpool.get_context(method).Pool(1) as pool:
        before = pool.apply(tasks.pid)
        began_at = time.monotonic()
        with pytest.raises(CallTimeout, match=r"sleep_for ran for longer than its time limit of 0\.05 s"):
            pool.with_options(timeout=TIMEOUT_S).apply(tasks.sleep_for, (LIMIT_S,))
        assert TIMEOUT_S <= time.monotonic() - began_at < TIMEOUT_S + BOUND_S
        assert pool.apply(tasks.pid) != before
    pool.join()


def test_the_error_of_a_time_limit_is_caught_as_the_built_in_one(pool):
    with pytest.raises(TimeoutError):
        pool.with_options(timeout=TIMEOUT_S).apply(tasks.sleep_for, (LIMIT_S,))


def test_an_executors_future_raises_it_and_the_executor_goes_on(executor):
    future = executor.with_options(timeout=TIMEOUT_S).submit(tasks.sleep_for, LIMIT_S)
    began_at = time.monotonic()
    assert isinstance(future.exception(LIMIT_S), CallTimeout)
    assert time.monotonic() - began_at < TIMEOUT_S + BOUND_S
    assert executor.submit(tasks.square, 3).result(LIMIT_S) == 9


@pytest.mark.parametrize(
    "run",
    [
        lambda pool: pool.apply(tasks.sleep_for, (LIMIT_S,)),
        lambda pool: pool.apply_async(tasks.sleep_for, (LIMIT_S,)).get(LIMIT_S),
        lambda pool: pool.map(sleep_for_three, range(5)),
        lambda pool: pool.map_async(sleep_for_three, range(5), 2).get(LIMIT_S),
        lambda pool: pool.starmap(sleep_for_three, [(n,) for n in range(5)]),
        lambda pool: list(pool.imap(sleep_for_three, range(5))),
        lambda pool: list(pool.imap_unordered(sleep_for_three, range(5), 2)),
    ],
    ids=["apply", "apply_async", "map", "map_async", "starmap", "imap", "imap_unordered"],
)
def test_every_kind_of_call_keeps_to_the_limit(pool, run):
    with pytest.raises(CallTimeout):
        run(pool.with_options(timeout=TIMEOUT_S))


@pytest.mark.parametrize("chunksize", [1, 5])
def test_an_executors_map_keeps_to_the_limit(executor, chunksize):
    with pytest.raises(CallTimeout):
        list(executor.with_options(timeout=TIMEOUT_S).map(sleep_for_three, range(5), chunksize=chunksize))


def test_calls_beside_and_behind_the_one_that_is_ended_are_unharmed(lone_pool):
    lone_pool.map(tasks.same, range(3000), chunksize=1)  # calls are short, so many are sent ahead
    limited = lone_pool.with_options(timeout=TIMEOUT_S)
    before = [lone_pool.apply_async(tasks.same, (n,)) for n in range(50)]
    victim = limited.apply_async(tasks.sleep_for, (LIMIT_S,))
    behind = [each.apply_async(tasks.same, (n,)) for n in range(50) for each in (limited, lone_pool)]
    with pytest.raises(CallTimeout):
        victim.get(LIMIT_S)
    assert [result.get(LIMIT_S) for result in before] == list(range(50))
    assert [result.get(LIMIT_S) for result in behind] == [n for n in range(50) for _ in range(2)]


def test_each_limit_is_counted_from_the_beginning_of_its_call(lone_pool):
    limited = lone_pool.with_options(timeout=0.25)
    results = [limited.apply_async(tasks.sleep_for, (0.06,)) for _ in range(6)]
    assert [result.get(LIMIT_S) for result in results] == [0.06] * 6


@pytest.mark.parametrize("chunksize", [None, 8])
def test_in_a_map_the_limit_is_each_items_own(lone_pool, chunksize):
    limited = lone_pool.with_options(timeout=0.25)
    assert limited.map(tasks.sleep_for, [0.06] * 6, chunksize) == [0.06] * 6


def test_in_an_executors_map_the_limit_is_each_items_own():
    with fork_executor() as executor:
        results = executor.with_options(timeout=0.25).map(tasks.sleep_for, [0.06] * 6, chunksize=6)
        assert list(results) == [0.06] * 6


def fork_executor():
    return distpool.futures.ProcessPoolExecutor(1, mp_context=fork)


def test_imap_goes_on_behind_the_item_that_ran_for_too_long(pool):
    results = pool.with_options(timeout=TIMEOUT_S).imap(sleep_for_three, range(6))
    got = []
    for _ in range(6):
        try:
            got.append(results.next(LIMIT_S))
        except CallTimeout:
            got.append("ended")
    assert got == [0, 1, 2, "ended", 4, 5]


def test_finally_blocks_of_the_call_run(pool, tmp_path):
    path = str(tmp_path / "log")
    with pytest.raises(CallTimeout):
        pool.with_options(timeout=TIMEOUT_S).apply(write_at_the_end, (path,))
    pool.close()
    pool.join()
    assert lines_of(path) == ["cleaned up"]


def test_what_a_call_returns_after_its_limit_is_not_its_result(lone_pool, tmp_path):
    path = str(tmp_path / "log")
    result = lone_pool.with_options(timeout=TIMEOUT_S).apply_async(catch_and_return, (path,))
    with pytest.raises(CallTimeout):
        result.get(LIMIT_S)
    assert lone_pool.apply(tasks.square, (3,)) == 9
    assert lines_of(path) == ["caught"]


def test_a_call_that_catches_the_interrupt_and_goes_on_is_killed(lone_pool, tmp_path):
    path = str(tmp_path / "log")
    lone_pool.apply(begin)
    began_at = time.monotonic()
    with pytest.raises(CallTimeout):
        lone_pool.with_options(timeout=TIMEOUT_S).apply(catch_and_go_on, (path,))
    assert time.monotonic() - began_at < TIMEOUT_S + BOUND_S
    lone_pool.apply_async(tasks.square, (3,)).get(LIMIT_S)  # its worker comes when the old one is gone
    assert not os.path.exists(f"/proc/{lines_of(path)[0]}")


def test_a_limit_that_is_not_reached_changes_nothing(pool):
    before = {worker.pid for worker in pool._pool}
    limited = pool.with_options(timeout=10)
    assert limited.map(tasks.square, range(500), chunksize=10) == [n * n for n in range(500)]
    assert limited.apply(tasks.square, (4,)) == 16
    assert {worker.pid for worker in pool._pool} == before


@pytest.mark.parametrize("timeout", ["60d", 1e300, "9" * 400 + "d"])
def test_a_limit_of_more_than_the_system_can_wait_is_as_good_as_none(pool, capsys, timeout):
    assert pool.with_options(timeout=timeout).apply_async(tasks.sleep_for, (0.1,)).get(1e7) == 0.1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("timeout", [0.05, "0.05s", "50ms", " 50 ms ", "50.0ms"])
def test_forms_of_a_time_limit(lone_pool, timeout):
    with pytest.raises(CallTimeout, match=r"limit of 0\.05 s"):
        lone_pool.with_options(timeout=timeout).apply(tasks.sleep_for, (LIMIT_S,))


@pytest.mark.parametrize(("timeout", "seconds"), [("30s", 30), ("1.5min", 90), ("2h", 7200), ("1d", 86400), (7, 7)])
def test_units_of_a_time_limit(pool, timeout, seconds):
    assert f"timeout_s={seconds:.1f}," in repr(pool.with_options(timeout=timeout))


def test_none_takes_a_limit_away(pool):
    limited = pool.with_options(timeout=0.01, retries=1)
    assert limited.with_options(timeout=None).apply(tasks.sleep_for, (0.1,)) == 0.1


# ---- retries


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_call_whose_worker_dies_is_run_again_and_the_log_says_so(tmp_path, caplog, method):
    path = str(tmp_path / "log")
    with distpool.get_context(method).Pool(1) as pool, caplog.at_level(logging.WARNING, "distpool"):
        assert pool.with_options(retries=1).apply(die_at_first, (path, 5)) == 5
    pool.join()
    (record,) = [record for record in caplog.records if record.name == "distpool"]
    assert "was killed by SIGKILL" in record.getMessage()
    assert "retry 1 of 1" in record.getMessage()


@pytest.mark.parametrize("retries", [0, 2])
def test_a_call_is_begun_at_most_once_more_than_its_retries(pool, tmp_path, retries):
    path = str(tmp_path / "log")
    with pytest.raises(WorkerDied) as caught:
        pool.with_options(retries=retries).apply(die, (path,))
    assert lines_of(path) == ["begun"] * (retries + 1)
    if retries:
        assert f"The call was begun {retries + 1} times" in str(caught.value)
    else:
        assert "with_options(retries=1)" in str(caught.value)


def test_an_exception_is_not_retried(pool, tmp_path):
    path = str(tmp_path / "log")

    def fail():
        append_line(path, "begun")
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        pool.with_options(retries=3).apply(fail)
    assert lines_of(path) == ["begun"]


def test_a_call_that_ran_for_too_long_is_not_retried(pool, tmp_path):
    path = str(tmp_path / "log")

    def stay():
        append_line(path, "begun")
        time.sleep(LIMIT_S)

    with pytest.raises(CallTimeout):
        pool.with_options(retries=3, timeout=TIMEOUT_S).apply(stay)
    pool.close()
    pool.join()
    assert lines_of(path) == ["begun"]


def test_an_executor_outlives_deaths_of_calls_that_may_be_run_again(executor, tmp_path):
    path = str(tmp_path / "log")
    assert executor.with_options(retries=1).submit(die_at_first, path, 5).result(LIMIT_S) == 5
    assert executor.submit(tasks.square, 3).result(LIMIT_S) == 9


@pytest.mark.parametrize(
    "run",
    [
        lambda pool, items: pool.starmap(die_once_for_three, items),
        lambda pool, items: pool.starmap(die_once_for_three, items, 5),
        lambda pool, items: pool.map(lambda item: die_once_for_three(*item), items, 5),
        lambda pool, items: list(pool.imap(lambda item: die_once_for_three(*item), items)),
        lambda pool, items: sorted(pool.imap_unordered(lambda item: die_once_for_three(*item), items, 2)),
    ],
    ids=["starmap", "starmap in chunks", "map in chunks", "imap", "imap_unordered in chunks"],
)
def test_every_kind_of_call_is_run_again(pool, tmp_path, run):
    assert run(pool.with_options(retries=2), [(str(tmp_path), n) for n in range(10)]) == list(range(10))
    assert lines_of(tmp_path / "3") == ["begun"] * 2


@pytest.mark.parametrize("chunksize", [1, 5])
def test_an_executors_map_is_run_again(executor, tmp_path, chunksize):
    retrying = executor.with_options(retries=1)
    results = retrying.map(die_once_for_three, [str(tmp_path)] * 10, range(10), chunksize=chunksize)
    assert list(results) == list(range(10))


@pytest.mark.parametrize(
    "run",
    [
        lambda pool, values: pool.apply(sum, (values,)),
        lambda pool, values: pool.apply_async(tasks.keywords, kwds={"values": values}),
        lambda pool, values: pool.map(sum, [[1], values]),
        lambda pool, values: pool.map(sum, [[1], values], 2),
        lambda pool, values: pool.starmap(sum, [([1],), (values,)]),
        lambda pool, values: list(pool.imap(sum, [values])),
        lambda pool, values: list(pool.imap_unordered(sum, [[1], values], 2)),
    ],
    ids=["apply", "apply_async", "map", "map in chunks", "starmap", "imap", "imap_unordered in chunks"],
)
def test_an_iterator_cannot_be_repeated_and_is_refused_with_the_reason(pool, run):
    values = iter([1, 2])
    with pytest.raises(TypeError, match=r"is an iterator \(a list_iterator\).*cannot be repeated.*pass a list"):
        run(pool.with_options(retries=1), values)
    assert next(values) == 1, "nobody has touched it"


@pytest.mark.parametrize("chunksize", [1, 2])
def test_an_executor_refuses_an_iterator_before_it_sends_anything(executor, tmp_path, chunksize):
    path = str(tmp_path / "log")
    retrying = executor.with_options(retries=1)
    with pytest.raises(TypeError, match=r"is an iterator .*cannot be repeated"):
        retrying.submit(sum, iter([1]))
    with pytest.raises(TypeError, match=r"is an iterator .*cannot be repeated"):
        retrying.map(append_line, [path, path], ["sent", iter([1])], chunksize=chunksize)
    executor.shutdown()
    assert lines_of(path) == []


def test_iterators_are_welcome_without_retries(pool):
    assert pool.with_options(timeout=10).apply(sum, (iter([1, 2]),)) == 3


# ---- priority


def test_calls_with_a_higher_priority_go_first(lone_pool, new_gate, tmp_path):
    gate, path = new_gate(), str(tmp_path / "log")
    started = str(tmp_path / "started")
    blocker = lone_pool.apply_async(tasks.announce_and_wait, (started, gate.path))
    tasks.wait_for(started)
    # More than are sent ahead of the blocker's end.
    results = [lone_pool.apply_async(tasks.same, (0,)) for _ in range(5000)]
    results.extend(
        lone_pool.with_options(priority=priority).apply_async(append_line, (path, priority))
        for priority in (-1, 0, 2, 1)
    )
    gate.open()
    for result in [blocker, *results]:
        result.get(LIMIT_S)
    assert lines_of(path) == ["2", "1", "0", "-1"]


def test_a_map_with_priority_overtakes_one_without(lone_pool, new_gate, tmp_path):
    gate, path = new_gate(), str(tmp_path / "log")
    started = str(tmp_path / "started")
    blocker = lone_pool.apply_async(tasks.announce_and_wait, (started, gate.path))
    tasks.wait_for(started)
    usual = lone_pool.starmap_async(append_line, [(path, "usual")] * 20, chunksize=1)
    urgent = lone_pool.with_options(priority=1).starmap_async(append_line, [(path, "urgent")] * 3, chunksize=1)
    gate.open()
    for result in (blocker, usual, urgent):
        result.get(LIMIT_S)
    lines = lines_of(path)
    assert lines.index("urgent") < 10
    assert lines[lines.index("urgent") :][:3] == ["urgent"] * 3


# ---- what `with_options` takes


def with_options_of(subject):
    return [subject.with_options, subject.with_options(priority=1).with_options]


@pytest.fixture(scope="module")
def takers():
    """Nobody dies here, so one of each is enough."""
    with fork.Pool(2) as pool, fork_executor() as executor:
        start_both_workers(pool.map)
        yield [*with_options_of(pool), *with_options_of(executor)]


def test_an_unknown_option_is_refused_with_a_list_of_the_known_ones(takers):
    for with_options in takers:
        known = "timeout, retries, priority(, num_cpus.*)?"  # an executor's may be about workers too
        with pytest.raises(TypeError, match=rf"no option 'colour'; its options are {known}$"):
            with_options(colour=1)
        with pytest.raises(TypeError, match="did you mean 'timeout'"):
            with_options(time_out=1)


@pytest.mark.parametrize("timeout", ["30 sec", "-1s", "", "s", "1s30ms", "0s", "1e3s", 0, -1, float("nan")])
def test_a_time_limit_that_means_nothing_is_refused_with_the_forms_that_do(takers, timeout):
    for with_options in takers:
        with pytest.raises(ValueError, match=r"timeout is .*seconds above 0.*500ms.*30s.*1\.5min") as caught:
            with_options(timeout=timeout)
        assert repr(timeout) in str(caught.value)


@pytest.mark.parametrize("timeout", [True, False, b"1s", [1], 1j])
def test_a_time_limit_of_another_type_is_refused_with_the_forms_that_do(takers, timeout):
    for with_options in takers:
        with pytest.raises(TypeError, match=r"timeout is .*500ms.*30s"):
            with_options(timeout=timeout)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"retries": -1}, ValueError, "retries is -1; it must be at least 0"),
        ({"retries": True}, TypeError, "retries is True, a bool"),
        ({"retries": "3"}, TypeError, "must be an int of at least 0"),
        ({"retries": None}, TypeError, "must be an int of at least 0"),
        ({"priority": 1.5}, TypeError, "priority is 1.5, a float; it must be an int"),
        ({"priority": False}, TypeError, "it must be an int"),
    ],
)
def test_other_values_that_are_refused(takers, options, error, message):
    for with_options in takers:
        with pytest.raises(error, match=message):
            with_options(**options)


def test_options_add_up_and_the_pool_itself_has_none(pool, tmp_path):
    path = str(tmp_path / "log")
    changed = pool.with_options(retries=1).with_options(timeout=10)
    assert changed.apply(die_at_first, (path, 5)) == 5
    os.unlink(path)
    with pytest.raises(WorkerDied):
        pool.apply(die_at_first, (path,))


def test_a_pool_with_options_is_the_same_pool():
    with fork.Pool(1).with_options(priority=1) as pool:
        assert pool.apply(tasks.square, (3,)) == 9
        pool.close()
        pool.join()
        with pytest.raises(ValueError, match="not running"):
            pool.apply(tasks.square, (3,))
