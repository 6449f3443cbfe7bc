"""`progress=True`: a bar that advances when calls end."""

import io
import sys
import threading
import time
import types

import pytest

import distpool
import distpool.futures
from distpool import progress as progress_module
from distpool.progress import PlainLine, Progress

from . import tasks
from .comparison import LIMIT_S, start_both_workers

pytestmark = pytest.mark.extension

fork = distpool.get_context("fork")


class Bar:
    """Stands for tqdm's."""

    def __init__(self, total=None, unit="", **_):
        self.total = total
        self.unit = unit
        self.count = 0
        self.updates = []
        self.closed = 0
        self._changed = threading.Condition()

    def update(self, count):
        assert not self.closed
        with self._changed:
            self.count += count
            self.updates.append(count)
            self._changed.notify_all()

    def refresh(self):
        pass

    def close(self):
        with self._changed:
            self.closed += 1
            self._changed.notify_all()

    def wait_for(self, is_so):
        with self._changed:
            assert self._changed.wait_for(is_so, LIMIT_S), vars(self)

    def state(self):
        return self.count, self.total, self.closed


@pytest.fixture
def bars(monkeypatch):
    """All bars that were made; tqdm is a fake one."""
    made = []

    def make(*args, **kwargs):
        made.append(Bar(*args, **kwargs))
        return made[-1]

    monkeypatch.setitem(sys.modules, "tqdm", types.SimpleNamespace(tqdm=make))
    return made


@pytest.fixture(scope="module")
def pool():
    with fork.Pool(2) as pool:
        start_both_workers(pool.map)
        yield pool
    pool.join()


@pytest.fixture(scope="module", params=[distpool.Executor, distpool.futures.ProcessPoolExecutor])
def executor(request):
    with request.param(2, mp_context=fork) as executor:
        start_both_workers(executor.map)
        yield executor


def numbers(count):
    yield from range(count)


@pytest.mark.parametrize(
    ("run", "total"),
    [
        (lambda pool: pool.map(tasks.square, range(30), progress=True), 30),
        (lambda pool: pool.map(tasks.square, numbers(30), progress=True), 30),
        (lambda pool: pool.map(tasks.square, range(30), 7, progress=True), 30),
        (lambda pool: pool.map_async(tasks.square, range(30), 7, progress=True).get(LIMIT_S), 30),
        (lambda pool: pool.starmap(tasks.add, [(n, 1) for n in range(30)], progress=True), 30),
        (lambda pool: pool.starmap_async(tasks.add, [(n, 1) for n in range(30)], progress=True).get(LIMIT_S), 30),
        (lambda pool: list(pool.imap(tasks.square, range(30), progress=True)), 30),
        (lambda pool: list(pool.imap(tasks.square, range(30), 7, progress=True)), 30),
        (lambda pool: list(pool.imap(tasks.square, numbers(30), progress=True)), None),
        (lambda pool: list(pool.imap_unordered(tasks.square, range(30), progress=True)), 30),
        (lambda pool: list(pool.imap_unordered(tasks.square, numbers(30), 7, buffersize=10, progress=True)), None),
        (lambda pool: pool.with_options(retries=1).map(tasks.square, range(30), progress=True), 30),
    ],
    ids=[
        "map",
        "map of a generator",
        "map in chunks",
        "map_async",
        "starmap",
        "starmap_async",
        "imap",
        "imap in chunks",
        "imap of a generator",
        "imap_unordered",
        "imap_unordered with buffersize",
        "with options",
    ],
)
def test_a_bar_counts_every_item_once_and_is_closed_at_the_end(pool, bars, run, total):
    assert len(run(pool)) == 30
    (bar,) = bars
    bar.wait_for(lambda: bar.closed)
    assert bar.state() == (30, total, 1)
    assert bar.unit == "call"


@pytest.mark.parametrize("chunksize", [1, 7])
def test_the_same_for_an_executors_map(executor, bars, chunksize):
    assert list(executor.map(tasks.square, range(30), chunksize=chunksize, progress=True)) == [n * n for n in range(30)]
    retrying = executor.with_options(retries=1)
    assert len(list(retrying.map(tasks.square, numbers(30), chunksize=chunksize, progress=True))) == 30
    assert [bar.state() for bar in bars] == [(30, 30, 1), (30, None, 1)]


def test_without_progress_there_is_no_bar(pool, executor, bars):
    pool.map(tasks.square, range(3))
    list(pool.imap(tasks.square, range(3)))
    list(executor.map(tasks.square, range(3)))
    assert bars == []


def test_nothing_to_do_leaves_no_open_bar(pool, executor, bars):
    assert pool.map(tasks.square, [], progress=True) == []
    assert list(pool.imap(tasks.square, [], progress=True)) == []
    assert list(executor.map(tasks.square, [], progress=True)) == []
    for bar in bars:
        bar.wait_for(lambda bar=bar: bar.closed == 1)


@pytest.mark.parametrize("method", ["map_async", "imap", "imap_unordered"])
def test_a_bar_advances_when_calls_end_and_not_when_results_are_taken(pool, bars, new_gate, method):
    gate = new_gate()
    arguments = {"chunksize": 1, "progress": True}
    results = getattr(pool, method)(lambda n: tasks.wait_or_return(gate.path, n), range(10), **arguments)
    (bar,) = bars
    bar.wait_for(lambda: bar.count == 9)
    assert not bar.closed
    gate.open()
    bar.wait_for(lambda: bar.closed)
    assert bar.state() == (10, 10, 1)
    assert sorted(results.get(LIMIT_S) if method == "map_async" else results) == list(range(10))


def test_the_same_for_an_executors_map_in_any_order(executor, bars, new_gate):
    gate = new_gate()
    results = executor.map(tasks.wait_or_return, [gate.path] * 10, range(10), progress=True)
    (bar,) = bars
    bar.wait_for(lambda: bar.count == 9)
    gate.open()
    bar.wait_for(lambda: bar.count == 10)
    assert list(results) == list(range(10))
    assert bar.closed == 1


def test_a_map_shows_about_a_hundred_steps(pool, bars):
    pool.map(tasks.square, range(3000), progress=True)
    assert 90 <= len(bars[0].updates) <= 110


def test_items_that_fail_count_too(pool, bars):
    with pytest.raises(ValueError, match="three"):
        pool.map(tasks.fail_on_three, range(10), 1, progress=True)
    results = pool.imap(tasks.fail_on_three, [1, threading.Lock(), 3], progress=True)
    for _ in range(3):
        try:
            results.next(LIMIT_S)
        except (ValueError, TypeError):
            continue
    for bar in bars:
        bar.wait_for(lambda bar=bar: bar.closed)
    assert [bar.state() for bar in bars] == [(10, 10, 1), (3, 3, 1)]


def test_chunks_that_fail_count_with_the_items_that_they_had(pool, bars):
    for method in (pool.map, pool.imap):
        with pytest.raises(ValueError, match="three"):
            list(method(tasks.fail_on_three, [0, 1, 2, 4, 5, 6, 7, 3], 5, progress=True))
    for bar in bars:
        bar.wait_for(lambda bar=bar: bar.closed)
    assert [bar.state() for bar in bars] == [(8, 8, 1)] * 2


def test_an_input_that_fails_closes_the_bar(pool, bars):
    def failing():
        yield from range(5)
        raise KeyError("input")

    with pytest.raises(KeyError):
        list(pool.imap(tasks.square, failing(), progress=True))
    bars[0].wait_for(lambda: bars[0].closed)
    assert bars[0].state() == (5, None, 1)


@pytest.mark.parametrize("step", ["__init__", "update", "refresh", "close"])
def test_a_bar_that_fails_harms_no_call(monkeypatch, pool, step):
    class FailingBar(Bar):
        pass

    def fail(*_, **__):
        raise OSError("nobody reads it any more")

    setattr(FailingBar, step, fail)
    monkeypatch.setitem(sys.modules, "tqdm", types.SimpleNamespace(tqdm=FailingBar))
    assert pool.map_async(tasks.square, range(9), progress=True).get(LIMIT_S) == [n * n for n in range(9)]
    assert list(pool.imap(tasks.square, range(9), progress=True)) == [n * n for n in range(9)]
    with distpool.Executor(1, mp_context=fork, progress=True) as executor:
        assert executor.submit(tasks.square, 3).result(LIMIT_S) == 9
        assert list(executor.map(tasks.square, range(9), progress=True)) == [n * n for n in range(9)]


def test_a_pool_that_is_terminated_closes_its_bar(bars, tmp_path):
    with fork.Pool(1) as pool:
        result = pool.map_async(tasks.wait_for, [str(tmp_path / "never")] * 3, progress=True)
    with pytest.raises(distpool.PoolTerminated):
        result.get(LIMIT_S)
    pool.join()
    assert bars[0].closed == 1


@pytest.mark.parametrize("kind", [distpool.Executor, distpool.futures.ProcessPoolExecutor])
def test_an_executors_own_bar_counts_what_was_submitted(bars, kind):
    with kind(2, mp_context=fork, progress=True) as executor:
        (bar,) = bars
        assert bar.state() == (0, None, 0)
        futures = [executor.submit(tasks.square, n) for n in range(10)]
        futures += [executor.with_options(retries=1).submit(tasks.square, n) for n in range(5)]
        futures.append(executor.submit(tasks.fail))
        assert bar.total == 16
        assert len(list(executor.map(tasks.square, range(4)))) == 4
        bar.wait_for(lambda: bar.count == 20)
        assert [future.done() for future in futures] == [True] * 16
    assert bar.state() == (20, 20, 1)


def test_the_bar_of_an_executor_that_is_not_waited_for_closes_with_its_last_call(bars, tmp_path):
    executor = distpool.Executor(1, mp_context=fork, progress=True)
    (bar,) = bars
    gate = tmp_path / "gate"
    future = executor.submit(tasks.wait_for, str(gate))
    executor.shutdown(wait=False)
    assert bar.state() == (0, 1, 0)
    gate.touch()
    future.result(LIMIT_S)
    bar.wait_for(lambda: bar.state() == (1, 1, 1))
    executor.shutdown()


# ---- the plain line


@pytest.fixture
def without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)


@pytest.mark.usefixtures("without_tqdm")
def test_without_tqdm_lines_on_standard_error_show_it(capsys, pool):
    pool.map(time.sleep, [0.005] * 30, 1, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert 5 < len(lines) <= 10, "at most one for each tenth; calls that end together share one"
    assert lines[0].startswith(("3/30 calls, ", "4/30 calls, "))
    assert lines[-1].startswith("30/30 calls, ")
    assert lines[-1].endswith(" s")


@pytest.mark.usefixtures("without_tqdm")
def test_a_plain_line_of_an_unknown_total_is_written_at_the_end(capsys):
    progress = Progress(None)
    progress.advance(3)
    progress.advance(4)
    progress.close()
    progress.close()
    assert [line.partition(",")[0] for line in capsys.readouterr().err.splitlines()] == ["7 calls"]


def test_on_a_terminal_the_line_is_rewritten_in_place(monkeypatch):
    terminal, now = io.StringIO(), [100.0]
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress_module, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    line = PlainLine(1000)
    for _ in range(1000):
        now[0] += 0.001
        line.update(1)
    line.close()
    drawn = terminal.getvalue().split("\r")
    assert drawn[0] == ""
    assert 10 <= len(drawn) <= 12, "ten times a second"
    assert drawn[-1] == "1000/1000 calls, 1.0 s\n"


@pytest.mark.usefixtures("without_tqdm")
@pytest.mark.parametrize("is_closed", [False, True])
def test_a_program_without_standard_error_runs_all_the_same(monkeypatch, pool, is_closed):
    stream = None
    if is_closed:
        stream = io.StringIO()
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    assert pool.map(tasks.square, range(20), progress=True) == [n * n for n in range(20)]
