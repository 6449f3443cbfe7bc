"""The names: what can be imported from where, with which signature, and the same objects where types are checked."""

import concurrent.futures
import concurrent.futures.process
import importlib
import inspect
import logging
import multiprocessing
import multiprocessing.context
import multiprocessing.pool
import os
import signal
import sys

import psutil
import pytest

import distpool
import distpool.futures
import distpool.pool

from . import tasks
from .comparison import LIMIT_S, Pair, compare
from .scripts import require_same, run_on_both

MODULES = Pair(multiprocessing, distpool)
SUBMODULES = [
    "connection",
    "context",
    "dummy",
    "managers",
    "pool",
    "process",
    "queues",
    "shared_memory",
    "sharedctypes",
    "synchronize",
]
POOL_METHODS = [
    "__init__",
    "apply",
    "apply_async",
    "map",
    "map_async",
    "starmap",
    "starmap_async",
    "imap",
    "imap_unordered",
    "close",
    "terminate",
    "join",
]


def interface(function, extra=()):
    """Names, kinds and defaults of the parameters; annotations are distpool's own."""
    parameters = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default) for each in parameters if each.name not in extra]


def require_same_interface(standard, ours):
    """The same parameters, except for keyword-only ones that distpool adds."""
    expected = interface(standard)
    known = {name for name, _, _ in expected}
    added = [p for p in inspect.signature(ours).parameters.values() if p.name not in known]
    for parameter in added:
        assert parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD), f"{parameter} is not keyword-only"
        assert parameter.kind == parameter.VAR_KEYWORD or parameter.default is not parameter.empty
    assert interface(ours, extra={parameter.name for parameter in added}) == expected


# ---- what there is


@pytest.mark.parametrize("name", multiprocessing.__all__)
def test_every_public_name_of_multiprocessing_is_there(name):
    assert hasattr(distpool, name)
    assert name in distpool.__all__ or name == "reducer"
    assert callable(getattr(distpool, name)) == callable(getattr(multiprocessing, name))


@pytest.mark.parametrize("name", concurrent.futures.__all__)
def test_every_public_name_of_concurrent_futures_is_there(name):
    assert hasattr(distpool.futures, name)
    assert name in distpool.futures.__all__


@pytest.mark.parametrize("name", SUBMODULES)
def test_every_submodule_is_there_with_its_public_names(name):
    ours, standard = importlib.import_module(f"distpool.{name}"), importlib.import_module(f"multiprocessing.{name}")
    assert getattr(distpool, name) is ours
    missing = [public for public in getattr(standard, "__all__", []) if not hasattr(ours, public)]
    assert missing == []


OWN = {"ProcessPoolExecutor", "as_completed", "wait"}


@pytest.mark.parametrize("name", [name for name in concurrent.futures.__all__ if name not in OWN])
def test_what_users_check_or_catch_from_concurrent_futures_is_the_same_object(name):
    assert getattr(distpool.futures, name) is getattr(concurrent.futures, name)


@pytest.mark.parametrize("name", ["ProcessError", "BufferTooShort", "TimeoutError", "AuthenticationError"])
def test_the_exceptions_of_multiprocessing_are_the_same_object(name):
    assert getattr(distpool, name) is getattr(multiprocessing, name)


def test_broken_pools_are_caught_by_the_standard_name():
    assert issubclass(distpool.futures.BrokenProcessPool, concurrent.futures.process.BrokenProcessPool)
    assert issubclass(distpool.futures.ProcessPoolExecutor, concurrent.futures.Executor)
    assert issubclass(distpool.pool.MaybeEncodingError, multiprocessing.pool.MaybeEncodingError)
    assert issubclass(distpool.pool.RemoteTraceback, multiprocessing.pool.RemoteTraceback)


@pytest.mark.parametrize(
    "name", ["Pool", "ThreadPool", "AsyncResult", "ApplyResult", "MapResult", "IMapIterator", "IMapUnorderedIterator"]
)
def test_the_classes_of_the_pool_module_are_there(name):
    assert isinstance(getattr(distpool.pool, name), type)


# ---- signatures


def test_pool_has_the_standard_signature():
    require_same_interface(multiprocessing.Pool, distpool.Pool)


@pytest.mark.parametrize("name", POOL_METHODS)
@pytest.mark.parametrize("kind", ["Pool", "ThreadPool"])
def test_a_pools_methods_have_the_standard_signatures(kind, name):
    standard, ours = getattr(multiprocessing.pool, kind), getattr(distpool.pool, kind)
    require_same_interface(getattr(standard, name), getattr(ours, name))


@pytest.mark.parametrize("name", ["get", "wait", "ready", "successful"])
@pytest.mark.parametrize("kind", ["AsyncResult", "MapResult"])
def test_a_results_methods_have_the_standard_signatures(kind, name):
    standard, ours = getattr(multiprocessing.pool, kind), getattr(distpool.pool, kind)
    require_same_interface(getattr(standard, name), getattr(ours, name))


def test_an_iterators_next_has_the_standard_signature():
    require_same_interface(multiprocessing.pool.IMapIterator.next, distpool.pool.IMapIterator.next)


@pytest.mark.parametrize("name", ["__init__", "submit", "map", "shutdown"])
def test_an_executors_methods_have_the_standard_signatures(name):
    standard, ours = concurrent.futures.ProcessPoolExecutor, distpool.futures.ProcessPoolExecutor
    require_same_interface(getattr(standard, name), getattr(ours, name))


@pytest.mark.parametrize(
    "name",
    ["get_context", "set_start_method", "get_start_method", "Process", "Queue", "Lock", "Manager", "Value", "Pipe"],
)
def test_the_functions_of_the_namespace_have_the_standard_signatures(name):
    require_same_interface(getattr(multiprocessing, name), getattr(distpool, name))


@pytest.mark.extension
@pytest.mark.parametrize(
    ("call", "options"),
    [
        (lambda: distpool.Pool(1, procesess=3), ["processes", "initializer", "initargs", "maxtasksperchild"]),
        (
            lambda: distpool.pool.Pool(1, start="fork"),
            ["processes", "initializer", "initargs", "maxtasksperchild", "context"],
        ),
        (
            lambda: distpool.futures.ProcessPoolExecutor(1, workers=2),
            ["max_workers", "mp_context", "initializer", "initargs", "max_tasks_per_child"],
        ),
    ],
)
def test_an_unknown_option_is_refused_with_the_list_of_the_known_ones(call, options):
    with pytest.raises(TypeError) as caught:
        call()
    assert [option for option in options if option not in str(caught.value)] == []


# ---- contexts


@pytest.mark.parametrize("method", [None, "fork", "forkserver", "spawn"])
def test_a_context_is_a_standard_context(method):
    def scenario(module):
        context = module.get_context(method)
        return (
            isinstance(context, multiprocessing.context.BaseContext),
            context.get_start_method(),
            context.get_context("spawn").get_start_method(),
            sorted(name for name in multiprocessing.__all__ if not hasattr(context, name)),
        )

    compare(scenario, MODULES)


@pytest.mark.parametrize("method", ["nonsense", "", 5])
def test_an_unknown_start_method_is_refused(method):
    compare(lambda module: module.get_context(method), MODULES, raises=ValueError)


def test_a_concrete_context_cannot_change_its_start_method():
    compare(lambda module: module.get_context("fork").set_start_method("spawn"), MODULES, raises=ValueError)


def test_start_methods_are_listed():
    compare(lambda module: module.get_all_start_methods(), MODULES)


def test_the_default_start_method_is_the_standard_one(tmp_path):
    source = """
        from MP import Pool, get_context, get_start_method, current_process
        from FUTURES import ProcessPoolExecutor

        def name(_):
            return current_process().name.partition("-")[0]

        if __name__ == "__main__":
            print(get_start_method(allow_none=True), get_context().get_start_method(), get_start_method())
            with Pool(1) as pool:
                print(pool.map(name, [0]))
            with ProcessPoolExecutor(1) as executor:
                print(list(executor.map(name, [0])))
    """
    require_same(run_on_both(tmp_path, source))


def test_set_start_method_changes_what_pools_use(tmp_path, start_method):
    source = """
        from MP import Pool, set_start_method, get_start_method, current_process
        from FUTURES import ProcessPoolExecutor

        def name(_):
            return current_process().name.partition("-")[0]

        if __name__ == "__main__":
            set_start_method(METHOD)
            with Pool(1) as pool:
                print(pool.map(name, [0]), get_start_method())
            with ProcessPoolExecutor(1) as executor:
                print(list(executor.map(name, [0])))
    """
    require_same(run_on_both(tmp_path, source, method=start_method))


# ---- processes


def test_cpu_count_and_the_current_process_are_the_standard_ones():
    compare(lambda module: module.cpu_count(), MODULES)
    compare(lambda module: (module.current_process().name, module.current_process().pid == os.getpid()), MODULES)
    compare(lambda module: module.parent_process(), MODULES)


def test_active_children_includes_a_pools_workers_while_it_runs(libraries):
    def scenario(library):
        with library.pool(2) as pool:
            workers = {worker.pid for worker in pool._pool}
            children = {child.pid for child in library.multiprocessing.active_children()}
            listed = workers <= children
        pool.join()
        return listed, workers & {child.pid for child in library.multiprocessing.active_children()}

    compare(scenario, libraries)


def test_a_worker_knows_itself_and_its_parent_by_both_namespaces(libraries):
    def scenario(library):
        with library.pool(1) as pool:
            name, parent, same = pool.apply(tasks.describe_process_by, (library.name,))
            return name.partition("-")[0], parent == os.getpid(), same

    compare(scenario, libraries)


def test_freeze_support_does_nothing():
    compare(lambda module: module.freeze_support(), MODULES)


def test_the_logger_is_multiprocessings():
    compare(lambda module: (module.get_logger().name, module.get_logger() is module.get_logger()), MODULES)
    assert distpool.get_logger() is multiprocessing.get_logger()


def test_log_to_stderr_adds_a_handler():
    def scenario(module):
        logger, before = module.get_logger(), list(module.get_logger().handlers)
        level = logger.level
        returned = module.log_to_stderr(logging.ERROR)
        added = [handler for handler in logger.handlers if handler not in before]
        facts = returned is logger, [type(handler).__name__ for handler in added], logger.level
        for handler in added:
            logger.removeHandler(handler)
        logger.setLevel(level)
        return facts

    compare(scenario, MODULES)


# ---- what 3.14 added, offered on every version


@pytest.mark.extension
def test_a_process_can_be_interrupted(start_method, new_gate):
    started, gate = new_gate(), new_gate()
    process = distpool.get_context(start_method).Process(
        target=tasks.exit_when_interrupted, args=(started.path, gate.path, 7)
    )
    process.start()
    tasks.wait_for(started.path)
    process.interrupt()
    process.join(LIMIT_S)
    assert process.exitcode == 7
    process.close()


@pytest.mark.extension
def test_importing_distpool_changes_nothing_in_the_standard_library():
    for module in (multiprocessing, concurrent.futures):
        for name in module.__all__:
            assert not getattr(getattr(module, name), "__module__", "").startswith("distpool"), name
    if sys.version_info < (3, 14):
        assert not hasattr(multiprocessing.Process, "interrupt")


def test_a_context_makes_processes_whose_end_is_seen(libraries):
    def scenario(library):
        process = library.context.Process(target=tasks.exit_at_once, args=(5,))
        process.start()
        process.join(LIMIT_S)
        return process.exitcode, psutil.pid_exists(process.pid), process.is_alive()

    compare(scenario, libraries)


def test_a_process_ended_by_a_signal_says_so(libraries, new_gate):
    def scenario(library):
        gate, started = new_gate(), new_gate()
        process = library.context.Process(target=tasks.announce_and_wait, args=(started.path, gate.path))
        process.start()
        tasks.wait_for(started.path)
        process.terminate()
        process.join(LIMIT_S)
        return process.exitcode == -signal.SIGTERM

    compare(scenario, libraries)


@pytest.mark.extension
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("managers", "NamespaceProxy"),
        ("connection", "wait"),
        ("dummy.connection", "Pipe"),
        ("shared_memory", "SharedMemory"),
        ("queues", "SimpleQueue"),
    ],
)
def test_a_submodule_has_what_the_standard_one_has_also_beside_its_public_names(module, name):
    standard = importlib.import_module(f"multiprocessing.{module}")
    assert getattr(importlib.import_module(f"distpool.{module}"), name) is getattr(standard, name)


@pytest.mark.extension
def test_the_submodules_of_concurrent_futures_are_there_too():
    process = importlib.import_module("distpool.futures.process")
    thread = importlib.import_module("distpool.futures.thread")
    assert process.ProcessPoolExecutor is importlib.import_module("distpool.futures").ProcessPoolExecutor
    assert process.BrokenProcessPool is importlib.import_module("concurrent.futures.process").BrokenProcessPool
    assert thread.ThreadPoolExecutor is importlib.import_module("concurrent.futures").ThreadPoolExecutor
