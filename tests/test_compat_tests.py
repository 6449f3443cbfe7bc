"""The runner of CPython's suites: the redirection reaches what it must and nothing else, and the verdicts are right."""

import subprocess
import sys

import pytest

from compat_tests import baseline, report
from compat_tests.class_run import EXCLUDED, FAILED, PASSED, SKIPPED, ClassResult, Runner
from compat_tests.environment import Environment, prepared
from compat_tests.exclusions import reason_to_exclude
from compat_tests.suites import SUITES, TestClass, list_classes, start_method_of

TestClass.__test__ = False

SUITE = """
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import unittest


class Outcomes(unittest.TestCase):
    def test_a_passes(self):
        self.assertTrue(multiprocessing.get_context)

    def test_b_fails(self):
        self.assertEqual(multiprocessing.__name__, "another")

    def test_c_is_skipped(self):
        self.skipTest("not here")

    def test_d_is_excluded(self):
        os._exit(3)

    def test_e_crashes(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def test_f_hangs(self):
        time.sleep(60)

    def test_g_fails_in_a_part(self):
        for number in range(2):
            with self.subTest(number=number):
                self.assertEqual(number, 0)

    def test_h_passes_after_all(self):
        pass


class Leftover(unittest.TestCase):
    def test_leaves_a_process(self):
        command = "import os, time; os.setsid(); os.fork() and os._exit(0); time.sleep(60)"
        subprocess.run([sys.executable, "-c", command], check=True)
"""

CHILD = """
import multiprocessing, concurrent.futures, multiprocessing.pool, logging
from concurrent import futures
from multiprocessing import Pool, util

def names(_):
    import multiprocessing.pool as pool
    return [pool.__name__, futures.__name__, logging.__name__]

if __name__ == "__main__":
    with Pool(1) as pool:
        print(multiprocessing.__name__, concurrent.futures.__name__, util.__name__, *pool.map(names, [1])[0])
"""


@pytest.fixture
def suite(tmp_path):
    """A suite of two classes, of which one leaves a process behind."""
    (tmp_path / "test_made_up.py").write_text(SUITE)
    pytest.importorskip("test.support", reason="this interpreter has no test package")
    with prepared("distpool", tmp_path) as environment:
        yield environment


def run_class(environment: Environment, name: str, tests: tuple[str, ...], excluded=None, limit_s=30.0):
    runner = Runner(environment.command, environment.variables, limit_s)
    return runner.run(TestClass("test_made_up", "test.test_made_up", name, tests), excluded or {})


def test_each_outcome_is_told_and_those_after_a_crash_or_a_hang_run_too(suite):
    letters = {
        "a_passes": PASSED,
        "b_fails": FAILED,
        "c_is_skipped": SKIPPED,
        "d_is_excluded": EXCLUDED,
        "e_crashes": FAILED,
        "f_hangs": FAILED,
        "g_fails_in_a_part": FAILED,
        "h_passes_after_all": PASSED,
    }
    expected = {f"test_{name}": outcome for name, outcome in letters.items()}
    result = run_class(suite, "Outcomes", tuple(expected), {"test_d_is_excluded": "says why"}, limit_s=2.0)
    assert dict(sorted(result.outcomes.items())) == expected
    assert "'distpool' != 'another'" in result.details["test_b_fails"]
    assert result.details["test_d_is_excluded"] == "says why"
    assert result.details["test_e_crashes"].startswith("crash")
    assert result.details["test_f_hangs"].startswith("hang")
    assert "in test_f_hangs" in result.details["test_f_hangs"]
    assert "number=1" in result.details["test_g_fails_in_a_part"]


def test_a_process_left_behind_is_a_problem_of_its_class_and_ended(suite, monkeypatch):
    monkeypatch.setattr("compat_tests.leftovers.PATIENCE_S", 0.1)
    result = run_class(suite, "Leftover", ("test_leaves_a_process",))
    assert result.outcomes == {"test_leaves_a_process": PASSED}
    assert result.leftover_count == 1
    assert "time.sleep(60)" in result.problems[0]


@pytest.mark.parametrize("start_method", ["fork", "forkserver", "spawn"])
def test_scripts_and_their_children_see_the_target(tmp_path, start_method):
    with prepared("distpool", None) as environment:
        script = tmp_path / "script.py"
        script.write_text(CHILD.replace("Pool(1)", f"multiprocessing.get_context({start_method!r}).Pool(1)"))
        done = subprocess.run([sys.executable, script], env=environment.variables, capture_output=True, text=True)
    seen = "distpool distpool.futures multiprocessing.util distpool.pool distpool.futures logging"
    assert (done.stdout.split(), done.stderr) == (seen.split(), "")


@pytest.mark.parametrize(("target", "seen"), [("standard", "multiprocessing"), ("distpool", "distpool")])
def test_a_line_of_code_sees_the_target_and_the_standard_library_sees_itself(target, seen):
    code = "import multiprocessing, logging.config, concurrent.futures.process as p; print(multiprocessing.__name__)"
    with prepared(target, None) as environment:
        done = subprocess.run(
            [sys.executable, "-c", code + "; print(p._RemoteTraceback.__module__)"],
            env=environment.variables,
            capture_output=True,
            text=True,
        )
    assert (done.stdout.split(), done.stderr) == ([seen, "concurrent.futures.process"], "")


def test_no_test_passes_on_a_target_without_names():
    with prepared("compat_tests.empty_target", None) as environment:
        listing = list_classes(environment.command, environment.variables, environment.folders)
    # Without `Pool` and its kin no suite can even be imported; an interpreter may have none to begin with.
    assert listing.classes == ()
    assert bool(listing.unusable) == (len(listing.missing) < len(SUITES))


@pytest.mark.parametrize(
    ("suite_name", "class_name", "method"),
    [
        ("test_concurrent_futures", "ProcessPoolForkserverWaitTest", "forkserver"),
        ("test_concurrent_futures", "ProcessPoolForkWaitTest", "fork"),
        ("test_concurrent_futures", "ThreadPoolWaitTests", ""),
        ("test_multiprocessing_main_handling", "ForkServerCmdLineTest", "forkserver"),
        ("test_multiprocessing_spawn", "MiscTestCase", "spawn"),
    ],
)
def test_the_start_method_of_a_class(suite_name, class_name, method):
    assert start_method_of(TestClass(suite_name, "", class_name, ())) == method


def test_a_test_that_needs_the_workers_on_this_machine_is_excluded_on_a_cluster_only():
    test_id = "test_multiprocessing_forkserver.WithProcessesTestPool.test_make_pool"
    assert reason_to_exclude(test_id) == ""
    assert "private `_pool`" in reason_to_exclude(test_id, on_cluster=True)


def test_the_document_has_the_versions_in_their_order_and_those_of_a_cluster_last(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "DOCUMENT", tmp_path / "compatibility.md")
    for name in ("3.13", "3.11-cluster", "3.9", "3.11", "3.11-cluster"):
        report.write_document(name, [])
    lines = report.DOCUMENT.read_text().splitlines()
    parts = [line.split()[2] for line in lines if line.startswith("<!-- begin")]
    assert parts == ["3.9", "3.11", "3.13", "3.11-cluster"]


def test_a_cluster_has_a_baseline_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(baseline, "FOLDER", tmp_path)
    here, there = (baseline.name_of(on_cluster=on_cluster) for on_cluster in (False, True))
    result = ClassResult(TestClass("test_made_up", "test.test_made_up", "Tests", ("test_one",)), {"test_one": PASSED})
    baseline.write(there, [result])
    assert baseline.read(here) == set()
    assert baseline.compare(there, [result]) == baseline.Comparison([], [])
    result.outcomes["test_one"] = FAILED
    assert baseline.compare(there, [result]).lost == ["test_made_up.Tests.test_one"]
