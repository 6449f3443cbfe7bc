"""`python -m compat_tests`: runs CPython's suites on distpool, prints a table, and compares it with the baseline.

The exit status is 1 when a test that passed no longer does, when a class leaves a process behind, or when a suite is
missing; without a baseline, when any test fails.
"""

import argparse
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from compat_tests import baseline, report
from compat_tests.class_run import FAILED, ClassResult, Runner
from compat_tests.environment import STANDARD, Environment, prepared
from compat_tests.exclusions import reason_to_exclude
from compat_tests.nodes import leases_left, on_nodes
from compat_tests.suites import CLUSTER_CLASSES, METHODS, Listing, TestClass, list_classes, start_method_of


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m compat_tests", description=__doc__)
    parser.add_argument("--only", metavar="REGEX", default="", help="tests whose id, suite.class.test, matches in part")
    parser.add_argument(
        "--suite-folder", type=Path, help="take suites from this folder first, then from the interpreter"
    )
    parser.add_argument("--methods", help=f"start methods (default: {','.join(METHODS)}; on a cluster forkserver)")
    parser.add_argument("--cluster", action="store_true", help="pools of processes, forkserver, on two nodes")
    parser.add_argument("--target", default="distpool", help="the package under test; 'standard' redirects nothing")
    parser.add_argument("--jobs", type=int, default=2, help="classes that run at a time (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for a test (default: %(default)s)")
    parser.add_argument("--allow-missing", action="store_true", help="a suite that is not there is no failure")
    parser.add_argument("--write", action="store_true", help="write the baseline and docs/compatibility.md")
    options = parser.parse_args(arguments)
    if options.cluster and options.target == STANDARD:
        parser.error("--target standard --cluster: the standard library has no cluster")
    options.methods = options.methods or ("forkserver" if options.cluster else ",".join(METHODS))
    return options


def main(arguments: list[str]) -> int:
    options = parsed(arguments)
    with prepared(options.target, options.suite_folder) as environment:
        listing = list_classes(environment.command, environment.variables, environment.folders)
        for suite in listing.missing:
            print(f"NOT FOUND: {suite} is neither in the interpreter's test package nor in --suite-folder")
        for module, reason in listing.unusable.items():
            print(f"FAILED: {module} cannot be imported: {reason}")
        print(report.heading(), flush=True)
        started = time.monotonic()
        if options.cluster:
            with on_nodes(environment) as (there, made):
                results = run_classes(options, there, listing)
                left = leases_left(made)
        else:
            results, left = run_classes(options, environment, listing), ""
    print(report.total(results, time.monotonic() - started))
    for text in report.failures(results):
        print(f"\n{text}")
    if options.write:
        name = baseline.name_of(on_cluster=options.cluster)
        baseline.write(name, results)
        report.write_document(name, results)
    return verdict(options, listing, results, left)


def run_classes(options: argparse.Namespace, environment: Environment, listing: Listing) -> list[ClassResult]:
    """Run what the options select, some classes at a time, and print a line for each that has ended."""
    selected = list(select(options, listing.classes))
    runner = Runner(environment.command, environment.variables, options.limit)
    printing = threading.Lock()

    def run(test_class: TestClass) -> ClassResult:
        ids = {test: f"{test_class.id}.{test}" for test in test_class.tests}
        reasons = {test: reason_to_exclude(test_id, on_cluster=options.cluster) for test, test_id in ids.items()}
        is_standard = options.target == STANDARD
        excluded = {} if is_standard else {test: reason for test, reason in reasons.items() if reason}
        result = runner.run(test_class, excluded)
        with printing:
            print(report.row(result), flush=True)
        return result

    with ThreadPoolExecutor(options.jobs) as executor:
        return list(executor.map(run, selected))


def select(options: argparse.Namespace, classes: tuple[TestClass, ...]) -> list[TestClass]:
    methods = {"", *options.methods.split(",")}
    selected = []
    for test_class in classes:
        tests = tuple(test for test in test_class.tests if re.search(options.only, f"{test_class.id}.{test}"))
        is_wanted = not options.cluster or CLUSTER_CLASSES.fullmatch(test_class.name)
        if tests and is_wanted and start_method_of(test_class) in methods:
            selected.append(TestClass(test_class.suite, test_class.module, test_class.name, tests))
    return selected


def verdict(options: argparse.Namespace, listing: Listing, results: list[ClassResult], left: str) -> int:
    """The exit status, with a line for each reason that it is not 0. `left`: what is left on the nodes."""
    name = baseline.name_of(on_cluster=options.cluster)
    problems = [
        f"{result.test_class.id}: {result.problems[0].splitlines()[0]}" for result in results if result.problems
    ]
    problems += [left] * bool(left)
    if options.target != "distpool" or not baseline.read(name):
        failed = sum(result.count(FAILED) for result in results)
        problems += [f"{failed} tests failed"] * bool(failed)
    else:
        comparison = baseline.compare(name, results)
        problems += [f"no longer passes: {test_id}" for test_id in comparison.lost]
        for test_id in comparison.gained:
            print(f"passes now, and is not in the baseline: {test_id}")
    problems += [f"cannot be imported: {module}" for module in listing.unusable]
    if not options.allow_missing:
        problems += [f"not found: {suite}" for suite in listing.missing]
    for problem in problems:
        print(f"FAILED: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
