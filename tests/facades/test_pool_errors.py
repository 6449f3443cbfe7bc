"""How a pool's tasks, inputs and arguments fail: exception types, messages and the remote traceback as their cause."""

import threading
from multiprocessing.pool import MaybeEncodingError, RemoteTraceback

import pytest

from . import tasks
from .comparison import LIMIT_S, Failure, compare, failure_of


def broken_input(good_items):
    yield from range(good_items)
    raise LookupError("the input broke")


class BrokenSequence:
    """Has a length, so that no pool needs to list it first, and breaks at its second item."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __iter__(self):
        return broken_input(1)


# ---- errors raised by the task


@pytest.mark.parametrize(
    "error",
    [
        ValueError("wrong"),
        KeyError("key"),
        KeyError(("a", 1)),
        OSError(2, "missing", "file.txt"),
        ZeroDivisionError(),
        TimeoutError("from the task"),
        AssertionError({"a": 1}),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        tasks.OddNumber(5, limit=3),
    ],
    ids=repr,
)
def test_an_exception_arrives_with_its_type_arguments_and_attributes(pools, error):
    def scenario(pool):
        results = [
            pool.apply_async(tasks.raise_error, (error,)),
            pool.map_async(tasks.raise_error, [error]),
            pool.starmap_async(tasks.raise_error, [(error,)]),
        ]
        failures = []
        for result in results:
            with pytest.raises(type(error)) as caught:
                result.get(LIMIT_S)
            failures.append((Failure.of(caught.value), caught.value.args, sorted(vars(caught.value))))
        return failures

    compare(scenario, pools)


def test_stop_iteration_arrives_like_any_other_exception(pools):
    compare(lambda pool: pool.apply(tasks.raise_error, (StopIteration(3),)), pools, raises=StopIteration)


def test_the_cause_is_the_remote_traceback_with_the_line_that_failed(pools):
    def scenario(pool):
        facts = []
        calls = [
            lambda: pool.apply(tasks.fail, ("bad value",)),
            lambda: pool.map(tasks.fail, ["bad value"]),
            lambda: next(pool.imap(tasks.fail, ["bad value"])),
            lambda: next(pool.imap_unordered(tasks.fail, ["bad value"], 2)),
        ]
        for call in calls:
            with pytest.raises(ValueError) as caught:
                call()
            cause = caught.value.__cause__
            text = str(cause)
            facts.append(
                (
                    isinstance(cause, RemoteTraceback),
                    text.startswith('\n"""\nTraceback (most recent call last):\n'),
                    "raise ValueError(message)  # the line that failed in the worker" in text,
                    text.endswith('ValueError: bad value\n"""'),
                )
            )
        assert facts == [(True,) * 4] * 4
        return facts

    compare(scenario, pools)


def test_chained_exceptions_notes_and_groups_keep_what_the_standard_pool_keeps(pools):
    def scenario(pool):
        with pytest.raises(RuntimeError) as chained:
            pool.apply(tasks.raise_from, ("outer",))
        with pytest.raises(ValueError) as noted:
            pool.apply(tasks.raise_with_note, ("noted",))
        with pytest.raises(ExceptionGroup) as group:
            pool.apply(tasks.raise_group)
        return (
            Failure.of(chained.value),
            "KeyError: 'inner'" in str(chained.value.__cause__),
            noted.value.__notes__,
            [Failure.of(error) for error in group.value.exceptions],
        )

    compare(scenario, pools)


def test_error_callbacks_get_the_exception_itself_before_get_returns(pools):
    def scenario(pool):
        called, failed = [], []
        results = [
            pool.apply_async(tasks.fail, ("one",), callback=called.append, error_callback=failed.append),
            pool.map_async(tasks.fail, ["two"], callback=called.append, error_callback=failed.append),
            pool.starmap_async(tasks.fail, [("three",)], callback=called.append, error_callback=failed.append),
        ]
        for number, result in enumerate(results):
            failure = failure_of(lambda result=result: result.get(LIMIT_S))
            assert failure in [Failure.of(error) for error in failed], f"get() of {number} came before its callback"
        return called, sorted(repr(Failure.of(error)) for error in failed)

    compare(scenario, pools)


@pytest.mark.parametrize("chunksize", [1, 3, 10])
def test_map_fails_with_the_first_chunks_error(libraries, chunksize):
    def scenario(library):
        with library.pool(1) as pool:
            return pool.map_async(tasks.fail_on_odd, range(10), chunksize).get(LIMIT_S)

    compare(scenario, libraries, raises=tasks.OddNumber)


def test_map_reports_an_error_only_after_all_chunks_are_back(pools, new_gate):
    def scenario(pool):
        gate = new_gate()
        result = pool.starmap_async(tasks.wait_for, [("missing argument", 1, 2), (gate.path, "slow")], chunksize=1)
        early = failure_of(lambda: result.get(0.1))
        gate.open()
        return early, failure_of(lambda: result.get(LIMIT_S))

    compare(scenario, pools)


@pytest.mark.parametrize("chunksize", [1, 2])
def test_iteration_goes_on_after_an_exception(libraries, chunksize):
    def scenario(library):
        with library.pool(1) as pool:
            seen = []
            for results in [
                pool.imap(tasks.fail_on_three, range(6), chunksize),
                pool.imap_unordered(tasks.fail_on_three, range(6), chunksize),
            ]:
                for _ in range(8):
                    try:
                        seen.append(next(results))
                    except StopIteration:
                        seen.append("end")
                    except ValueError as error:
                        seen.append(Failure.of(error))
            return seen

    compare(scenario, libraries)


@pytest.mark.parametrize("func", [5, None, "name"])
def test_what_is_not_callable_fails_in_the_worker(pools, func):
    compare(lambda pool: pool.apply(func, (1,)), pools, raises=TypeError)
    compare(lambda pool: pool.map(func, [1, 2]), pools, raises=TypeError)
    compare(lambda pool: pool.starmap(func, [(1,)]), pools, raises=TypeError)
    compare(lambda pool: list(pool.imap(func, [1, 2])), pools, raises=TypeError)


@pytest.mark.parametrize(
    "call",
    [
        lambda pool: pool.apply(tasks.square, (1, 2, 3)),
        lambda pool: pool.apply(tasks.square, (1,), {"z": 2}),
        lambda pool: pool.apply(tasks.square, 5),
        lambda pool: pool.starmap(tasks.add, [1, 2]),
        lambda pool: pool.map(tasks.square, 5),
        lambda pool: pool.starmap(tasks.square, 5),
        lambda pool: next(pool.imap(tasks.square, 5)),
        lambda pool: next(pool.imap_unordered(tasks.square, None)),
        lambda pool: pool.imap(tasks.square, 5, chunksize="x"),
        lambda pool: pool.map(tasks.square),
        lambda pool: pool.map(tasks.square, [1], chunksize="x"),
    ],
)
def test_wrong_arguments_are_type_errors(pools, call):
    # Which line notices, and so what it says, is each library's own business.
    compare(call, pools, raises=TypeError, message="any")


# ---- errors raised by the input


@pytest.mark.parametrize("good_items", [0, 5])
def test_a_broken_input_fails_a_map_at_once(pools, good_items):
    compare(lambda pool: pool.map(tasks.square, broken_input(good_items)), pools, raises=LookupError)
    compare(lambda pool: pool.starmap(tasks.add, broken_input(good_items)), pools, raises=LookupError)
    compare(lambda pool: pool.map_async(tasks.square, broken_input(good_items)), pools, raises=LookupError)


@pytest.mark.parametrize("chunksize", [1, 2])
def test_a_sequence_that_breaks_while_it_is_read_fails_the_map(pools, chunksize):
    compare(
        lambda pool: pool.map_async(tasks.square, BrokenSequence(2), chunksize).get(LIMIT_S), pools, raises=LookupError
    )


@pytest.mark.extension
def test_a_sequence_that_breaks_long_before_its_end_fails_the_map_too(pools):
    # The standard pool waits for ever for the chunks that were never made.
    with pytest.raises(LookupError, match="the input broke"):
        pools.distpool.map_async(tasks.square, BrokenSequence(50), 1).get(LIMIT_S)


@pytest.mark.parametrize("chunksize", [1, 2])
@pytest.mark.parametrize("good_items", [0, 5])
@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_a_broken_input_fails_an_iterator_at_that_item(libraries, method, good_items, chunksize):
    def scenario(library):
        with library.pool(1) as pool:
            results = getattr(pool, method)(tasks.square, broken_input(good_items), chunksize)
            seen = []
            with pytest.raises(LookupError) as caught:
                seen.extend(results)
            return seen, Failure.of(caught.value), list(results), pool.apply(tasks.square, (3,))

    compare(scenario, libraries)


# ---- what does not pickle


@pytest.mark.parametrize("func", [tasks.return_lambda, tasks.return_lock])
def test_a_result_that_does_not_pickle_is_reported_and_the_worker_goes_on(libraries, func):
    def scenario(library):
        with library.pool(1) as pool:
            worker = pool.apply(tasks.pid)
            with pytest.raises(MaybeEncodingError) as caught:
                pool.apply(func)
            error = caught.value
            return (
                Failure.of(error),
                isinstance(error.exc, str),
                isinstance(error.value, str),
                pool.apply(tasks.pid) == worker,
            )

    compare(scenario, libraries)


@pytest.mark.extension
def test_an_exception_that_does_not_pickle_arrives_with_its_type(pools):
    # The standard Pool raises MaybeEncodingError here, and hides which exception it was.
    with pytest.raises(ValueError, match="lock object"):
        pools.distpool.apply(tasks.raise_unpicklable)


def test_results_that_do_not_pickle_fail_maps_and_iterators(pools):
    # The standard message shows the whole chunk.
    compare(lambda pool: pool.map(tasks.return_lock, [1]), pools, raises=MaybeEncodingError, message="any")
    compare(lambda pool: next(pool.imap(tasks.return_lock, [1])), pools, raises=MaybeEncodingError)
    compare(lambda pool: next(pool.imap_unordered(tasks.return_lock, [1])), pools, raises=MaybeEncodingError)


@pytest.mark.parametrize(
    "call",
    [
        lambda pool: pool.apply_async(tasks.echo, (1, {"a": [threading.Lock()]})).get(LIMIT_S),
        lambda pool: pool.apply_async(tasks.echo, (), {"settings": threading.Lock()}).get(LIMIT_S),
        lambda pool: pool.map_async(tasks.same, [1, 2, threading.Lock()]).get(LIMIT_S),
        lambda pool: pool.starmap_async(tasks.echo, [(1, threading.Lock())]).get(LIMIT_S),
        lambda pool: pool.imap(tasks.same, [threading.Lock()]).next(LIMIT_S),
        lambda pool: pool.imap_unordered(tasks.same, [threading.Lock()]).next(LIMIT_S),
        lambda pool: pool.apply_async(threading.Lock().acquire).get(LIMIT_S),
    ],
)
def test_an_argument_that_does_not_pickle_fails_only_its_call(pools, call):
    compare(call, pools, raises=TypeError, message="contained")
    compare(lambda pool: pool.map(tasks.square, [1, 2, 3]), pools)


def test_imap_goes_on_after_an_item_that_does_not_pickle(libraries):
    def scenario(library):
        with library.pool(1) as pool:
            results = pool.imap(tasks.same, [1, threading.Lock(), 3])
            first = results.next(LIMIT_S)
            with pytest.raises(TypeError):
                results.next(LIMIT_S)
            return first, results.next(LIMIT_S), list(results)

    compare(scenario, libraries)


def test_the_error_callback_hears_of_an_argument_that_does_not_pickle(pools):
    def scenario(pool):
        failed = []
        result = pool.apply_async(tasks.same, (threading.Lock(),), error_callback=failed.append)
        result.wait(LIMIT_S)
        return [type(error) for error in failed]

    compare(scenario, pools)


@pytest.mark.extension
@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda pool: pool.apply(tasks.echo, (1, {"a": [0, threading.Lock()]})), ["argument 1", "['a'][1]"]),
        (lambda pool: pool.apply(tasks.echo, (), {"settings": [threading.Lock()]}), ["argument 'settings'", "[0]"]),
        (lambda pool: pool.map(tasks.same, [1, 2, (threading.Lock(),)]), ["item 2", "[0]"]),
        (lambda pool: pool.starmap(tasks.echo, [(1, 2), (3, threading.Lock())]), ["item 1", "[1]"]),
        (lambda pool: list(pool.imap(tasks.same, [1, {"k": threading.Lock()}])), ["item 1", "['k']"]),
    ],
)
def test_the_message_names_the_argument_and_its_part_that_does_not_pickle(pools, call, names):
    with pytest.raises(TypeError, match=r"cannot pickle '_thread.lock' object") as caught:
        call(pools.distpool)
    assert [name for name in names if name not in str(caught.value)] == []
