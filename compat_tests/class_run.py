"""Run one class of tests in processes of its own, and find out what became of each test.

A test that hangs or takes its process down has failed; those after it run in a fresh process. What no test can be
blamed for, a process left behind or a fixture that failed, is a problem of the class.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compat_tests.leftovers import MARK, end_leftovers, kill_all
from compat_tests.suites import TestClass

# The time that fixtures may take on top of a test's limit.
FIXTURES_LIMIT_S = 30.0

# How long a process whose tests are over may take to end.
EXIT_LIMIT_S = 20.0

PASSED, FAILED, SKIPPED, EXCLUDED = "passed", "failed", "skipped", "excluded"


@dataclass
class ClassResult:
    """What became of the tests of a class: `outcomes` and `details` by the test's name."""

    test_class: TestClass
    outcomes: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    leftover_count: int = 0
    duration_s: float = 0.0

    def count(self, outcome: str) -> int:
        return list(self.outcomes.values()).count(outcome)

    def fail(self, test: str, detail: str) -> None:
        self.outcomes[test] = FAILED
        self.details[test] = detail


@dataclass(frozen=True)
class Runner:
    """How classes are run: `command` runs `compat_tests.one_class`, a test may take `limit_s`."""

    command: list[str]
    environment: Mapping[str, str]
    limit_s: float

    def run(self, test_class: TestClass, excluded: Mapping[str, str]) -> ClassResult:
        """Run the tests of a class but those `excluded`, by name with the reason."""
        result = ClassResult(test_class)
        for test, reason in excluded.items():
            result.outcomes[test], result.details[test] = EXCLUDED, reason
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="compat-") as folder:
            remaining = [test for test in test_class.tests if test not in result.outcomes]
            while remaining:
                self._run_some(test_class, remaining, Path(folder), result)
                remaining = [test for test in remaining if test not in result.outcomes]
        result.duration_s = time.monotonic() - started
        return result

    def _run_some(self, test_class: TestClass, tests: list[str], folder: Path, result: ClassResult) -> None:
        """Run tests in one process, up to the first that ends it; at least one gets its outcome."""
        record = folder / f"record-{len(result.outcomes)}"
        record.touch()
        output = folder / f"output-{len(result.outcomes)}"
        work = folder / f"work-{len(result.outcomes)}"
        work.mkdir()
        mark = f"{folder.name}-{len(result.outcomes)}"
        with open(output, "wb") as stream:
            process = subprocess.Popen(
                [*self.command, "run", test_class.module, test_class.name, str(record), str(self.limit_s), *tests],
                cwd=work,
                env={**self.environment, MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            killed_because = self._wait(process, record)
        if killed_because:
            kill_all(mark)
            process.kill()
        process.wait()
        left = [] if killed_because else end_leftovers(mark)
        _judge(result, tests, _read(record), process.returncode, killed_because, _tail(output))
        if left:
            result.leftover_count += len(left)
            result.problems.append("processes left behind: " + "; ".join(left))

    def _wait(self, process: subprocess.Popen[bytes], record: Path) -> str:
        """Wait for the end; the reason to kill the process, or nothing."""
        size, changed_at = -1, time.monotonic()
        while True:
            try:
                process.wait(0.2)
                return ""
            except subprocess.TimeoutExpired:
                pass
            if record.stat().st_size != size:
                size, changed_at = record.stat().st_size, time.monotonic()
            silent_s = time.monotonic() - changed_at
            if silent_s > EXIT_LIMIT_S and any("finished" in event for event in _read(record)):
                return f"the interpreter did not end within {EXIT_LIMIT_S:.0f} s after the last test"
            if silent_s > self.limit_s + FIXTURES_LIMIT_S:
                return f"nothing happened for {silent_s:.0f} s"


def _read(record: Path) -> list[dict[str, str]]:
    return [
        json.loads(line) for line in record.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1] == "\n"
    ]


def _judge(
    result: ClassResult, tests: list[str], events: list[dict[str, str]], status: int, killed_because: str, tail: str
) -> None:
    begun = ""
    all_skipped = ""
    finished = False
    for event in events:
        begun = event.get("began", begun)
        all_skipped = event.get("all_skipped", all_skipped)
        finished = finished or "finished" in event
        if "ended" in event:
            begun = ""
            result.outcomes[event["ended"]] = event["outcome"]
            if event["detail"]:
                result.details[event["ended"]] = event["detail"]
        if "problem" in event:
            result.problems.append(event["problem"])
    how = killed_because or f"the process ended with status {status}"
    if begun:
        hung = killed_because or "Timeout (" in tail
        result.fail(begun, f"{'hang' if hung else 'crash'}: {how}\n{tail}")
    elif not finished or killed_because:
        result.problems.append(f"{how}\n{tail}")
    if finished or not any("began" in event for event in events):
        # What has no outcome now never will.
        for test in tests:
            if test not in result.outcomes and all_skipped:
                result.outcomes[test], result.details[test] = SKIPPED, all_skipped
            elif test not in result.outcomes:
                result.fail(test, "not run: " + "; ".join(result.problems))


def _tail(output: Path, lines: int = 80) -> str:
    return "\n".join(output.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
