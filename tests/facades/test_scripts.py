"""Programs with a `__main__` of their own: what the workers see of it, how they end, what they print."""

import pytest

from .scripts import require_same, run_on_both, run_script

STATE_OF_MAIN = """
    import os
    from MP import Pool, set_start_method, get_start_method

    class Point:
        def __init__(self, x):
            self.x = x

    TABLE = {"size": 1}
    installed = None

    def install(value):
        global installed
        installed = value

    def use(x):
        return installed, x

    def is_point(value):
        return isinstance(value, Point), type(value) is Point, Point.__module__

    def moved(point):
        return Point(point.x + 1)

    def table_size(_):
        return TABLE["size"]

    def count(_):
        TABLE["calls"] = TABLE.get("calls", 0) + 1
        return TABLE["calls"]

    if __name__ == "__main__":
        set_start_method(METHOD)
        TABLE["size"] = 2
        with Pool(1, install, ("kept",)) as pool:
            print(get_start_method(), pool.map(use, [1, 2]))
            print(pool.apply(is_point, (Point(1),)))
            print(type(pool.apply(moved, (Point(1),))) is Point)
            print("table", pool.map(table_size, [0]))
            print("calls", pool.map(count, range(3)))
"""


def test_workers_see_the_main_module_as_the_start_method_promises(tmp_path, start_method):
    require_same(run_on_both(tmp_path, STATE_OF_MAIN, method=start_method))


def test_a_module_run_with_dash_m_finds_itself_again(tmp_path, start_method):
    source = """
        from MP import get_context

        def name_of_main(x):
            return __name__ != "", x + 1

        if __name__ == "__main__":
            with get_context(METHOD).Pool(2) as pool:
                print(pool.map(name_of_main, range(3)))
    """
    require_same(run_on_both(tmp_path, source, method=start_method, arguments=("-m", "program")))


@pytest.mark.parametrize("library", ["multiprocessing", "distpool"])
def test_a_command_line_program_uses_a_pool(tmp_path, start_method, library):
    code = f"""
import {library} as mp
if __name__ == "__main__":
    with mp.get_context({start_method!r}).Pool(2) as pool:
        print(pool.map(abs, [-1, 2, -3]))
"""
    run = run_script(tmp_path, library, "", arguments=("-c", code))
    assert (run.status, run.output) == (0, ["[1, 2, 3]"]), run.errors


def test_what_workers_print_reaches_the_programs_output(tmp_path, start_method):
    source = """
        import os, sys
        from MP import get_context

        def report(x):
            print("worker prints", x)
            return x

        if __name__ == "__main__":
            with get_context(METHOD).Pool(2) as pool:
                print(pool.map(report, range(5)))
                pool.close()
                pool.join()
            print("end")
    """
    runs = run_on_both(tmp_path, source, method=start_method)
    require_same(runs)
    assert "worker prints 4" in runs.standard.output


def test_an_uncaught_error_of_a_task_ends_the_program_with_both_tracebacks(tmp_path, start_method):
    source = """
        from MP import get_context

        def divide(x):
            return 1 / x

        if __name__ == "__main__":
            with get_context(METHOD).Pool(2) as pool:
                pool.map(divide, [1, 0])
    """
    runs = run_on_both(tmp_path, source, method=start_method)
    require_same(runs, status=1)
    for errors in (runs.standard.errors, runs.distpool.errors):
        assert errors.rstrip().endswith("ZeroDivisionError: division by zero")
        assert "multiprocessing.pool.RemoteTraceback: " in errors
        assert "return 1 / x" in errors
        assert "The above exception was the direct cause of the following exception:" in errors


@pytest.mark.parametrize(("ending", "status"), [("sys.exit(3)", 3), ("pass", 0), ("pool.close()", 0)])
def test_a_program_may_end_with_a_pool_still_running(tmp_path, start_method, ending, status):
    source = """
        import sys, time
        from MP import get_context

        if __name__ == "__main__":
            pool = get_context(METHOD).Pool(2)
            print(pool.apply(abs, (-1,)))
            unfinished = pool.apply_async(time.sleep, (0.1,))
            ENDING
    """.replace("ENDING", ending)
    require_same(run_on_both(tmp_path, source, method=start_method), status=status)


NO_MAIN_GUARD = """
    from MP import get_context
    pool = get_context(METHOD).Pool(1)
    print(pool.apply(abs, (-1,)))
"""
EXPLANATION = "An attempt has been made to start a new process before the"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_missing_main_guard_is_explained(tmp_path, method):
    # The standard pool starts workers again and again, for ever.
    runs = [
        run_script(tmp_path, library, NO_MAIN_GUARD, method=method, stop_at=EXPLANATION)
        for library in ("multiprocessing", "distpool")
    ]
    assert [EXPLANATION in run.errors for run in runs] == [True, True]
    assert [run.output for run in runs] == [[], []]


@pytest.mark.extension
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_program_without_a_main_guard_ends(tmp_path, method):
    run = run_script(tmp_path, "distpool", NO_MAIN_GUARD, method=method)
    assert EXPLANATION in run.errors
    assert "RuntimeError" in run.errors
    assert run.status not in (0, -9), "the program did not end by itself"


def test_the_start_method_is_set_only_once(tmp_path):
    source = """
        from MP import set_start_method, get_start_method
        print(get_start_method(allow_none=True))
        set_start_method("spawn")
        for again in ("fork", "spawn", None, "nonsense"):
            try:
                set_start_method(again)
            except (RuntimeError, ValueError) as error:
                print(again, type(error).__name__, error)
        set_start_method("forkserver", force=True)
        print(get_start_method())
    """
    require_same(run_on_both(tmp_path, source))


def test_freeze_support_does_nothing_in_a_script(tmp_path):
    source = """
        from MP import freeze_support, Pool
        if __name__ == "__main__":
            freeze_support()
            with Pool(1) as pool:
                print(pool.apply(abs, (-1,)))
    """
    require_same(run_on_both(tmp_path, source))


# ---- executors


def test_futures_still_pending_at_the_programs_end_run(tmp_path, start_method):
    source = """
        import time
        from MP import get_context
        from FUTURES import ProcessPoolExecutor

        def late(number):
            time.sleep(0.02)
            print("ran", number, flush=True)

        if __name__ == "__main__":
            executor = ProcessPoolExecutor(2, mp_context=get_context(METHOD))
            for number in range(6):
                executor.submit(late, number)
            print("main ends")
    """
    runs = run_on_both(tmp_path, source, method=start_method)
    require_same(runs)
    assert len(runs.standard.output) == 7


def test_submitting_after_the_interpreter_began_to_shut_down_is_refused(tmp_path):
    source = """
        import atexit
        from FUTURES import ProcessPoolExecutor

        def too_late():
            for executor in (used, unused):
                try:
                    executor.submit(abs, -1)
                except RuntimeError as error:
                    # The standard executor says "after shutdown" where it was used before.
                    print("unused" if executor is unused else "used", str(error).replace("interpreter ", ""))

        if __name__ == "__main__":
            atexit.register(too_late)
            used, unused = ProcessPoolExecutor(1), ProcessPoolExecutor(1)
            print(used.submit(abs, -2).result())
    """
    require_same(run_on_both(tmp_path, source))


def test_an_executors_main_class_is_the_same_in_the_worker(tmp_path, start_method):
    source = """
        from MP import get_context
        from FUTURES import ProcessPoolExecutor

        class Point:
            pass

        kept = None

        def keep(value):
            global kept
            kept = value

        def check(value):
            return isinstance(value, Point), kept, Point()

        if __name__ == "__main__":
            with ProcessPoolExecutor(1, get_context(METHOD), keep, ("kept",)) as executor:
                for same, value, point in executor.map(check, [Point(), Point()]):
                    print(same, value, isinstance(point, Point))
    """
    require_same(run_on_both(tmp_path, source, method=start_method))


def test_an_uncaught_error_of_a_future_ends_the_program_with_both_tracebacks(tmp_path, start_method):
    source = """
        from MP import get_context
        from FUTURES import ProcessPoolExecutor

        def divide(x):
            return 1 / x

        if __name__ == "__main__":
            with ProcessPoolExecutor(1, mp_context=get_context(METHOD)) as executor:
                executor.submit(divide, 0).result()
    """
    runs = run_on_both(tmp_path, source, method=start_method)
    require_same(runs, status=1)
    for errors in (runs.standard.errors, runs.distpool.errors):
        assert errors.rstrip().endswith("ZeroDivisionError: division by zero")
        assert "concurrent.futures.process._RemoteTraceback: " in errors
        assert "return 1 / x" in errors
