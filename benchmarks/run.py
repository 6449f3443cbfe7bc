"""Compare distpool, the standard library and the installed peers, and say whether distpool's goals are reached.

    python benchmarks/run.py [--rounds N] [--peer-rounds N] [--only QUESTION ...] [--libraries NAME ...]
                             [--json PATH] [--chart PATH]
    python benchmarks/run.py --from-json PATH [--only QUESTION ...] [--chart PATH]

Each round asks every question once of each library, one after the other and in turns, each in a fresh process, so that
all see the same machine. Shown are the medians over the rounds, the median of the rounds' ratios (library / standard
library), and in brackets the smallest and largest ratio of a round. Peers are asked in the first rounds only, with a
time limit. `--json` keeps all answers, from which `--from-json` prints and draws again.

The exit status is 1 when a goal is missed or distpool fails. Peers: `pip install '.[benchmarks]'`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from asking import Answer, ask
from libraries import LIBRARIES, OURS, PEERS, STANDARD, WORKERS
from report import print_report

QUESTIONS = [
    "lone_call",
    "lone_call_busy",
    "map_chunks",
    "map_items",
    "imap_unordered",
    "submit_burst",
    "tasks",
    "nested_tasks",
    "apply_async_burst",
    "uneven_tasks",
    "cold_start",
    "import_time",
    "idle",
    "many_workers",
    "outstanding",
    "worker_killed",
    "actors",
    "array_to_many",
    "array_results",
    "store",
]
QUIET_LOAD = 0.7


def main():
    options = read_options()
    if options.from_json:
        run = json.loads(options.from_json.read_text())
    else:
        run = new_run(options)
        if options.json:
            options.json.write_text(json.dumps(run, indent=1) + "\n")
    answers = [Answer(**answer) for answer in run["answers"]]
    figures = {question: import_module(question).FIGURES for question in options.only}
    print(describe(run))
    all_reached = print_report(figures, answers, run["not_installed"])
    if options.chart:
        # Only here: the table needs no matplotlib.
        from chart import draw

        draw(figures, answers, describe(run), options.chart)
    return 0 if all_reached else 1


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each question is asked (default 5)")
    parser.add_argument("--peer-rounds", type=int, default=3, help="the same for peers (default 3, at most --rounds)")
    parser.add_argument("--peer-limit", type=float, default=120, help="seconds for a peer's answer (default 120)")
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=QUESTIONS, help="ask these questions only")
    parser.add_argument(
        "--libraries",
        nargs="+",
        choices=LIBRARIES,
        default=LIBRARIES,
        help="ask these only; the standard library and distpool always",
    )
    parser.add_argument("--json", type=Path, help="write all answers to this file")
    parser.add_argument("--from-json", type=Path, help="ask nothing, print what an earlier run has written")
    parser.add_argument("--chart", type=Path, help="draw a chart, PNG (needs matplotlib)")
    return parser.parse_args()


def new_run(options):
    versions = {name: version_of(name) for name in PEERS if name in options.libraries}
    peers = [name for name, installed in versions.items() if installed]
    load = os.getloadavg()[0]
    if load > QUIET_LOAD:
        # On busy CPUs a sleeping thread wakes several times faster, which flatters whoever sleeps most.
        print(f"The load is {load:.1f}: other programs use the CPUs, these are not the machine's ratios.", flush=True)
    answers = ask(options.only, peers, options.rounds, options.peer_rounds, options.peer_limit)
    return {
        "python": platform.python_version(),
        "cpus": len(os.sched_getaffinity(0)),
        "workers": WORKERS,
        "rounds": options.rounds,
        "load_before": load,
        "versions": {OURS: version_of(OURS), **{name: versions[name] for name in peers}},
        "not_installed": [name for name in versions if name not in peers],
        "answers": [vars(answer) for answer in answers],
    }


def version_of(name):
    try:
        return version("distributed" if name == "dask" else name)
    except PackageNotFoundError:
        return None


def describe(run):
    rounds = f"{run['rounds']} round{'s' * (run['rounds'] > 1)}"
    versions = [f"{name} {number}" for name, number in run["versions"].items() if number]
    place = f"Python {run['python']}, {run['cpus']} CPUs, {run['workers']} workers, {rounds}"
    return f"{place}; {', '.join([f'{STANDARD} library', *versions])}"


if __name__ == "__main__":
    sys.exit(main())
