"""Each example runs with small parameters and prints the right result."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PRIMES_PER_THOUSAND = [168, 135, 127, 120, 119, 114, 117, 107, 110, 112]


def run_example(name: str, *arguments: str, by: tuple[str, ...] = ()) -> str:
    """The standard output of an example, which must end well; `by` are arguments of python before the file's."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, *by, str(ROOT / "examples" / f"{name}.py"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_word_count_agrees_and_shows_ten_words_and_three_times() -> None:
    printed = run_example("word_count", "--megabytes=10", "--processes=2", "--rounds=1")
    assert "MB of text in 2 files, 2 processes" in printed
    assert "all three ways agree" in printed
    assert len(re.findall(r"^  [a-z]+ +[\d,]+$", printed, re.MULTILINE)) == 10
    for name in ("serial", "multiprocessing.Pool", "distpool.Pool"):
        assert re.search(rf"^{re.escape(name)} +[\d.]+ s +[\d.]+ x +[\d.]+ x$", printed, re.MULTILINE)


def test_monte_carlo_pi_gives_the_same_estimate_with_any_number_of_processes() -> None:
    estimates = {
        re.search(r"^pi ~ ([\d.]+), off by", printed, re.MULTILINE)[1]  # type: ignore[index]
        for processes in ("1", "2")
        for printed in [run_example("monte_carlo_pi", "--points=200000", "--tasks=10", f"--processes={processes}")]
    }
    assert len(estimates) == 1
    assert float(estimates.pop()) == pytest.approx(3.14159, abs=0.02)


def test_grid_search_finds_the_same_best_fit_and_counts_its_work() -> None:
    printed = [run_example("grid_search", "--samples=20", f"--processes={number}") for number in (1, 2)]
    best = {re.search(r"^best of 54: (.*)$", text, re.MULTILINE)[1] for text in printed}  # type: ignore[index]
    assert len(best) == 1
    assert re.search(r"wall time [\d.]+ s, sum of the fits [\d.]+ s, 2 processes: efficiency \d+%", printed[1])


def test_unreliable_calls_fail_alone() -> None:
    frames = range(1, 31)
    died = [frame for frame in frames if frame % 7 == 0]
    late = [frame for frame in frames if frame % 11 == 0 and frame not in died]
    raised = [frame for frame in frames if frame % 13 == 0 and frame not in died + late]
    lines = run_example("unreliable_calls", f"--frames={len(frames)}", "--processes=2").splitlines()
    assert [line.split(maxsplit=1) for line in lines[:-1]] == [
        [str(len(died)), "its worker died of SIGSEGV"],
        [str(len(late)), "over the time limit"],
        [str(len(raised)), "raised ValueError"],
        [str(len(frames) - len(died + late + raised)), "rendered"],
    ]


@pytest.mark.parametrize(
    ("by", "pool", "executor"),
    [
        ((), "multiprocessing.pool", "concurrent.futures.process"),
        (("-m", "distpool"), "distpool.drop_in", "distpool.futures.process"),
    ],
)
def test_drop_in_gives_the_same_results_with_either_pools(by: tuple[str, ...], pool: str, executor: str) -> None:
    lines = run_example("drop_in", by=by).splitlines()
    assert lines[0] == f"pool from {pool}"
    assert lines[1] == f"primes per thousand: {PRIMES_PER_THOUSAND}"
    assert lines[2] == f"executor from {executor}"
    assert lines[3].startswith("the same from 10,000 on: [106, 103, 109,")
    assert lines[4] == f"in a child, executor from {executor}: 97 is prime: True"
    assert lines[5] == "the child's exit code: 0"


def test_shared_matrix_agrees_and_keeps_one_object() -> None:
    printed = run_example("shared_matrix", "--megabytes=8", "--columns=16")
    assert "62,500 × 16 numbers, 8 MB, 16 calls" in printed
    for label in ("multiprocessing: an argument", "distpool: an argument", "distpool: put once"):
        assert re.search(rf"^{label} +[\d.]+ s$", printed, re.MULTILINE)
    assert "nobody's change is seen by another: True" in printed
    assert "the store holds 1 object of 8 MB" in printed


def test_cluster_word_count_agrees_on_two_nodes_and_ends_them() -> None:
    printed = run_example("cluster_word_count", "--megabytes=8")
    for name in ("first", "second"):
        assert re.search(rf"^node {name} has joined the head at tcp://127.0.0.1:\d+$", printed, re.MULTILINE)
        assert re.search(rf"^{name} +up +1 +0 ", printed, re.MULTILINE)
    assert "both ways agree: True" in printed
