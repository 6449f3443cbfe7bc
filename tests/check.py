"""Run every check of the project, one after the other.

    python tests/check.py [--tests-only] [pytest arguments ...]

Each check gets a headline and its elapsed time. All checks run even when one failed; the exit status is 1 when any
failed. `--tests-only` runs pytest alone, and less of it, for the further Python versions. Without pytest arguments, the
tests that no other can disturb run beside all the others, and their summary comes last.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PYTHON = [sys.executable, "-m"]
# import-linter has no `python -m` entry, and its script need not be on PATH.
LINT_IMPORTS = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-logo"]

# A check that takes longer hangs, for instance in a test's interpreter that does not exit. What hangs within a test is
# ended by pytest after a minute.
TIME_LIMIT_S = 540

# Tests of decisions, which do no I/O: the same on all versions of Python.
ONCE = ["tests/logic", "tests/protocol", "tests/roles"]

# The same, of whole runs.
SIMULATED = ["tests/simulation"]

# Tests of clusters: of what happens between their processes, which mostly wait, and of the parts that only these have.
# On one version, and beside the others.
OF_CLUSTERS = [
    "tests/cli",
    "tests/cluster/test_addresses.py",
    "tests/cluster/test_bad_networks.py",
    "tests/cluster/test_broadcast.py",
    "tests/cluster/test_draining.py",
    "tests/cluster/test_head_restarts.py",
    "tests/cluster/test_keys.py",
    "tests/cluster/test_losses.py",
    "tests/cluster/test_membership.py",
    "tests/cluster/test_networks.py",
    "tests/cluster/test_refusals.py",
    "tests/cluster/test_without_a_head.py",
    *(f"tests/runtime/test_{name}.py" for name in ("caller_objects", "channels", "client_links", "enrolling")),
    *(f"tests/runtime/test_{name}.py" for name in ("far_results", "head_keys", "kept_folders")),
    *(f"tests/runtime/test_{name}.py" for name in ("labels", "ledger", "links", "packages", "rotation", "supplier")),
    *(f"tests/transport/test_{name}.py" for name in ("admissions", "heartbeats", "keys", "payloads")),
    *(f"tests/transport/test_{name}.py" for name in ("scouts", "security", "tokens")),
]

# Tests of tasks, actors, and what they need, on one machine.
OF_TASKS = [
    "tests/actors",
    "tests/facades/test_placement_groups.py",
    "tests/facades/test_placing.py",
    "tests/runtime/gpus",
    *(f"tests/runtime/test_{name}.py" for name in ("aside", "guests", "memory_guard", "returned_leases")),
    *(f"tests/runtime/test_{name}.py" for name in ("descriptor_limit", "shared_templates", "up_lane")),
    "tests/runtime/test_waiting_workers.py",
    "tests/tasks",
]

# The same on clusters; on one version.
OF_TASKS_ON_NODES = [
    f"tests/cluster/test_{name}.py"
    for name in (
        *("actors", "generators", "gpus", "lineage", "memory_guard", "named_actors", "nested_tasks"),
        *("placement_groups", "resources", "tasks", "up_lane"),
    )
]

# Tests of what pools need on clusters.
OF_POOLS_ON_NODES = ["tests/cluster/test_code.py", "tests/cluster/test_objects.py", "tests/cluster/test_pools.py"]

# Tests that no other can disturb: of texts, of values, and those that work in programs of their own.
APART = [
    "tests/serialization",
    "tests/settings",
    "tests/faults/test_interrupt_points.py",
    "tests/objects",
    "tests/store",
    "tests/test_architecture.py",
    "tests/test_compat_tests.py",
    "tests/test_examples.py",
]


# The tests of pools and executors once more, with their workers on two nodes: of each the first and last parameters.
ON_NODES = ["-q", "-m", "cluster and not between", "tests/facades"]

# Which tests of those that are run for each start method: each method is on one version at least, and CPython's own
# suites use all of them on 3.11 and 3.13. Tests of faults and of the runtime are on these two, and those of tasks on
# 3.11 and 3.12.
METHODS = {"3.12": "forkserver or not (fork or spawn)", "3.13": "not (forkserver or spawn)"}
VERSION = ".".join(map(str, sys.version_info[:2]))
ELSEWHERE = {
    "3.12": ["tests/faults", "tests/runtime", "tests/transport", "tests/test_examples.py", *OF_POOLS_ON_NODES],
    "3.13": OF_TASKS,
}.get(VERSION, [])

# More of those that run apart, where the others take longer.
ALSO_APART = {"3.12": ["tests/faults/test_store_endings.py", "tests/test_drop_in.py"]}.get(VERSION, [])


def main(arguments: list[str]) -> int:
    tests_only = "--tests-only" in arguments
    pytest_arguments = [argument for argument in arguments if argument != "--tests-only"]
    failed = []
    if pytest_arguments:
        failed += failing({} if tests_only else static_checks())
        failed += failing({"pytest": [*PYTHON, "pytest", *pytest_arguments]})
    else:
        apart = [*([*ALSO_APART, *OF_POOLS_ON_NODES] if tests_only else ONCE), *APART]
        apart = [path for path in apart if not path.startswith(tuple(ELSEWHERE))]
        others = {"what runs apart": apart} if tests_only else {"what runs apart": apart, "clusters": OF_CLUSTERS}
        later = [*SIMULATED, *OF_TASKS_ON_NODES, *OF_POOLS_ON_NODES, *([] if tests_only else OF_TASKS)]
        with all_beside(others, failed):
            failed += failing({} if tests_only else static_checks())
            ignored = [f"--ignore={path}" for path in {*ONCE, *OF_CLUSTERS, *ELSEWHERE, *apart, *later}]
            methods = METHODS.get(VERSION, "not forkserver")
            failed += failing({"pytest": [*PYTHON, "pytest", *ignored, "-k", methods]})
        if not tests_only:
            on_nodes = [*OF_TASKS_ON_NODES, *OF_POOLS_ON_NODES]
            here = [*OF_TASKS, *SIMULATED]
            with all_beside({"tasks and simulations": here, "tasks and pools on nodes": on_nodes}, failed):
                failed += failing({"pytest of pools on two nodes": [*PYTHON, "pytest", *ON_NODES]})
    if failed:
        print(f"\nFAILED: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


def failing(checks: dict[str, list[str]]) -> list[str]:
    return [name for name, command in checks.items() if not passes(name, command)]


@contextmanager
def all_beside(paths: dict[str, list[str]], failed: list[str]) -> Iterator[None]:
    """Run the tests of each name beside what is done within."""
    with ExitStack() as others:
        for name, of in paths.items():
            command = [*PYTHON, "pytest", "-q", "-p", "no:cacheprovider", *of]
            others.enter_context(beside(f"pytest of {name}", command, failed))
        yield


@contextmanager
def beside(name: str, command: list[str], failed: list[str]) -> Iterator[None]:
    """Run a check beside what is done within, and tell of it at the end."""
    with tempfile.TemporaryFile("w+") as output:
        started = time.monotonic()
        with subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT) as process:
            try:
                yield
                status = process.wait(max(1.0, TIME_LIMIT_S - (time.monotonic() - started)))
            except subprocess.TimeoutExpired:
                status = None
            finally:
                process.kill()
        output.seek(0)
        text = output.read()
    print(f"\n=== {name}, beside the others\n{text.splitlines()[-1] if status == 0 else text}", flush=True)
    if status != 0:
        how = f"was stopped after {TIME_LIMIT_S} s" if status is None else f"exit status {status}"
        print(f"--- {name}: {how}", flush=True)
        failed.append(name)


def static_checks() -> dict[str, list[str]]:
    return {
        "ruff check": [*PYTHON, "ruff", "check", "."],
        "ruff format --check": [*PYTHON, "ruff", "format", "--check", "."],
        "mypy": [*PYTHON, "mypy"],
        "lint-imports": LINT_IMPORTS,
    }


def passes(name: str, command: list[str]) -> bool:
    print(f"\n=== {name} (Python {sys.version.split()[0]})", flush=True)
    started = time.monotonic()
    try:
        status = subprocess.run(command, cwd=ROOT, timeout=TIME_LIMIT_S, check=False).returncode
    except subprocess.TimeoutExpired:
        print(f"{name} was stopped after {TIME_LIMIT_S} s", flush=True)
        return False
    # pytest prints its own time in its summary.
    if status != 0 or name != "pytest":
        print(
            f"--- {name}: {'ok' if status == 0 else f'exit status {status}'}, {time.monotonic() - started:.1f} s",
            flush=True,
        )
    return status == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
