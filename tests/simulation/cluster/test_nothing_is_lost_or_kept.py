"""Random runs of a whole cluster: whatever is killed, stopped or cut, each call ends once and nothing is left behind.

`python -m tests.simulation.cluster --seeds 20000` runs many more seeds than the usual 250; with `--first 719 --seeds 1
--all-lines` it prints the whole transcript of one that fails.
"""

import pytest

from tests.simulation.cluster.scenario import ClusterScenario
from tests.simulation.transcript import Violation

RUNS = 250
BLOCK = 50
GPU_RUNS = 25
LOOKED_AT = 82


@pytest.mark.parametrize("first", range(0, RUNS, BLOCK))
def test_with_faults_of_all_kinds(first):
    for seed in range(first, first + BLOCK):
        ClusterScenario(seed).run()


def test_with_gpus_none_is_in_two_hands():
    for seed in range(GPU_RUNS):
        ClusterScenario(seed, has_gpus=True).run()


def test_a_seed_repeats_its_run_to_the_letter():
    first, second = ClusterScenario(3), ClusterScenario(3)
    first.run()
    second.run()
    assert first.world.transcript.lines() == second.world.transcript.lines()
    assert len(first.world.transcript.lines()) > 20


def test_a_run_that_breaks_a_rule_tells_its_seed_and_what_happened(monkeypatch):
    monkeypatch.setattr("tests.simulation.cluster.scenario.ClusterScenario._remains", lambda self: ["a lease"])
    with pytest.raises(Violation, match="left are") as caught:
        ClusterScenario(5).run()
    assert caught.value.rule == "never ends"
    assert "seed 5" in str(caught.value)
    assert "LeaveCluster" in str(caught.value)


def test_the_runs_show_what_they_are_for():
    """Every fault, and what it leads to, happens in the first seeds; otherwise a pass would mean little."""
    lines = []
    for seed in range(LOOKED_AT):
        scenario = ClusterScenario(seed)
        scenario.run()
        lines += scenario.world.transcript.lines()
    everything = "\n".join(lines)
    faults = ["is killed", "leaves", "is stopped", "goes on", "is busy", "is cut", "heals", "breaks connections"]
    faults += ["head →            is killed", "head →            is stopped", "again' with", "closes", "terminates"]
    faults += ["is refused"]
    outcomes = ["is VALUE", "is LOST", "is TERMINATED", "is TIMED_OUT", "begins call", "finds no token"]
    messages = ["NodeGone(", "RevokeLease(", "ReturnLease(", "EndGroup(", "RequestsDropped(", "LeaveCluster("]
    messages += [
        "leases=[Claim(",
        "GroupGone(",
        "TakeBack(",
        "TakenBack(",
        "EndWorker(",
        "kill=True",
        "though it is given up",
    ]
    assert [words for words in [*faults, *outcomes, *messages] if words not in everything] == []
