"""An executor's options and its end: shut down, broken by a worker's death, terminated, killed."""

import gc
import os
import signal
import time
import weakref
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import psutil
import pytest

from . import tasks
from .comparison import LIMIT_S, compare, failure_of, normalised


def is_broken(call):
    """Whether `call` raises BrokenProcessPool; the message may say more than the standard one."""
    try:
        call()
    except BrokenProcessPool:
        return True
    return False


# ---- options


@pytest.mark.parametrize("max_workers", [1, 3, True])
def test_the_number_of_workers_is_kept(libraries, max_workers):
    def scenario(library):
        with library.executor(max_workers) as executor:
            return executor._max_workers, list(executor.map(tasks.square, range(5)))

    compare(scenario, libraries)


def test_without_a_number_there_is_a_worker_for_each_cpu(libraries, monkeypatch):
    monkeypatch.setattr(os, "process_cpu_count" if hasattr(os, "process_cpu_count") else "cpu_count", lambda: 3)

    def scenario(library):
        with library.executor() as executor:
            return executor._max_workers

    compare(scenario, libraries)


@pytest.mark.parametrize("max_workers", [0, -1, False])
def test_fewer_than_one_worker_is_refused(libraries, max_workers):
    compare(lambda library: library.executor(max_workers), libraries, raises=ValueError)


def test_a_number_of_workers_that_is_no_number_is_refused(libraries):
    # The standard library's says that '<=' is not supported.
    compare(lambda library: library.executor("x"), libraries, raises=TypeError, message="any")


@pytest.mark.parametrize("initializer", [5, "name"])
def test_an_initializer_that_is_not_callable_is_refused(libraries, initializer):
    compare(lambda library: library.executor(1, initializer=initializer), libraries, raises=TypeError)


def test_a_wrong_context_is_refused(libraries):
    compare(lambda library: library.futures.ProcessPoolExecutor(1, "spawn"), libraries, raises=AttributeError)


def test_the_initializer_runs_in_each_worker_and_tasks_see_its_globals(libraries):
    def scenario(library):
        with library.executor(2, initializer=tasks.hold_both, initargs=("a", "b")) as executor:
            return list(executor.map(tasks.read_held, range(6)))

    compare(scenario, libraries)


def test_who_reads_the_executors_inside_can_wait_for_its_end(libraries):
    def scenario(library):
        executor = library.executor(2)
        before = executor._executor_manager_thread
        future = executor.submit(tasks.square, 3)
        manager, queue = executor._executor_manager_thread, executor._call_queue
        was_alive = manager.is_alive()
        executor.shutdown(wait=False)
        manager.join(LIMIT_S)
        queue.join_thread()
        return before, was_alive, manager.is_alive(), executor._executor_manager_thread, future.result(0)

    compare(scenario, libraries)


def test_what_the_initializer_was_given_is_free_when_the_executor_is(libraries):
    def scenario(library):
        gc.disable()  # so that a cycle would keep it
        try:
            given = library.context.Lock()
            reference = weakref.ref(given)
            with library.executor(1, initializer=id, initargs=(given,)) as executor:
                executor.submit(tasks.square, 3).result(LIMIT_S)
            del given, executor
            return reference() is None
        finally:
            gc.enable()

    compare(scenario, libraries)


def test_a_call_that_cannot_be_pickled_starts_a_worker_too(libraries):
    def scenario(library):
        with library.executor(3) as executor:
            futures = [executor.submit(abs, library.context.Lock()) for _ in range(2)]
            return len(executor._processes), [type(future.exception(LIMIT_S)) for future in futures]

    compare(scenario, libraries)


def test_a_failing_initializer_breaks_the_executor(libraries):
    def scenario(library):
        with library.executor(1, initializer=tasks.failing_initializer) as executor:
            future = executor.submit(tasks.square, 2)
            pending = is_broken(lambda: future.result(LIMIT_S))
            return pending, is_broken(lambda: executor.submit(tasks.square, 2))

    compare(scenario, libraries)


def test_distpools_executor_takes_a_standard_context(libraries):
    with libraries.distpool.futures.ProcessPoolExecutor(1, mp_context=libraries.standard.context) as executor:
        name = executor.submit(tasks.describe_process).result(LIMIT_S)[0]
    assert name.lower().startswith(libraries.standard.context.get_start_method())


def test_workers_have_the_standard_names_and_are_no_daemons(executors):
    def scenario(executor):
        name, daemon, own_pid, parent_name, parent_pid = executor.submit(tasks.describe_process).result(LIMIT_S)
        return normalised(name), daemon, own_pid, parent_name, parent_pid == os.getpid()

    compare(scenario, executors)


def test_a_worker_may_start_children(libraries):
    def scenario(library):
        with library.executor(1) as executor:
            return executor.submit(tasks.start_a_child).result(LIMIT_S)

    compare(scenario, libraries)


def test_a_worker_may_use_an_executor_of_its_own(libraries):
    def scenario(library):
        method = library.context.get_start_method()
        with library.executor(1) as executor:
            return executor.submit(tasks.nested_executor, library.name, method, 7).result(LIMIT_S)

    compare(scenario, libraries)


def test_the_executor_lists_its_workers(libraries):
    def scenario(library):
        with library.executor(2) as executor:
            used = set(executor.map(tasks.pid, range(10)))
            workers = dict(executor._processes)
            facts = used <= set(workers), [worker.pid == pid for pid, worker in workers.items()][:1], len(workers) <= 2
        return facts, [worker.is_alive() for worker in workers.values()][:1], executor._processes

    compare(scenario, libraries)


# ---- max_tasks_per_child


def test_max_tasks_per_child_is_refused_under_fork_only(libraries):
    def scenario(library):
        with library.executor(1, max_tasks_per_child=2) as executor:
            pids = [executor.submit(tasks.pid).result(LIMIT_S) for _ in range(6)]
            return [pids.count(pid) for pid in dict.fromkeys(pids)]

    refused = libraries.standard.context.get_start_method() == "fork"
    compare(scenario, libraries, raises=ValueError if refused else None)


def test_max_tasks_per_child_without_a_context_spawns(libraries):
    def scenario(library):
        with library.futures.ProcessPoolExecutor(1, max_tasks_per_child=1) as executor:
            return normalised(executor.submit(tasks.describe_process).result(LIMIT_S)[0])

    compare(scenario, libraries)


@pytest.mark.parametrize(("value", "kind"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("x", TypeError)])
def test_a_senseless_max_tasks_per_child_is_refused(libraries, value, kind):
    compare(lambda library: library.executor(1, max_tasks_per_child=value), libraries, raises=kind)


# ---- shutdown


def test_after_shutdown_nothing_may_be_submitted(libraries):
    def scenario(library):
        executor = library.executor(1)
        result = executor.submit(tasks.square, 2)
        executor.shutdown()
        executor.shutdown()
        return (
            result.done(),
            failure_of(lambda: executor.submit(tasks.square, 2)),
            failure_of(lambda: executor.map(tasks.square, [1])),
        )

    compare(scenario, libraries)


def test_an_executor_that_was_never_used_shuts_down(libraries):
    def scenario(library):
        with library.executor(2) as executor:
            pass
        return failure_of(lambda: executor.submit(tasks.square, 2))

    compare(scenario, libraries)


def test_shutdown_waits_for_everything(libraries):
    def scenario(library):
        with library.executor(2) as executor:
            futures = [executor.submit(tasks.sleep_for, 0.01) for _ in range(10)]
        return [future.done() for future in futures]

    compare(scenario, libraries)


def test_shutdown_without_waiting_lets_everything_finish(libraries, new_gate):
    def scenario(library):
        gate = new_gate()
        executor = library.executor(1)
        futures = [executor.submit(tasks.wait_for, gate.path, i) for i in range(5)]
        executor.shutdown(wait=False)
        before = [future.done() for future in futures]
        gate.open()
        return before, [future.result(LIMIT_S) for future in futures]

    compare(scenario, libraries)


@pytest.mark.parametrize("wait", [True, False])
def test_shutdown_may_cancel_what_has_not_begun(libraries, new_gate, wait):
    def scenario(library):
        gate = new_gate()
        executor = library.executor(1)
        futures = [executor.submit(tasks.wait_for, gate.path, i) for i in range(20)]
        while not futures[0].running():
            time.sleep(0.002)
        if wait:
            gate.open()
        executor.shutdown(wait=wait, cancel_futures=True)
        gate.open()
        return futures[0].result(LIMIT_S), failure_of_cancelled(futures[-1])

    def failure_of_cancelled(future):
        give_up_at = time.monotonic() + LIMIT_S
        while not future.cancelled() and time.monotonic() < give_up_at:
            time.sleep(0.002)
        return future.cancelled(), future.done()

    # With wait=True the standard executor may have run them all before it looks.
    if wait:
        compare(lambda library: scenario(library)[0], libraries)
    else:
        compare(scenario, libraries)


def test_an_executor_that_is_dropped_finishes_its_work(libraries):
    def scenario(library):
        executor = library.executor(1)
        futures = [executor.submit(tasks.sleep_for, 0.01) for _ in range(5)]
        del executor
        gc.collect()
        return [future.result(LIMIT_S) for future in futures]

    compare(scenario, libraries)


def test_the_with_block_passes_exceptions_on(libraries):
    def scenario(library):
        with library.executor(1) as executor:
            executor.submit(tasks.fail, "inside").result(LIMIT_S)

    compare(scenario, libraries, raises=ValueError)


# ---- a worker's death


@pytest.mark.parametrize("how", ["exit 3", "exit 0", "kill"])
def test_a_worker_that_dies_breaks_the_executor(libraries, new_gate, how):
    def scenario(library):
        gate = new_gate()
        with library.executor(1) as executor:
            fatal = executor.submit(tasks.wait_and_die, gate.path, how)
            pending = [executor.submit(tasks.square, i) for i in range(3)]
            gate.open()
            broken = [is_broken(lambda future=future: future.result(LIMIT_S)) for future in (fatal, *pending)]
            return broken, is_broken(lambda: executor.submit(tasks.square, 1))

    compare(scenario, libraries)


def test_an_idle_worker_that_is_killed_breaks_the_executor(libraries):
    def scenario(library):
        with library.executor(1) as executor:
            pid = executor.submit(tasks.pid).result(LIMIT_S)
            os.kill(pid, signal.SIGKILL)
            give_up_at = time.monotonic() + LIMIT_S
            while time.monotonic() < give_up_at:
                if is_broken(lambda: executor.submit(tasks.square, 1).result(LIMIT_S)):
                    return True
        return False

    compare(scenario, libraries)


def test_a_result_that_cannot_be_unpickled_breaks_the_executor(libraries):
    def scenario(library):
        with library.executor(1) as executor:
            return is_broken(lambda: executor.submit(tasks.return_what_cannot_be_unpickled).result(LIMIT_S))

    compare(scenario, libraries)


@pytest.mark.extension
def test_an_exception_that_cannot_be_unpickled_arrives_with_its_type_and_breaks_nothing(libraries):
    with libraries.distpool.executor(1) as executor:
        with pytest.raises(tasks.BadlyPickled):
            executor.submit(tasks.raise_badly_pickled).result(LIMIT_S)
        assert executor.submit(tasks.square, 3).result(LIMIT_S) == 9


def test_an_argument_that_cannot_be_unpickled_breaks_the_executor(libraries):
    def scenario(library):
        with library.executor(1) as executor:
            return is_broken(lambda: executor.submit(tasks.same, tasks.CannotUnpickle()).result(LIMIT_S))

    compare(scenario, libraries)


# ---- what 3.14 added, offered on every version


@pytest.mark.extension
@pytest.mark.parametrize(
    ("method", "number"), [("terminate_workers", signal.SIGTERM), ("kill_workers", signal.SIGKILL)]
)
def test_workers_can_be_ended_at_once(libraries, new_gate, method, number):
    gate, started = new_gate(), new_gate()
    executor = libraries.distpool.executor(1)
    running = executor.submit(tasks.announce_and_wait, started.path, gate.path)
    queued = [executor.submit(tasks.square, i) for i in range(20)]
    give_up_at = time.monotonic() + LIMIT_S
    while not Path(started.path).exists() and time.monotonic() < give_up_at:
        time.sleep(0.002)
    (worker,) = executor._processes.values()
    getattr(executor, method)()
    worker.join(LIMIT_S)
    assert worker.exitcode == -number
    assert not psutil.pid_exists(worker.pid)
    assert isinstance(running.exception(LIMIT_S), BrokenProcessPool)
    # Cancelled or broken: the standard executor leaves it to chance which thread is faster.
    assert queued[-1].cancelled() or isinstance(queued[-1].exception(LIMIT_S), BrokenProcessPool)
    with pytest.raises(RuntimeError):
        executor.submit(tasks.square, 1)
    executor.shutdown()


@pytest.mark.extension
@pytest.mark.parametrize("method", ["terminate_workers", "kill_workers"])
def test_ending_workers_that_never_started_or_are_gone_does_nothing(libraries, method):
    executor = libraries.distpool.executor(1)
    getattr(executor, method)()
    with libraries.distpool.executor(1) as executor:
        assert is_broken(lambda: executor.submit(tasks.exit_at_once, 1).result(LIMIT_S))
        getattr(executor, method)()
    getattr(executor, method)()
