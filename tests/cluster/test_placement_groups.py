"""Placement groups over nodes: a head that is new knows them, a node that is lost is replaced, a program that goes."""

import signal

import distpool
from distpool import Pool
from tests.cluster import tasks
from tests.cluster.conftest import use
from tests.runtime.programs import program

OWNER = """
    import distpool

    if __name__ == "__main__":
        group = distpool.placement_group([{"tpu": 1}])
        assert group.wait(20)
        print("ready", flush=True)
        input()
"""
TPU = ("--cpus", "1", "--resources", '{"tpu": 1}')


def free(name):
    return distpool.available_resources().get(name, 0.0)


def test_groups_outlive_heads_and_nodes_and_end_with_their_programs(processes, monkeypatch, tmp_path):
    head = processes.start_head()
    agents = {name: processes.start_node(name, *TPU) for name in ("first", "second")}
    processes.until(lambda: processes.nodes() == set(agents))
    use(processes, monkeypatch)
    group = distpool.placement_group([{"tpu": 1}, {"tpu": 1}], "STRICT_SPREAD")
    try:
        assert group.wait(20)
        assert set(group.nodes) == set(agents)
        with Pool(1, placement_group=group, bundle=0) as pool:
            assert pool.apply(tasks.square, (2,)) == 4
            head.kill()
            head.wait()
            processes.start_head()
            processes.until(lambda: processes.nodes() == set(agents))
            assert free("tpu") == 0, "the next head has given the room to nobody"
            assert pool.apply(tasks.square, (3,)) == 9
        lost = group.nodes[1]
        agents[lost].send_signal(signal.SIGKILL)
        processes.until(lambda: group.nodes == [])
        assert "needs 1 tpu on one node; largest free: 0 tpu" in group.why
        processes.start_node("third", *TPU)
        assert group.wait(20)
        assert "third" in group.nodes
    finally:
        distpool.remove_placement_group(group)
    processes.until(lambda: free("tpu") == 2)
    with program(tmp_path, OWNER) as owner:
        assert owner.stdout.readline() == "ready\n"
        assert free("tpu") == 1
        owner.kill()
        processes.until(lambda: free("tpu") == 2)
