"""GPUs, other resources and labels of nodes: what pools get of them, and what waits and why."""

import json
import os
import re

import pytest

import distpool
from distpool import Executor, NodeAffinity, Pool
from distpool.errors import ResourcesUnavailable
from tests.cluster import tasks
from tests.cluster.conftest import use
from tests.cluster.processes import cluster

CPUS = ("--cpus", "2")


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """One node with two GPUs, a TPU and a label, and a plain one."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "devices.toml").write_text('devices = [{count = 4, memory = "16GiB"}]')
    with cluster(folder) as made:
        made.start_head()
        devices = {"DISTPOOL_DEVICES": str(folder / "devices.toml"), "DISTPOOL_ADDRESS": made.address}
        more = ("--gpus", "2", "--memory", "8GiB", "--resources", '{"tpu": 1}', "--labels", '{"zone": "eu"}')
        made.start_node("large", *CPUS, *more, **devices)
        made.start_node("plain", *CPUS, "--gpus", "0", **devices)
        made.until(lambda: made.nodes() == {"large", "plain"})
        yield made


@pytest.fixture
def nodes(started, monkeypatch):
    use(started, monkeypatch)
    monkeypatch.setenv("DISTPOOL_DEVICES", str(started.keys.parent / "devices.toml"))
    return started


def pending(nodes):
    result = nodes.run("status", "--pending", "--json")
    return json.loads(result.stdout)["pending"]


def test_pools_get_what_they_ask_for_and_those_that_wait_say_why(nodes):
    large = next(node for node in distpool.nodes() if node.name == "large")
    assert large.resources == {"CPU": 2, "GPU": 2, "memory": 8 * 2**30, "tpu": 1}
    assert large.labels == {"zone": "eu"}
    with Pool(num_gpus=1) as gpus:
        assert gpus._processes == 2
        assert len({node for node, _ in gpus.map(tasks.where_slowly, [0.02] * 8, chunksize=1)}) == 1
        free = distpool.available_resources()
        assert (free["GPU"], free["CPU"], free["tpu"]) == (0, 2, 1)
        # A pool that has to wait says why.
        with Pool(1, num_gpus=0.5, num_cpus=0) as late:
            nodes.until(lambda: len(pending(nodes)) == 1)
            (waits,) = pending(nodes)
            assert (waits["wanted"], waits["shape"]) == (1, "0.5 GPUs")
            assert waits["why"] == "needs 0.5 GPUs on one node; largest free: 0 GPUs on large"
            text = nodes.run("status", "--pending").stdout
            assert re.search(r"^process \d+ of \S+ +1 +0\.5 GPUs +\d+ s +needs 0\.5 GPUs on one node", text, re.M)
            assert re.search(r"^large +2 +0 +tpu 1, 1 +zone=eu$", text, re.M)
            gpus.terminate()
            assert late.apply(tasks.square, (3,)) == 9
    nodes.until(lambda: distpool.available_resources()["GPU"] == 2)


def test_a_head_that_is_new_gives_no_device_twice(processes, monkeypatch, tmp_path):
    (tmp_path / "devices.toml").write_text("devices = [{count = 2}]")
    head = processes.start_head()
    processes.start_node("first", *CPUS, DISTPOOL_DEVICES=str(tmp_path / "devices.toml"))
    processes.until(lambda: processes.nodes() == {"first"})
    use(processes, monkeypatch)
    with Pool(num_gpus=1) as gpus, Pool(1, num_gpus=1, num_cpus=0) as late:
        assert gpus.apply(tasks.square, (2,)) == 4
        processes.until(lambda: len(pending(processes)) == 1)
        head.kill()
        head.wait()
        processes.start_head()
        processes.until(lambda: processes.nodes() == {"first"} and len(pending(processes)) == 1)
        assert distpool.available_resources()["GPU"] == 0
        gpus.terminate()
        assert late.apply(tasks.square, (3,)) == 9


def test_labels_names_and_other_resources_lead_to_a_node(nodes):
    names = [node.name for node in distpool.nodes() if node.state == "up"]
    agents = {}
    for name in names:
        with Pool(1, scheduling_strategy=NodeAffinity(name)) as pool:
            agents[name], _ = pool.apply(tasks.where)
    assert len(set(agents.values())) == 2
    for options in ({"labels": {"zone": "eu"}}, {"resources": {"tpu": 0.5}}, {"memory": "2GiB", "num_gpus": 0.1}):
        with Pool(1, **options) as pool:
            assert pool.apply(tasks.where)[0] == agents["large"], options


def test_a_worker_of_a_node_has_as_many_threads_as_it_was_given_cpus(nodes):
    share = max(1, len(os.sched_getaffinity(0)) // 8)
    variable = "BLIS_NUM_THREADS"  # which nobody sets
    for size, options, threads in [(8, {}, share), (8, {"num_cpus": 2}, 2), (1, {"num_cpus": 1}, 1)]:
        with Executor(size, **options) as executor:
            assert executor.submit(os.getenv, variable).result() == f"{threads}"
    assert distpool.get(distpool.remote(num_cpus=2)(os.getenv).remote(variable)) == "2"
    distpool.shutdown()


def test_a_pool_of_what_no_node_has_is_refused_at_once_with_a_table(nodes):
    with pytest.raises(ResourcesUnavailable) as caught:
        Pool(1, num_gpus=3)
    rows = [line.split() for line in str(caught.value).splitlines()[1:]]
    assert rows == [
        ["CPUs", "GPUs"],
        ["needed", "1", "3"],
        ["node", "large", "2", "2"],
        ["node", "plain", "2", "0"],
    ]
    with Executor(1, labels={"zone": "mars"}) as executor:  # which has no workers before its first call
        assert isinstance(executor.submit(tasks.square, 2).exception(20), ResourcesUnavailable)
    with Pool(1, num_gpus=2) as pool:
        assert pool.apply(tasks.square, (2,)) == 4


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("--gpus", "5", "--gpus is 5; this machine has 4"),
        ("--resources", '{"tpu": -1}', "resources['tpu'] is -1"),
        ("--labels", "eu", "is 'eu', which is no JSON"),
    ],
)
def test_a_node_with_an_offer_that_makes_no_sense_does_not_start(nodes, option, value, text):
    result = nodes.run("node", option, value, DISTPOOL_DEVICES=str(nodes.keys.parent / "devices.toml"))
    assert result.returncode in (1, 2)
    assert text in result.stderr
