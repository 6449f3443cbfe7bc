"""What Pool() accepts and refuses, and what its workers look like."""

import importlib
import os
import signal

import pytest

from . import tasks
from .comparison import LIMIT_S, compare, failure_of


def pool_class(library):
    return importlib.import_module(f"{library.name}.pool").Pool


def pool_facts(library, **options):
    with library.pool(**options) as pool:
        return pool.map(tasks.square, range(5)), len(pool._pool), pool._processes


# ---- processes


@pytest.mark.parametrize("processes", [1, 3, True])
def test_the_number_of_processes_is_the_number_of_workers(libraries, processes):
    compare(lambda library: pool_facts(library, processes=processes), libraries)


def test_without_a_number_there_is_a_worker_for_each_cpu(libraries, monkeypatch):
    monkeypatch.setattr(os, "process_cpu_count" if hasattr(os, "process_cpu_count") else "cpu_count", lambda: 3)
    compare(lambda library: pool_facts(library), libraries)
    compare(lambda library: pool_facts(library, processes=None), libraries)


@pytest.mark.parametrize("processes", [0, -1, False])
def test_fewer_than_one_process_is_refused(libraries, processes):
    compare(lambda library: library.pool(processes), libraries, raises=ValueError)


@pytest.mark.parametrize("processes", ["x", [2], 1.5])
def test_a_number_of_processes_that_is_no_number_is_refused(libraries, processes):
    compare(lambda library: library.pool(processes), libraries, raises=TypeError)


# ---- initializer and initargs


def test_the_initializer_runs_in_each_worker_and_tasks_see_its_globals(libraries):
    def scenario(library):
        with library.pool(2, tasks.hold, ("kept",)) as pool:
            one_by_one = [pool.apply(tasks.read_held) for _ in range(4)]
            return one_by_one, pool.map(tasks.read_held, range(6), chunksize=1)

    compare(scenario, libraries)


def test_initargs_may_be_any_iterable(libraries):
    def scenario(library):
        seen = []
        for initargs in [["a", "b"], "ab"]:
            with library.pool(1, initializer=tasks.hold_both, initargs=initargs) as pool:
                seen.append(pool.apply(tasks.read_held))
        return seen

    compare(scenario, libraries)


@pytest.mark.parametrize("initializer", [5, "name", (), object()])
def test_an_initializer_that_is_not_callable_is_refused(libraries, initializer):
    compare(lambda library: library.pool(1, initializer), libraries, raises=TypeError)


def test_replaced_workers_run_the_initializer_too(libraries):
    def scenario(library):
        with library.pool(1, tasks.hold, ("kept",), maxtasksperchild=1) as pool:
            return [pool.apply(tasks.read_held) for _ in range(3)]

    compare(scenario, libraries)


# ---- maxtasksperchild


def test_a_worker_is_replaced_after_so_many_tasks(libraries):
    def scenario(library):
        with library.pool(1, maxtasksperchild=2) as pool:
            pids = pool.map(tasks.pid, range(6), chunksize=1)
            pids += [pool.apply(tasks.pid) for _ in range(2)]
            return [pids.count(pid) for pid in dict.fromkeys(pids)]

    compare(scenario, libraries)


def test_a_chunk_counts_as_one_task(libraries):
    def scenario(library):
        with library.pool(1, maxtasksperchild=1) as pool:
            pids = pool.map(tasks.pid, range(6), chunksize=3)
            return [pids.count(pid) for pid in dict.fromkeys(pids)]

    compare(scenario, libraries)


def test_no_result_is_lost_when_workers_are_replaced(libraries):
    def scenario(library):
        with library.pool(2, maxtasksperchild=5) as pool:
            results = pool.map_async(tasks.square, range(40), chunksize=1).get(LIMIT_S)
            # By itself the standard Pool divides by the number of its workers, which is 0 while they are replaced.
            return results, pool.map_async(tasks.square, range(10), chunksize=2).get(LIMIT_S)

    compare(scenario, libraries)


@pytest.mark.parametrize("maxtasksperchild", [0, -1, 1.5, "x", 2.0])
def test_a_senseless_maxtasksperchild_is_refused(libraries, maxtasksperchild):
    compare(lambda library: library.pool(1, maxtasksperchild=maxtasksperchild), libraries, raises=ValueError)


# ---- context


def test_the_class_takes_a_context(libraries):
    def scenario(library):
        with pool_class(library)(1, context=library.context) as pool:
            return pool.apply(tasks.square, (3,)), pool._ctx is library.context

    compare(scenario, libraries)


def test_distpools_pool_takes_a_standard_context_and_the_other_way_round(libraries):
    ours, standard = libraries.distpool, libraries.standard
    for library, context in [(ours, standard.context), (standard, ours.context)]:
        with pool_class(library)(1, context=context) as pool:
            assert pool.apply_async(tasks.square, (3,)).get(LIMIT_S) == 9
            name = pool.apply_async(tasks.describe_process).get(LIMIT_S)[0]
            assert name.lower().startswith(context.get_start_method())


@pytest.mark.parametrize("context", ["spawn", 5])
def test_a_wrong_context_is_refused(libraries, context):
    compare(lambda library: pool_class(library)(1, context=context), libraries, raises=AttributeError)


# ---- the workers


def test_workers_are_daemons_with_the_standard_names_and_the_caller_as_their_parent(pools):
    def scenario(pool):
        name, daemon, own_pid, parent_name, parent_pid = pool.apply(tasks.describe_process)
        kind, _, number = name.partition("-")
        assert number.isdigit()
        return kind, daemon, own_pid, parent_name, parent_pid == os.getpid()

    compare(scenario, pools)


def test_the_pool_lists_its_workers(pools):
    def scenario(pool):
        pids = {worker.pid for worker in pool._pool}
        used = set(pool.map(tasks.pid, range(20), chunksize=1))
        facts = [
            (worker.is_alive(), worker.exitcode, worker.daemon, worker.name.partition("-")[0]) for worker in pool._pool
        ]
        return used <= pids, len(pids), facts

    compare(scenario, pools)


def test_a_worker_may_not_start_children(pools):
    compare(lambda pool: pool.apply(tasks.start_a_child), pools, raises=AssertionError)


def test_workers_ignore_nothing_they_should_notice(libraries):
    """The signal dispositions of a worker are the standard pool's."""

    def scenario(library):
        with library.pool(1) as pool:
            return [
                pool.apply(signal.getsignal, (number,)) == signal.getsignal(number)
                for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGPIPE)
            ]

    compare(scenario, libraries)


def test_workers_share_directory_environment_and_arguments_with_the_caller(libraries, tmp_path, monkeypatch):
    def scenario(library):
        with library.pool(1) as pool:
            return pool.apply(tasks.current_directory_and_path_length), pool.apply(tasks.environment, ("COLOUR",))

    if libraries.standard.context.get_start_method() != "forkserver":  # whose server keeps the state it started with
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLOUR", "green")
    compare(scenario, libraries)


# ---- what may be shared


def test_queues_locks_and_values_work_as_initargs(libraries):
    def scenario(library):
        context = library.context
        queue, value = context.Queue(), context.Value("i", 0)
        try:
            with library.pool(2, tasks.hold, (queue,)) as pool:
                pool.map(tasks.put_into_held_queue, range(5))
                received = sorted(queue.get(timeout=LIMIT_S) for _ in range(5))
            with library.pool(2, tasks.hold, ((context.Lock(), value),)) as pool:
                pool.map(tasks.add_to_held_value, range(50), chunksize=5)
        finally:
            queue.close()
            queue.join_thread()
        return received, value.value

    compare(scenario, libraries)


@pytest.mark.parametrize("kind", ["Queue", "SimpleQueue", "Lock", "Event", "Value"])
def test_queues_locks_and_values_are_refused_as_arguments(libraries, pools, kind):
    for library, pool in [(libraries.standard, pools.standard), (libraries.distpool, pools.distpool)]:
        shared = getattr(library.context, kind)(*(["i", 0] if kind == "Value" else []))
        failure = failure_of(lambda pool=pool, shared=shared: pool.apply(tasks.same, (shared,)))
        assert failure.kind == "builtins.RuntimeError"
        assert "objects should only be shared between processes through inheritance" in failure.message


def test_a_managers_queue_works_as_an_argument(libraries):
    def scenario(library):
        with library.context.Manager() as manager, library.pool(2) as pool:
            queue = manager.Queue()
            pool.starmap(tasks.put_into, [(queue, i) for i in range(5)])
            return sorted(queue.get(timeout=LIMIT_S) for _ in range(5))

    compare(scenario, libraries)


def test_a_pool_is_refused_as_an_argument(pools):
    compare(
        lambda pool: pool.apply_async(tasks.same, (pool,)).get(LIMIT_S),
        pools,
        raises=NotImplementedError,
        message="contained",
    )
