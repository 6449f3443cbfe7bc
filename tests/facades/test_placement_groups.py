"""Placement groups of this machine, with pretended GPUs: room is taken at once, used, waited for and given back."""

import pickle
import time

import pytest

import distpool
from distpool import Executor, Pool, WorkerDied
from distpool.errors import ResourcesUnavailable
from distpool.runtime.gpus import forget_devices
from tests.facades.tasks import square


@pytest.fixture(autouse=True)
def gpus(tmp_path, monkeypatch):
    path = tmp_path / "devices.toml"
    path.write_text("devices = [{count = 2}]")
    monkeypatch.setenv("DISTPOOL_DEVICES", str(path))
    forget_devices()
    yield
    for group in made:
        distpool.remove_placement_group(group)
    made.clear()
    forget_devices()


made = []


def group_of(bundles, strategy="PACK"):
    made.append(distpool.placement_group(bundles, strategy))
    return made[-1]


def test_room_is_taken_at_once_used_by_pools_and_given_back():
    group = group_of([{"CPU": 1, "GPU": 1}, {"GPU": 0.5}], "STRICT_PACK")
    assert group.wait(10)
    assert distpool.get(group.ready(), timeout=10) is group
    assert (group.nodes, group.why) == (["local", "local"], "")
    assert group.bundle_specs == [{"CPU": 1, "GPU": 1}, {"GPU": 0.5}]
    assert distpool.available_resources()["GPU"] == 0.5
    with Pool(2, num_gpus=0.5, placement_group=group, bundle=0) as pool:
        assert pool.map(square, range(4)) == [0, 1, 4, 9]
    with Executor(1, num_gpus=0.5, placement_group=group) as executor:
        assert executor.submit(square, 3).result() == 9
    assert distpool.available_resources()["GPU"] == 0.5
    distpool.remove_placement_group(group)
    distpool.remove_placement_group(group)
    with pytest.raises(RuntimeError, match="was removed"):
        group.wait(10)


def test_a_group_waits_for_room_and_says_why():
    first, second = group_of([{"GPU": 2}]), group_of([{"GPU": 1}])
    assert first.wait(10)
    assert not second.wait(0.01)
    assert second.nodes == []
    assert second.why == "a bundle needs 1 GPU on one node; largest free: 0 GPUs on local"
    assert not second.ready().done()
    distpool.remove_placement_group(first)
    assert second.wait(10)
    assert second.ready().result(10) is second


def test_a_group_that_can_never_be_is_refused_with_a_table():
    group = group_of([{"GPU": 2}, {"GPU": 1}])
    with pytest.raises(
        ResourcesUnavailable, match="the nodes can never have these bundles together, PACK: 2 GPUs; 1 GPU"
    ):
        group.wait(10)
    assert isinstance(group.ready().exception(10), ResourcesUnavailable)
    spread = group_of([{"CPU": 1}, {"CPU": 1}], "STRICT_SPREAD")
    with pytest.raises(ResourcesUnavailable, match="together, STRICT_SPREAD"):
        spread.wait(10)


def test_what_no_bundle_has_is_refused():
    group = group_of([{"GPU": 0.5}])
    with pytest.raises(ResourcesUnavailable, match=r"bundle 0 of .* needs, 1 GPU: there is 0.5 GPUs"):
        Pool(1, num_gpus=1, placement_group=group, bundle=0)
    with pytest.raises(ResourcesUnavailable, match="none of that number"):
        Pool(1, placement_group=group, bundle=7)


@pytest.mark.parametrize(("timeout", "error"), [(float("nan"), ValueError), (-1, ValueError), ("3", TypeError)])
def test_to_wait_for_one_takes_seconds(timeout, error):
    group = group_of([{"GPU": 1}])
    with pytest.raises(error, match=f"timeout is {timeout!r}.* it must be a number of seconds"):
        group.wait(timeout)
    assert group.wait(30)


def test_removal_ends_the_workers_in_it():
    group = group_of([{"GPU": 1}])
    with Pool(1, num_gpus=1, placement_group=group) as pool:
        assert pool.apply(square, (2,)) == 4
        running = pool.apply_async(time.sleep, (60,))
        distpool.remove_placement_group(group)
        with pytest.raises((WorkerDied, ResourcesUnavailable)):
            running.get(30)
        with pytest.raises(ResourcesUnavailable, match="the placement group was removed"):
            pool.apply(square, (2,))
    with pytest.raises(ResourcesUnavailable, match="the placement group was removed"):
        Pool(1, num_gpus=1, placement_group=group)
    other = group_of([{"GPU": 2}])
    assert other.wait(30), "the room is free when the last worker has ended"


@pytest.mark.parametrize(
    ("bundles", "strategy", "error", "text"),
    [
        ([], "PACK", TypeError, "bundles is .*; it must be a list of at least one bundle"),
        ({"CPU": 1}, "PACK", TypeError, "it must be a list of at least one bundle"),
        ([{}], "PACK", TypeError, "bundle 0 is {}; it must be a dict of amounts"),
        ([{"CPU": 0}], "PACK", ValueError, "bundle 0 is {'CPU': 0}, which needs nothing"),
        ([{"CPU": 1}, {"GPU": 1.5}], "PACK", ValueError, r"bundle 1\['GPU'\] is 1\.5; it must be a share below 1"),
        ([{"CPU": -1}], "PACK", ValueError, r"bundle 0\['CPU'\] is -1"),
        ([{"memory": "x"}], "PACK", ValueError, r"bundle 0\['memory'\] is 'x'; it must be a number of bytes"),
        ([{"CPU": 1}], "PACKED", ValueError, "strategy is 'PACKED'; it must be one of PACK, SPREAD, STRICT_PACK"),
    ],
)
def test_bundles_that_make_no_sense_are_refused_at_once(bundles, strategy, error, text):
    with pytest.raises(error, match=text):
        distpool.placement_group(bundles, strategy)


def test_options_of_groups_that_make_no_sense_are_refused_at_once():
    with pytest.raises(TypeError, match="placement_group is 3; it must be what"):
        Pool(1, placement_group=3)
    with pytest.raises(ValueError, match="bundle is given without placement_group"):
        Pool(1, bundle=0)
    group = group_of([{"CPU": 1}])
    with pytest.raises(ValueError, match="bundle is -1"):
        Pool(1, placement_group=group, bundle=-1)
    with pytest.raises(ValueError, match="say how many workers"):
        Pool(num_gpus=1, placement_group=group)
    assert pickle.loads(pickle.dumps(group)) is group
    with pytest.raises(TypeError, match="it must be what placement_group returned"):
        distpool.remove_placement_group("group")
