"""Errors of one call surface at that call, with their type and the remote traceback, and the pool goes on."""

import os
import time

import pytest

import distpool
from distpool.errors import RemoteError
from distpool.futures import BrokenProcessPool

from . import deeds, errors, innocents
from .cell import METHODS, Ended, Subject
from .innocents import LIMIT_S

TEXT_LIMIT = 64 * 1024


def error_of(handle: object) -> BaseException:
    ended = Ended.of(handle, LIMIT_S)
    assert not ended.hangs
    assert ended.error is not None, ended.value
    return ended.error


def require_goes_on(subject: Subject, before: set[int]) -> None:
    """The same workers take calls."""
    assert Ended.of(subject.submit(abs, -3), LIMIT_S) == Ended(value=3)
    assert subject.pids() == before


@pytest.fixture
def started(survivor):
    """With both workers known."""
    for call in [survivor.submit(time.sleep, 0.05) for _ in range(2)]:
        Ended.of(call, LIMIT_S)
    return survivor


# Exceptions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (deeds.raise_with_required_arguments, deeds.NeedsArguments),
        (errors.raise_with_keyword_only_arguments, errors.KeywordOnly),
        (deeds.raise_with_a_lock, deeds.HoldsLock),
        (deeds.raise_chained, RuntimeError),
        (errors.raise_with_notes, ValueError),
        (deeds.raise_a_group, ExceptionGroup),
        (errors.raise_a_group_of_awkward_ones, ExceptionGroup),
        (errors.raise_a_local_class, RemoteError),
        (deeds.recurse, RecursionError),
        (deeds.exhaust_memory, MemoryError),
        (errors.stop_iterating, StopIteration),
        (errors.leave_a_generator, GeneratorExit),
        (deeds.exit_with_three, SystemExit),
        (deeds.be_interrupted, KeyboardInterrupt),
    ],
    ids=lambda value: value.__name__,
)
def test_an_exception_arrives_with_its_type_and_traceback_and_the_worker_goes_on(started, function, kind):
    before = started.pids()
    error = error_of(started.submit(function))
    assert type(error) is kind
    assert function.__name__ in str(error.__cause__)
    require_goes_on(started, before)


def test_arguments_and_attributes_of_exceptions_arrive(started):
    needs = error_of(started.submit(deeds.raise_with_required_arguments))
    assert (needs.args, needs.code) == (("no licence",), 7)
    keyword_only = error_of(started.submit(errors.raise_with_keyword_only_arguments))
    assert (str(keyword_only), keyword_only.code) == ("no licence", 7)
    assert str(error_of(started.submit(deeds.raise_with_a_lock))) == "no licence"
    assert error_of(started.submit(deeds.exit_with_three)).code == 3


def test_notes_causes_contexts_and_members_of_groups_are_in_the_remote_traceback(started):
    noted = error_of(started.submit(errors.raise_with_notes))
    assert noted.__notes__ == ["first note", "second note"]
    assert "second note" in str(noted.__cause__)
    chained = str(error_of(started.submit(deeds.raise_chained)).__cause__)
    assert "KeyError: 'inner'" in chained
    assert "direct cause" in chained
    assert "During handling" in str(error_of(started.submit(errors.raise_while_handling)).__cause__)
    group = error_of(started.submit(deeds.raise_a_group))
    assert [type(member) for member in group.exceptions] == [ValueError, KeyError]


@pytest.mark.parametrize(
    "function", [errors.raise_huge_text, errors.raise_huge_chain], ids=lambda value: value.__name__
)
def test_a_huge_traceback_is_cut(started, function):
    before = started.pids()
    error = error_of(started.submit(function, 10_000_000))
    assert type(error) is ValueError
    assert len(str(error.__cause__)) <= TEXT_LIMIT + 200
    require_goes_on(started, before)


@pytest.mark.parametrize("function", [deeds.exit_with_three, deeds.be_interrupted, errors.leave_a_generator])
@pytest.mark.parametrize("method", METHODS)
def test_exits_in_a_map_or_an_iterator_belong_to_their_items(method, function):
    with distpool.get_context(method).Pool(2) as pool:
        results = pool.imap(errors.OnlyAt(3, function), range(6))
        got = [Ended.of_next(results, LIMIT_S) for _ in range(6)]
        assert [ended.value for ended in got] == [0, 1, 2, None, 4, 5]
        kind = type(got[3].error)
        assert kind in (SystemExit, KeyboardInterrupt, GeneratorExit)
        with pytest.raises(kind):
            pool.map_async(errors.OnlyAt(3, function), range(6), chunksize=2).get(LIMIT_S)
        assert pool.apply_async(abs, [-1]).get(LIMIT_S) == 1


# What cannot be pickled in the caller ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "kind"),
    [
        (lambda: deeds.WhilePickled(deeds.refuse), ValueError),
        (lambda: deeds.WhilePickled(deeds.exit_with_three), SystemExit),
        (lambda: deeds.WhilePickled(deeds.be_interrupted), KeyboardInterrupt),
        (deeds.nested, RecursionError),
        (deeds.return_a_lock, TypeError),
    ],
    ids=["raises", "exits", "is interrupted", "too deep", "lock"],
)
def test_an_argument_that_cannot_be_pickled_fails_its_call_and_holds_no_place(started, argument, kind):
    """At the call or at its result, as the standard library does it."""
    before = started.pids()
    bad = argument()
    for _ in range(20):
        with pytest.raises(kind):
            raise error_of(started.submit(deeds.same, bad))
    del bad
    require_goes_on(started, before)


# What cannot be unpickled in the caller -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "kind"),
    [(deeds.return_what_refuses_to_unpickle, ValueError), (deeds.return_what_exits_at_unpickle, SystemExit)],
    ids=["raises", "exits"],
)
def test_a_result_that_fails_to_unpickle_fails_its_call_only(started, function, kind):
    before = started.pids()
    beside = [started.submit(abs, -number) for number in range(10)]
    assert type(error_of(started.submit(function))) is kind
    assert [Ended.of(call, LIMIT_S).value for call in beside] == list(range(10))
    require_goes_on(started, before)


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_that_breaks_by_such_a_result_gives_no_other_result_afterwards(method, ledger, tmp_path):
    """Not even one that comes while its callback runs."""
    gate = tmp_path / "gate"

    def let_the_other_end(_):
        gate.touch()
        time.sleep(0.1)

    with Subject("ProcessPoolExecutor", method) as subject:
        beside = subject.submit(innocents.stay, ledger, "beside", str(gate))
        assert ledger.wait_for("beside", LIMIT_S)
        subject.submit(deeds.return_what_refuses_to_unpickle).add_done_callback(let_the_other_end)
        assert isinstance(error_of(beside), BrokenProcessPool)


@pytest.mark.parametrize("chunksize", [1, 4])
def test_a_map_with_a_result_that_fails_to_unpickle_fails_and_the_pool_goes_on(chunksize):
    with distpool.get_context("fork").Pool(2) as pool:
        with pytest.raises(ValueError, match="refused"):
            pool.map_async(errors.OnlyReturns(2), range(8), chunksize=chunksize).get(LIMIT_S)
        results = pool.imap(errors.OnlyReturns(2), range(4))
        got = [Ended.of_next(results, LIMIT_S) for _ in range(4)]
        assert [ended.value for ended in got] == [0, 1, None, 3]
        assert pool.map(abs, [-1]) == [1]


# Extreme sizes --------------------------------------------------------------------------------------------------------


def test_nothing_and_much_travel_alike(started):
    for value in (b"", "", [], bytes(16 * 1024), bytes(16 * 1024 + 1), bytes(64 * 1024 + 1), bytes(30_000_000)):
        assert Ended.of(started.submit(deeds.same, value), LIMIT_S) == Ended(value=value)


def test_a_result_is_read_whole_however_little_the_kernel_gives_at_once(monkeypatch):
    """Linux reads at most two gigabytes in one go: here a megabyte, so that the test needs no such memory."""
    read = os.preadv
    with distpool.get_context("fork").Pool(2) as pool:
        monkeypatch.setattr(os, "preadv", lambda file, buffers, at: read(file, [memoryview(buffers[0])[: 1 << 20]], at))
        assert pool.apply_async(bytes, [5_000_000]).get(LIMIT_S) == bytes(5_000_000)
        assert pool.apply_async(abs, [-1]).get(LIMIT_S) == 1


def test_a_nesting_that_the_standard_pickle_carries_is_carried(started):
    depth = 200
    value = Ended.of(started.submit(deeds.nested, depth), LIMIT_S).value
    assert value == deeds.nested(depth)


# The input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
def test_an_error_while_the_input_is_read_comes_after_the_items_before_it(kind, ledger):
    def items():
        yield from range(3)
        raise kind("input")

    with distpool.get_context("fork").Pool(2) as pool:
        results = pool.imap(abs, items())
        got = [Ended.of_next(results, LIMIT_S) for _ in range(4)]
        assert [ended.value for ended in got[:3]] == [0, 1, 2]
        assert type(got[3].error) is kind
        with pytest.raises(kind):
            pool.map(abs, items())
        assert pool.apply_async(innocents.square, [ledger, 3]).get(LIMIT_S) == 9


# Callbacks ------------------------------------------------------------------------------------------------------------


def test_a_callback_that_fails_or_exits_harms_no_other(capsys):
    called = []
    with distpool.get_context("fork").Pool(2) as pool:
        for deed in (deeds.refuse, deeds.exit_with_three, called.append):
            result = pool.apply_async(abs, [-2], callback=deed)
            assert result.get(LIMIT_S) == 2
        assert called == [2]
        assert pool.map(abs, [-1, -2]) == [1, 2]
    assert "ValueError: refused" in capsys.readouterr().err


def test_a_callback_may_call_the_pool_after_a_death():
    again = []
    with distpool.get_context("fork").Pool(2) as pool:
        lost = pool.apply_async(
            deeds.kill_oneself, error_callback=lambda error: again.append(pool.apply_async(abs, [-4]))
        )
        lost.wait(LIMIT_S)
        assert again[0].get(LIMIT_S) == 4
