"""Random runs of a driver, a node and its workers: whatever happens, each call ends exactly once.

Set DISTPOOL_SIMULATION_RUNS=20000 for many more seeds than the usual 200, and DISTPOOL_SIMULATION_SEED=719 to run that
one only; when it fails, it prints its whole transcript.
"""

import os
from collections import Counter

import pytest

from tests.simulation.ledger import Point
from tests.simulation.scenario import Scenario
from tests.simulation.transcript import LAST_LINES

RUNS = int(os.environ.get("DISTPOOL_SIMULATION_RUNS", "200"))
ONLY = os.environ.get("DISTPOOL_SIMULATION_SEED")
BLOCK = 50


def blocks(runs: int) -> list[range]:
    if ONLY is not None:
        return [range(int(ONLY), int(ONLY) + 1)]
    return [range(first, min(first + BLOCK, runs)) for first in range(0, runs, BLOCK)]


def run(seeds: range, *, is_apart: bool) -> None:
    for seed in seeds:
        Scenario(seed, is_apart=is_apart).run(LAST_LINES if ONLY is None else None)


@pytest.mark.parametrize("seeds", blocks(RUNS), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_with_all_roles_on_one_loop(seeds):
    run(seeds, is_apart=False)


@pytest.mark.parametrize("seeds", blocks(RUNS // 2), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_with_roles_whose_messages_take_their_time(seeds):
    run(seeds, is_apart=True)


def test_a_seed_repeats_its_run_to_the_letter():
    first, second = Scenario(3), Scenario(3)
    first.run()
    second.run()
    assert first.world.transcript.lines() == second.world.transcript.lines()
    assert len(first.world.transcript.lines()) > 20


def test_the_runs_show_what_they_are_for():
    """Every fault, a death at every point of a call's life and every way to take calls back happens in the first seeds;
    otherwise a pass would mean little."""
    text = []
    deaths = Counter()
    for seed in range(150):
        scenario = Scenario(seed, is_apart=seed % 2 == 1)
        scenario.run()
        text += scenario.world.transcript.lines()
        deaths += scenario.world.ledger.deaths_at
    everything = "\n".join(text)
    expected = ["finds no token", "and stopped", "TakenBack(", "is killed", "is killed by call", "initializer failed"]
    expected += [" is LOST", " is BROKEN", " is TERMINATED", " is CANCELLED", "RoomInRing", "ExitWorker", "kill=False"]
    expected += [" is TIMED_OUT", "EndWorker", "ERROR", " after 2 items", "priority=5"]
    assert [words for words in expected if words not in everything] == []
    assert [point.value for point in Point if not deaths[point]] == []
