"""A future's life: running, done, cancelled, called back; and how its task fails."""

import threading
from concurrent.futures import CancelledError
from concurrent.futures.process import _RemoteTraceback

import pytest

from . import tasks
from .comparison import LIMIT_S, Failure, compare, failure_of


def eventually(condition):
    """Whether `condition` comes true in time; looked at without sleeping long."""
    pause = threading.Event()
    for _ in range(LIMIT_S * 200):
        if condition():
            return True
        pause.wait(0.005)
    return False


# ---- states


def test_a_future_runs_and_is_then_done(executors, new_gate):
    def scenario(executor):
        gate = new_gate()
        future = executor.submit(tasks.wait_for, gate.path, 5)
        running = eventually(future.running), future.done(), future.cancel(), future.cancelled()
        too_early = failure_of(lambda: future.result(0.01)), failure_of(lambda: future.exception(timeout=0.01))
        gate.open()
        facts = future.result(timeout=LIMIT_S), future.exception(), future.running(), future.done(), future.cancel()
        return running, too_early, facts

    compare(scenario, executors)


def test_the_time_out_is_the_builtin_one(executors, new_gate):
    def scenario(executor):
        gate = new_gate()
        future = executor.submit(tasks.wait_for, gate.path)
        with pytest.raises(TimeoutError) as caught:
            future.result(0.01)
        gate.open()
        future.result(LIMIT_S)
        return type(caught.value) is TimeoutError

    compare(scenario, executors)


def test_a_future_that_has_not_begun_can_be_cancelled(libraries, new_gate):
    def scenario(library):
        gate, called = new_gate(), []
        with library.executor(1) as executor:
            first = executor.submit(tasks.wait_for, gate.path, "first")
            queued = [executor.submit(tasks.square, i) for i in range(20)]
            last = queued[-1]
            last.add_done_callback(called.append)
            facts = last.cancel(), last.cancelled(), last.done(), last.cancel(), called == [last]
            with pytest.raises(CancelledError):
                last.result(LIMIT_S)
            with pytest.raises(CancelledError):
                last.exception(LIMIT_S)
            gate.open()
            return facts, first.result(LIMIT_S), [future.result(LIMIT_S) for future in queued[:-1]]

    compare(scenario, libraries)


def test_the_repr_shows_the_state(executors):
    def scenario(executor):
        good, bad = executor.submit(tasks.square, 2), executor.submit(tasks.fail)
        failure_of(lambda: bad.result(LIMIT_S))
        good.result(LIMIT_S)
        return ["state=finished returned int" in repr(good), "state=finished raised ValueError" in repr(bad)]

    compare(scenario, executors)


# ---- callbacks


def test_done_callbacks_run_in_order_with_the_future(executors, new_gate):
    def scenario(executor):
        gate, called, all_called = new_gate(), [], threading.Event()
        future = executor.submit(tasks.wait_for, gate.path, 5)
        for name in "abc":
            future.add_done_callback(lambda done, name=name: called.append((name, done is future)))
        future.add_done_callback(lambda done: all_called.set())
        gate.open()
        in_time = all_called.wait(LIMIT_S)
        future.add_done_callback(lambda done: called.append(("at once", done.result())))
        return in_time, called

    compare(scenario, executors)


def test_an_exception_in_a_callback_is_logged_and_the_others_run(executors, new_gate, caplog):
    def scenario(executor):
        caplog.clear()
        gate, all_called = new_gate(), threading.Event()
        future = executor.submit(tasks.wait_for, gate.path, 5)
        future.add_done_callback(lambda done: tasks.fail("in the callback"))
        future.add_done_callback(lambda done: all_called.set())
        gate.open()
        in_time = all_called.wait(LIMIT_S), future.result(LIMIT_S)
        logged = [
            (entry.name, entry.levelname, entry.getMessage().startswith("exception calling callback for <Future at"))
            for entry in caplog.records
        ]
        return in_time, logged, executor.submit(tasks.square, 3).result(LIMIT_S)

    compare(scenario, executors)


def test_a_callback_may_submit_more_work(executors):
    def scenario(executor):
        results, enough = [], threading.Event()

        def again(future):
            results.append(future.result())
            if len(results) < 4:
                executor.submit(tasks.add, future.result(), 1).add_done_callback(again)
            else:
                enough.set()

        executor.submit(tasks.add, 0, 1).add_done_callback(again)
        return enough.wait(LIMIT_S), results

    compare(scenario, executors)


# ---- errors of the task


@pytest.mark.parametrize(
    "error",
    [
        ValueError("wrong"),
        KeyError(("a", 1)),
        OSError(2, "missing", "file.txt"),
        ZeroDivisionError(),
        StopIteration(3),
        TimeoutError("from the task"),
        tasks.OddNumber(5, limit=3),
        ExceptionGroup("several", [ValueError(1), KeyError("k")]),
    ],
    ids=repr,
)
def test_an_exception_arrives_with_its_type_arguments_and_attributes(executors, error):
    def scenario(executor):
        raised = executor.submit(tasks.raise_error, error).exception(LIMIT_S)
        return Failure.of(raised), repr(raised.args), sorted(vars(raised))

    compare(scenario, executors)


def test_the_cause_is_the_remote_traceback_with_the_line_that_failed(executors):
    def scenario(executor):
        facts = []
        for future in (executor.submit(tasks.fail, "bad value"), executor.submit(tasks.raise_from, "bad value")):
            cause = future.exception(LIMIT_S).__cause__
            text = str(cause)
            facts.append(
                (
                    isinstance(cause, _RemoteTraceback),
                    text.startswith('\n"""\nTraceback (most recent call last):\n'),
                    text.endswith(': bad value\n"""'),
                )
            )
            assert facts[-1] == (True,) * 3
        assert "raise RuntimeError(message) from error" in text
        assert "KeyError: 'inner'" in text
        return facts

    compare(scenario, executors)


def test_notes_survive(executors):
    compare(lambda executor: executor.submit(tasks.raise_with_note, "x").exception(LIMIT_S).__notes__, executors)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt("k"), GeneratorExit()], ids=repr)
def test_a_task_that_raises_a_base_exception_fails_only_its_future(executors, error):
    def scenario(executor):
        raised = executor.submit(tasks.raise_error, error).exception(LIMIT_S)
        return Failure.of(raised), executor.submit(tasks.square, 3).result(LIMIT_S)

    compare(scenario, executors)


@pytest.mark.parametrize("func", [5, None, "name"])
def test_what_is_not_callable_fails_in_the_worker(executors, func):
    compare(lambda executor: executor.submit(func, 1).result(LIMIT_S), executors, raises=TypeError)
    compare(lambda executor: list(executor.map(func, [1])), executors, raises=TypeError)


def test_wrong_arguments_fail_in_the_worker(executors):
    compare(lambda executor: executor.submit(tasks.square, 1, 2).result(LIMIT_S), executors, raises=TypeError)
    compare(lambda executor: executor.submit(tasks.square, z=1).result(LIMIT_S), executors, raises=TypeError)


# ---- what does not pickle


@pytest.mark.parametrize(
    "submit",
    [
        lambda executor: executor.submit(tasks.echo, 1, {"a": [threading.Lock()]}),
        lambda executor: executor.submit(tasks.echo, settings=threading.Lock()),
        lambda executor: executor.submit(threading.Lock().acquire),
    ],
)
def test_an_argument_that_does_not_pickle_fails_only_its_future(executors, submit):
    compare(lambda executor: submit(executor).result(LIMIT_S), executors, raises=TypeError, message="contained")
    compare(lambda executor: executor.submit(tasks.square, 3).result(LIMIT_S), executors)


def test_a_result_that_does_not_pickle_fails_only_its_future(executors):
    def scenario(executor):
        failure = failure_of(lambda: executor.submit(tasks.return_lock).result(LIMIT_S))
        return failure, executor.submit(tasks.square, 3).result(LIMIT_S)

    compare(scenario, executors)


@pytest.mark.extension
def test_an_exception_that_does_not_pickle_arrives_with_its_type(executors):
    with pytest.raises(ValueError, match="lock object"):
        executors.distpool.submit(tasks.raise_unpicklable).result(LIMIT_S)


def test_a_lambda_as_a_result_is_refused(executors):
    def scenario(executor):
        failure = failure_of(lambda: executor.submit(tasks.return_lambda).result(LIMIT_S))
        return failure, executor.submit(tasks.square, 3).result(LIMIT_S)

    compare(scenario, executors)


@pytest.mark.extension
def test_the_message_names_the_argument_and_its_part_that_does_not_pickle(executors):
    calls = [
        (lambda executor: executor.submit(tasks.echo, 1, {"a": [0, threading.Lock()]}), ["argument 1", "['a'][1]"]),
        (lambda executor: executor.submit(tasks.echo, settings=[threading.Lock()]), ["argument 'settings'", "[0]"]),
    ]
    for call, names in calls:
        with pytest.raises(TypeError, match=r"cannot pickle '_thread.lock' object") as caught:
            call(executors.distpool).result(LIMIT_S)
        assert [name for name in names if name not in str(caught.value)] == []
