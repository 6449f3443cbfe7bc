"""Workers tell BLAS and OpenMP to use their share of the processors, before user code loads them."""

import os
import sys
import types

import numpy
import pytest
import threadpoolctl

import distpool
from distpool.runtime import native_threads
from distpool.runtime.native_threads import (
    VARIABLES,
    limit_loaded_libraries,
    limit_native_threads,
    share_of_processors,
)

from .programs import output_of

METHODS = ["fork", "forkserver", "spawn"]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def limits():
    return {name: os.environ.get(name) for name in VARIABLES}


def test_each_worker_has_its_share_and_at_least_one(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert [share_of_processors(workers) for workers in (1, 2, 3, 4, 5, 8, 9, 100)] == [8, 4, 2, 2, 1, 1, 1, 1]


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setattr(os, "environ", {"OMP_NUM_THREADS": "7"})
    limit_native_threads(3)
    assert limits() == {name: "7" if name == "OMP_NUM_THREADS" else "3" for name in VARIABLES}


@pytest.mark.parametrize("method", METHODS)
def test_workers_have_the_limit_in_their_environment_and_the_driver_has_not(method):
    with distpool.get_context(method).Pool(1) as pool:
        assert pool.apply(limits) == dict.fromkeys(VARIABLES, str(share_of_processors(1)))
    pool.join()
    assert set(limits().values()) == {None}


@pytest.mark.parametrize("method", METHODS)
def test_a_users_own_setting_reaches_the_workers(monkeypatch, method):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "5")
    with distpool.get_context(method).Pool(1) as pool:
        assert pool.apply(limits)["OPENBLAS_NUM_THREADS"] == "5"
    pool.join()


AT_IMPORT = """
    import os, sys
    import distpool

    SEEN = os.environ.get("OMP_NUM_THREADS")

    def seen():
        return SEEN

    if __name__ == "__main__":
        os.environ.pop("OMP_NUM_THREADS", None)
        with distpool.get_context("spawn").Pool(64) as pool:
            print(pool.apply(seen), os.environ.get("OMP_NUM_THREADS"))
"""


def test_a_spawned_worker_has_it_when_main_is_imported(tmp_path):
    assert output_of(tmp_path, AT_IMPORT.replace("64", str(len(os.sched_getaffinity(0))))).split() == ["1", "None"]


LOADED_BY_MAIN = """
    import os
    os.environ["MKL_NUM_THREADS"] = "3"
    import numpy
    import threadpoolctl
    import distpool

    def seen():
        threads = {library["num_threads"] for library in threadpoolctl.threadpool_info()}
        return threads, os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]

    if __name__ == "__main__":
        with distpool.get_context("forkserver").Pool(64) as pool:
            print(pool.apply(seen))
"""


def test_libraries_that_a_template_loads_with_main_have_the_workers_share(tmp_path):
    program = LOADED_BY_MAIN.replace("64", str(len(os.sched_getaffinity(0))))
    assert eval(output_of(tmp_path, program)) == ({1}, "1", "3")


# ---- libraries that are loaded already


@pytest.fixture
def told(monkeypatch):
    """What a fake `threadpoolctl` was told; numpy seems to be loaded."""
    calls = []
    monkeypatch.setitem(sys.modules, "threadpoolctl", types.SimpleNamespace(threadpool_limits=calls.append))
    monkeypatch.setitem(sys.modules, "numpy", types.ModuleType("numpy"))
    return calls


def test_loaded_libraries_are_told_through_threadpoolctl(told):
    limit_loaded_libraries(3)
    assert told == [3]


def test_they_are_not_where_the_user_has_set_a_limit(told, monkeypatch):
    monkeypatch.setenv("MKL_NUM_THREADS", "2")
    limit_loaded_libraries(3)
    assert told == []


def test_they_are_not_where_none_is_loaded(told, monkeypatch):
    for name in native_threads._USERS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    limit_loaded_libraries(3)
    assert told == []


def test_a_forked_pool_tells_them_before_its_workers_start(told, monkeypatch):
    with distpool.get_context("fork").Pool(1) as pool:
        assert pool.apply(lambda: list(sys.modules["threadpoolctl"].threadpool_limits.__self__)) == [
            share_of_processors(1)
        ]
    pool.join()
    assert told == [], "the driver's own libraries are left alone"


def threads_of_loaded_libraries():
    return [library["num_threads"] for library in threadpoolctl.threadpool_info()]


def test_a_forked_worker_limits_the_libraries_that_its_driver_had_loaded():
    numpy.ones((2, 2)) @ numpy.ones((2, 2))
    cpus = len(os.sched_getaffinity(0))
    with distpool.get_context("fork").Pool(cpus) as pool:
        threads = pool.apply(threads_of_loaded_libraries)
    pool.join()
    assert threads
    assert set(threads) == {1}


# ---- workers that were given CPUs

CPUS = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("method", "size", "num_cpus", "threads"),
    [*((method, CPUS, CPUS, CPUS) for method in METHODS), ("fork", 1, 1, 1), ("fork", 1, 0.5, 1), ("fork", 1, 0, CPUS)],
)
def test_pools_whose_workers_were_given_cpus_have_as_many_threads(method, size, num_cpus, threads):
    with distpool.get_context(method).Pool(size, num_cpus=num_cpus) as pool:
        assert pool.apply(limits) == dict.fromkeys(VARIABLES, str(threads))
    pool.join()


def test_so_have_executors():
    with distpool.Executor(CPUS, num_cpus=CPUS) as executor:
        assert executor.submit(limits).result() == dict.fromkeys(VARIABLES, str(CPUS))


GIVEN_CPUS = """
    import os, sys
    import numpy
    import threadpoolctl
    import distpool

    CPUS = len(os.sched_getaffinity(0))

    def threads():
        loaded = {library["num_threads"] for library in threadpoolctl.threadpool_info()}
        return {int(os.environ["OMP_NUM_THREADS"]), *loaded}

    class Counts:
        def threads(self):
            return threads()

    if __name__ == "__main__":
        distpool.set_start_method(sys.argv[1])
        numpy.ones((2, 2)) @ numpy.ones((2, 2))
        task, actor = distpool.remote(threads), distpool.remote(Counts)
        for order in ({}, {"num_cpus": CPUS}, {}), ({"num_cpus": CPUS}, {}):
            actors = [actor.options(**options).remote() for options in order]
            for options, one in zip(order, actors):
                print("actor", *options.values(), distpool.get(one.threads.remote()))
            distpool.shutdown()  # their template is that of the first
        for options in {"num_cpus": 1}, {"num_cpus": CPUS}:
            print("task", *options.values(), distpool.get(task.options(**options).remote()))
"""


@pytest.mark.parametrize("method", METHODS)
def test_so_have_tasks_and_actors_whatever_their_template_has(tmp_path, method):
    expected = [
        *["actor {1}", f"actor {CPUS} {{{CPUS}}}", "actor {1}"],
        *[f"actor {CPUS} {{{CPUS}}}", "actor {1}"],
        *["task 1 {1}", f"task {CPUS} {{{CPUS}}}"],
    ]
    assert output_of(tmp_path, GIVEN_CPUS, method).splitlines() == expected


def test_what_the_user_has_set_stays_whatever_was_given(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with distpool.get_context("fork").Pool(1, num_cpus=1) as pool:
        assert pool.apply(limits) == dict.fromkeys(VARIABLES, "1") | {"OMP_NUM_THREADS": "7"}
    pool.join()
