"""Each example runs with small parameters and prints the right result."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PRIMES_PER_THOUSAND = [168, 135, 127, 120, 119, 114, 117, 107, 110, 112]


ON_TWO_NODES = ("-m", "distpool.cli", "run", "--nodes", "2", "--", sys.executable)


def run_example(name: str, *arguments: str, by: tuple[str, ...] = (), **more: str) -> str:
    """The standard output of an example, which must end well; `by` are arguments of python before the file's, and
    `more` variables of its environment."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    # Other tests, which run at the same time, look whether they have left anything behind.
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, *by, str(ROOT / "examples" / f"{name}.py"), *arguments],
            env={**os.environ, "PYTHONPATH": path, "TMPDIR": folder, **more},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert os.listdir(folder) == []
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


def numbers_of(pattern: str, printed: str) -> list[float]:
    """The groups of a line's pattern, which must be there, as numbers."""
    found = re.search(f"^{pattern}$", printed, re.MULTILINE)
    assert found is not None, printed
    return [float(text.replace(",", "")) for text in found.groups()]


def test_parameter_servers_learn_the_same_and_one_waits_for_nobody() -> None:
    printed = run_example("parameter_server", "--workers=3", "--steps=40", "--rest=20")
    assert "3 workers × 2,000 rows of 200 features, 120 gradients" in printed
    assert numbers_of(r"before +loss ([\d.]+)", printed) == [0.693]
    loss, rate = numbers_of(r"synchronous +loss ([\d.]+) +([\d,]+) gradients/s", printed)
    assert loss < 0.2
    assert rate < 3 * 50, "each step waits for the worker that rests 20 ms"
    loss, _, *computed = numbers_of(
        r"asynchronous +loss ([\d.]+) +([\d,]+) gradients/s +of each worker: \[(\d+), (\d+), (\d+)\]", printed
    )
    assert loss < 0.25
    assert sum(computed) == 120
    assert computed[2] < min(computed[:2])


def test_shards_find_all_keys_and_are_even_by_hash_and_by_sampled_ranges() -> None:
    printed = run_example("sharded_data", "--shards=3", "--keys=30000", "--reads=60000")
    row = r"{} +([\d.]+) +([\d.]+) +(\d) of 3 +[\d.]+ M keys/s +([\d,]+), ([\d,]+), ([\d,]+)"
    rows = {name: numbers_of(row.format(name), printed) for name in ("hash", "equal ranges", "sampled ranges")}
    assert len({sum(keys) for _, _, _, *keys in rows.values()}) == 1
    assert rows["hash"][0] < 1.1
    assert rows["sampled ranges"][0] < 1.3
    assert rows["equal ranges"][0] > 2
    assert rows["hash"][2] == 3
    assert rows["sampled ranges"][2] < 3


def check_batches(printed: str) -> None:
    """The requests were run in full batches where they could be, and got the same answers."""
    assert "batches: 120 of 1\n" in printed
    sizes = re.search(r"^in batches .*; batches: (.*)$", printed, re.MULTILINE)
    assert sizes is not None
    batches = [tuple(map(int, text.split(" of "))) for text in sizes[1].split(", ")]
    assert sum(times * size for times, size in batches) == 120
    assert max(size for _, size in batches) <= 16
    assert sum(times for times, _ in batches) < 60
    (same,) = numbers_of(r"[\d.]+ times as fast; ([\d.]+)% of the answers are the same", printed)
    assert same > 95


def test_requests_are_gathered_into_batches(tmp_path: Path) -> None:
    (tmp_path / "devices.toml").write_text("devices = []\n")
    none = str(tmp_path / "devices.toml")
    printed = run_example("batch_inference", "--requests=120", "--batch=16", "--patience=50", DISTPOOL_DEVICES=none)
    assert printed.startswith("no GPU here: 2 models on CPUs\n")
    check_batches(printed)


def test_each_gpu_of_two_nodes_has_a_model(tmp_path: Path) -> None:
    (tmp_path / "devices.toml").write_text("[[devices]]\n")
    printed = run_example(
        "batch_inference",
        "--requests=120",
        "--batch=16",
        "--patience=50",
        by=ON_TWO_NODES,
        DISTPOOL_DEVICES=str(tmp_path / "devices.toml"),
    )
    assert printed.startswith("2 models with the GPUs [['pretend-0'], ['pretend-0']]\n")
    check_batches(printed)


def test_data_gives_the_same_model_however_it_is_kept() -> None:
    printed = run_example("cached_dataset", "--parts=3", "--epochs=3")
    row = r"{} +[\d.]+ s +[\d.]+ s +([\d,]+) +([\d.]+)%"
    rows = [numbers_of(row.format(name), printed) for name in ("decoded anew", "kept by refs", "kept in actors")]
    assert all(rate > 0 for rate, _ in rows)
    assert len({right for _, right in rows}) == 1
    assert "the same model each time: True" in printed


@pytest.mark.parametrize(("target", "is_reached"), [("0.4", True), ("0", False)])
def test_early_stopping_trains_the_better_ones_until_one_is_good_enough(target: str, is_reached: bool) -> None:
    printed = run_example("early_stopping", "--trials=12", f"--target={target}")
    epochs, best = numbers_of(r"all to the end +(\d+) epochs +[\d.]+ s +best loss ([\d.]+)", printed)
    assert epochs == 12 * 27
    trained, loss, rank = numbers_of(
        r"early stopping +(\d+) epochs +[\d.]+ s +loss +([\d.]+) +of rank (\d+); [\d.]+ times as fast", printed
    )
    assert 1 <= rank <= 12
    *came, cancelled = numbers_of(
        r"(\d+) to epoch 1, (\d+) to epoch 3, (\d+) to epoch 9, (\d+) to epoch 27; (\d+) cancelled", printed
    )
    assert came == sorted(came, reverse=True)
    assert trained == came[0] + 2 * came[1] + 6 * came[2] + 18 * came[3]
    if is_reached:
        assert best <= loss <= 0.4
        assert trained < epochs / 2
    else:
        assert came[0] == 12
        assert came[1] >= 4
        assert came[2] >= 1
        assert cancelled == 0


@pytest.mark.parametrize("by", [(), ON_TWO_NODES], ids=["here", "on two nodes"])
def test_a_tree_gives_the_same_fit_and_the_program_reads_one_matrix(by: tuple[str, ...]) -> None:
    printed = run_example("tree_reduce", "--parts=9", "--rows=300", "--columns=99", "--width=3", by=by)
    assert "2,700 rows of 99 columns in 9 parts" in printed
    row = r"{} +[\d.]+ s +the program read +([\d.]+) MB +largest error ([\d.]+)"
    rows = [numbers_of(row.format(name), printed) for name in ("in the program", "in a tree", "with retries")]
    assert [size for size, _ in rows] == [0.72, 0.08, 0.08]
    assert all(error < 0.1 for _, error in rows)
    assert "the same fit each time: True" in printed
