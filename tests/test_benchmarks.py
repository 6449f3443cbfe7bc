"""The benchmarks' runner: that its tables say what was measured. What is measured is the benchmarks' own business."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
QUESTIONS = sorted(path.stem for path in BENCHMARKS.glob("*.py") if "\nFIGURES = [" in path.read_text())


def report(folder: Path, rounds: list[tuple[float, float]]) -> subprocess.CompletedProcess[str]:
    """What the runner prints for these times of a lone `apply`, standard and distpool, and a peer that failed."""
    answers: list[dict[str, object]] = [
        {"question": "lone_call", "library": library, "round": number, "figures": {"apply_us": value}}
        for number, pair in enumerate(rounds)
        for library, value in zip(("standard", "distpool"), pair, strict=True)
    ]
    answers.append({"question": "lone_call", "library": "ray", "round": 0, "error": "no answer in 120 s"})
    run = {"python": "3.11", "cpus": 2, "workers": 2, "rounds": len(rounds), "versions": {}, "answers": answers}
    path = folder / "run.json"
    path.write_text(json.dumps({**run, "not_installed": ["dask"]}))
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--only", "lone_call", "--from-json", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_ratio_is_the_median_of_the_rounds_ratios_with_their_spread(tmp_path: Path) -> None:
    done = report(tmp_path, [(100, 20), (400, 100), (100, 10)])
    [line] = [line for line in done.stdout.splitlines() if line.startswith("lone Pool.apply") and "goal" not in line][
        :1
    ]
    assert line.split()[2:] == ["100.0", "20.0", "µs", "0.20", "(0.10–0.25)", "≤", "0.25", "×", "reached"]
    assert done.returncode == 0


def test_a_missed_goal_is_said_and_is_the_exit_status(tmp_path: Path) -> None:
    done = report(tmp_path, [(100, 30)])
    assert "MISSED" in done.stdout
    assert done.returncode == 1


def test_a_peer_that_failed_or_is_not_installed_is_named_with_the_reason(tmp_path: Path) -> None:
    output = report(tmp_path, [(100, 20)]).stdout
    assert "[1] lone_call, ray: no answer in 120 s" in output
    assert "dask: not installed" in output


@pytest.mark.parametrize("question", QUESTIONS)
def test_each_question_says_what_is_measured_against_what_and_the_goal(question: str) -> None:
    source = (BENCHMARKS / f"{question}.py").read_text()
    docstring = ast.get_docstring(ast.parse(source)) or ""
    heading, *_ = docstring.splitlines()
    assert heading.endswith("?")
    for part in ("\nMeasured: ", "\nAgainst: ", "\nGoal: "):
        assert part in docstring
    assert f'"{question}",' in (BENCHMARKS / "run.py").read_text()
