"""The tests that passed when the baseline of a Python version was written: a text file with one test's id a line.

A baseline's name is the version, "3.11", and on a cluster "3.11-cluster".
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from compat_tests.class_run import PASSED, ClassResult

FOLDER = Path(__file__).parent / "baseline"


@dataclass(frozen=True)
class Comparison:
    """`lost`: passed when the baseline was written and ran now without passing. `gained`: the other way round."""

    lost: list[str]
    gained: list[str]


def name_of(*, on_cluster: bool) -> str:
    """Of this Python version's."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return f"{version}-cluster" if on_cluster else version


def read(name: str) -> set[str]:
    path = FOLDER / f"{name}.txt"
    return set(path.read_text(encoding="utf-8").split()) if path.is_file() else set()


def write(name: str, results: Iterable[ClassResult]) -> None:
    """Replace the lines of the suites that were run; those of others stay."""
    results = list(results)
    suites = {result.test_class.suite for result in results}
    kept = {line for line in read(name) if line.partition(".")[0] not in suites}
    passed = {test_id for test_id, outcome in outcomes_by_id(results).items() if outcome == PASSED}
    FOLDER.mkdir(exist_ok=True)
    lines = "".join(f"{line}\n" for line in sorted(kept | passed))
    (FOLDER / f"{name}.txt").write_text(lines, encoding="utf-8")


def compare(name: str, results: Iterable[ClassResult]) -> Comparison:
    """A test that this interpreter's suites do not have is neither lost nor gained."""
    expected = read(name)
    outcomes = outcomes_by_id(results)
    return Comparison(
        lost=sorted(test_id for test_id, outcome in outcomes.items() if outcome != PASSED and test_id in expected),
        gained=sorted(
            test_id for test_id, outcome in outcomes.items() if outcome == PASSED and test_id not in expected
        ),
    )


def outcomes_by_id(results: Iterable[ClassResult]) -> dict[str, str]:
    return {
        f"{result.test_class.id}.{test}": outcome for result in results for test, outcome in result.outcomes.items()
    }
