"""`distpool status`: nodes, drivers, what is free, what waits, and who has which leases."""

import os
import re
import socket

import distpool
from tests.cli.conftest import json_of
from tests.cluster import tasks
from tests.cluster.conftest import use


def test_a_cluster_that_nobody_uses(running, run):
    asked = ("status", "--leases", "--json")
    home = {"DISTPOOL_HOME": str(running.keys)}
    # The last of another test's program may just be leaving.
    running.until(
        lambda: json_of(run(*asked, **home))["free_cpus"] == 2 and not json_of(run(*asked, **home))["callers"]
    )
    facts = json_of(run(*asked, **home))
    assert (facts["cpus"], facts["free_cpus"], facts["waiting"], facts["drivers"]) == (2, 2, 0, 0)
    assert (facts["callers"], facts["leases"]) == ([], [])
    assert [node["node"] for node in facts["nodes"]] == ["first"]
    text = run("status", "--leases", **home).output
    assert re.search(r"^first +up +2 +0 +[\d.]+ GiB +0 +0 B +\d+ s ago$", text, re.MULTILINE)
    assert "no leases" in text
    assert "CPUs: 2, of which free: 2; requests for workers that wait: 0" in text


def test_who_has_which_leases_and_what_waits(running, run, monkeypatch):
    use(running, monkeypatch)
    with distpool.Pool(3) as pool:
        pool.map(tasks.square, range(10))
        asked = ("status", "--leases", "--head", running.address)
        home = {"DISTPOOL_HOME": str(running.keys)}
        running.until(lambda: json_of(run(*asked, "--json", **home))["free_cpus"] == 0)
        facts = json_of(run(*asked, "--json", **home))
        (caller,) = facts["callers"]
        name = f"process {os.getpid()} of {socket.gethostname()}"
        assert (caller["name"], caller["leases"], caller["waiting"]) == (name, 2, 1)
        assert facts["leases"] == [{"node": "first", "caller": name, "leases": 2}]
        assert (facts["waiting"], facts["drivers"]) == (1, 1)
        text = run(*asked, **home).output
        assert re.search(rf"^{name} +2 +1 +\d+ s ago$", text, re.MULTILINE)
        assert re.search(rf"^first +{name} +2$", text, re.MULTILINE)
