"""Print distpool's figures beside the standard library's, and whether the goals are met.

    python benchmarks/run.py [--rounds N] [--only NAME ...]

Each round asks every question once of each library, one after the other and in turns, each in a fresh process, so that
both see the same machine. Shown are the medians over the rounds, the ratio of the medians (distpool / standard), and
in brackets the smallest and largest ratio of a single round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

FOLDER = Path(__file__).resolve().parent
KINDS = ("standard", "distpool")
QUIET_LOAD = 0.7


@dataclass(frozen=True)
class Figure:
    """One line of the table. `ratio_goal`, `value_goal`: the limit for the ratio or for distpool's own figure."""

    question: str
    key: str
    label: str
    digits: int = 0
    ratio_goal: float | None = None
    value_goal: float | None = None
    more_is_better: bool = False

    def goal(self) -> str:
        limit = self.ratio_goal if self.ratio_goal is not None else self.value_goal
        if limit is None:
            return ""
        sign = "≥" if self.more_is_better else "≤"
        return f"{sign} {limit:g} ×" if self.ratio_goal is not None else f"{sign} {limit:g}"

    def is_met(self, ratio: float, value: float) -> bool | None:
        limit, reached = (self.ratio_goal, ratio) if self.ratio_goal is not None else (self.value_goal, value)
        if limit is None:
            return None
        # What is shown is what counts: 0.0 % is a goal that no measurement meets to the last digit.
        reached = round(reached, 2 if self.ratio_goal is not None else self.digits)
        return reached >= limit if self.more_is_better else reached <= limit


FIGURES = [
    Figure("lone_call", "apply_us", "lone Pool.apply, µs", 1, ratio_goal=0.7),
    Figure("lone_call", "submit_us", "lone submit().result(), µs", 1, ratio_goal=0.7),
    Figure("map_chunks", "items_per_s", "map, default chunks, items/s", ratio_goal=0.9, more_is_better=True),
    Figure("imap_unordered", "items_per_s", "imap_unordered, chunksize 1, items/s", ratio_goal=6, more_is_better=True),
    Figure("submit_burst", "calls_per_s", "20,000 submit + as_completed, calls/s", ratio_goal=8, more_is_better=True),
    Figure("import_time", "import_ms", "import, ms", 1, ratio_goal=2.5),
    Figure("cold_start", "pool_ms", "Pool(2) to first result to closed, ms", 1, ratio_goal=2),
    Figure("cold_start", "process_ms", "the same, the whole process, ms", 1),
    Figure("idle", "cpu_percent", "idle pool, CPU %", 1, value_goal=0.0),
    Figure("idle", "wake_ups_per_s", "idle pool, wake-ups/s", 1),
    Figure("idle", "pss_mb", "idle pool, PSS of all processes, MB", 1, value_goal=45),
    Figure("idle", "pss_beside_driver_mb", "idle pool, PSS without the driver, MB", 1),
    Figure("idle", "processes", "idle pool, processes"),
]
QUESTIONS = list(dict.fromkeys(figure.question for figure in FIGURES))

Rounds = dict[tuple[str, str], list[dict[str, float]]]
"""(question, kind) to the figures of each round."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each question is asked (default 5)")
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=QUESTIONS, help="ask these questions only")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, 2 workers, {options.rounds} rounds", flush=True)
    load = os.getloadavg()[0]
    if load > QUIET_LOAD:
        # On busy CPUs a sleeping thread wakes several times faster, which flatters whoever sleeps most.
        print(
            f"The load is {load:.1f}: other programs use the CPUs, so these ratios are not the machine's.", flush=True
        )
    rounds = ask(options.only, options.rounds)
    figures = [figure for figure in FIGURES if figure.question in options.only]
    return print_table(figures, rounds)


def ask(questions: list[str], count: int) -> Rounds:
    rounds: Rounds = {(question, kind): [] for question in questions for kind in KINDS}
    for number in range(count):
        for question in questions:
            # By turns, so that none is always the one that finds the caches warm.
            for kind in KINDS if number % 2 == 0 else reversed(KINDS):
                rounds[question, kind].append(measured(question, kind))
        print(f"round {number + 1} of {count}", file=sys.stderr, flush=True)
    return rounds


def measured(question: str, kind: str) -> dict[str, float]:
    """The answer of a fresh process."""
    command = [sys.executable, str(FOLDER / f"{question}.py"), kind]
    library = os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": library}, stdout=subprocess.PIPE, text=True, check=True, timeout=300
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def print_table(figures: list[Figure], rounds: Rounds) -> int:
    """Returns the exit status: 1 when a goal is missed."""
    print(f"{'':40} {'standard':>12} {'distpool':>12} {'ratio':>7} {'(min-max)':>15} {'goal':>8}")
    missed = 0
    for figure in figures:
        standard, ours = ([answer[figure.key] for answer in rounds[figure.question, kind]] for kind in KINDS)
        ratio = ratio_of(median(ours), median(standard))
        ratios = [ratio_of(one, other) for one, other in zip(ours, standard, strict=True)]
        met = figure.is_met(ratio, median(ours))
        missed += met is False
        values = " ".join(f"{median(side):12,.{figure.digits}f}" for side in (standard, ours))
        spread = f"({min(ratios):.2f}-{max(ratios):.2f})"
        verdict = {None: "", True: "met", False: "MISSED"}[met]
        print(f"{figure.label:40} {values} {ratio:7.2f} {spread:>15} {figure.goal():>8} {verdict}".rstrip())
    return 1 if missed else 0


def ratio_of(ours: float, standard: float) -> float:
    if standard:
        return ours / standard
    return 1.0 if not ours else float("inf")


if __name__ == "__main__":
    sys.exit(main())
