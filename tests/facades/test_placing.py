"""What workers are to have: the options that say so, and pools and executors that take them, on pretended GPUs."""

import pytest

import distpool
from distpool import Executor, NodeAffinity, Pool
from distpool.errors import PoolBroken, ResourcesUnavailable
from distpool.futures import ProcessPoolExecutor
from distpool.placing import SHAPE_OPTIONS, fitting, shape_of, worker_needs
from distpool.protocol.resources import UNIT, Shape, Strategy
from distpool.protocol.standing import NodeFacts
from distpool.runtime.gpus import forget_devices
from distpool.signatures import SHAPE_OPTION_NAMES
from tests.facades.tasks import square
from tests.runtime.programs import until

GIB = 2**30


@pytest.fixture
def gpus(tmp_path, monkeypatch):
    """Two of them, and a TPU."""
    path = tmp_path / "devices.toml"
    path.write_text('devices = [{count = 2, memory = "16GiB"}]')
    monkeypatch.setenv("DISTPOOL_DEVICES", str(path))
    monkeypatch.setenv("DISTPOOL_RESOURCES", '{"tpu": 1}')
    forget_devices()
    yield
    forget_devices()


def test_options_give_a_shape_in_exact_amounts():
    assert shape_of() == Shape(cpus=UNIT)
    assert shape_of(default_cpus=0) == Shape(cpus=0)
    options = {"num_cpus": 0.1, "num_gpus": 0.25, "memory": "2GiB", "memory_per_gpu": GIB, "resources": {"tpu": 2}}
    shape = shape_of(**options, labels={"zone": "eu", "a": "b"}, scheduling_strategy="SPREAD")
    assert shape == Shape(
        1_000, 2_500, 2 * GIB, GIB, (("tpu", 2 * UNIT),), Strategy.SPREAD, (("a", "b"), ("zone", "eu"))
    )
    assert shape_of(scheduling_strategy=NodeAffinity("n", soft=True)) == Shape(node="n", is_soft=True)
    assert shape_of(num_cpus=None, num_gpus=2) == Shape(gpus=2 * UNIT)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"num_gpu": 1}, TypeError, r"no option 'num_gpu'.*did you mean 'num_gpus'"),
        ({"num_cpus": "2"}, TypeError, "num_cpus is '2', a str; it must be a number of at least 0"),
        ({"num_cpus": True}, TypeError, "num_cpus is True, a bool"),
        ({"num_cpus": -1}, ValueError, "num_cpus is -1; it must be a number of at least 0"),
        ({"num_cpus": float("nan")}, ValueError, "num_cpus is nan"),
        ({"num_cpus": float("inf")}, ValueError, "num_cpus is inf"),
        ({"num_cpus": 0.00001}, ValueError, r"num_cpus is 1e-05; .* at most four decimals"),
        ({"num_gpus": 1.5}, ValueError, r"num_gpus is 1\.5; it must be a share below 1"),
        ({"memory": "2 apples"}, ValueError, "memory is '2 apples'; it must be a number of bytes"),
        ({"memory_per_gpu": "2GiB"}, ValueError, "memory_per_gpu is given without num_gpus"),
        ({"resources": ["tpu"]}, TypeError, r"resources is .*, a list; it must be a dict"),
        ({"resources": {"GPU": 1}}, ValueError, "resources has 'GPU', for which there is the option num_gpus"),
        ({"resources": {"tpu": -1}}, ValueError, r"resources\['tpu'\] is -1"),
        ({"resources": {"": 1}}, ValueError, "resources has the name ''"),
        ({"labels": {"zone": 1}}, TypeError, r"labels\['zone'\] is 1, a int"),
        ({"scheduling_strategy": "PACKED"}, ValueError, "scheduling_strategy is 'PACKED'; it must be \"PACK\""),
        ({"scheduling_strategy": 3}, TypeError, "scheduling_strategy is 3, a int"),
    ],
)
def test_what_makes_no_sense_is_an_error_that_says_what_does(options, error, text):
    with pytest.raises(error, match=text):
        shape_of(**options)


@pytest.mark.parametrize(("node", "soft"), [("", False), (3, False), ("n", "yes")])
def test_an_affinity_names_a_node(node, soft):
    with pytest.raises(TypeError, match="it must be"):
        NodeAffinity(node, soft)


def test_signatures_list_the_options_that_there_are():
    assert tuple(SHAPE_OPTIONS) == SHAPE_OPTION_NAMES
    with pytest.raises(TypeError, match=r"'num_gpu'; valid are .*num_gpus"):
        Pool(num_gpu=1)


def test_a_pools_worker_takes_a_cpu_of_a_node_and_none_here_unless_it_is_said():
    assert worker_needs("Pool", {}) == (Shape(cpus=0, strategy=Strategy.SPREAD), True)
    assert worker_needs("Pool", {"num_cpus": 2}) == (Shape(cpus=2 * UNIT, strategy=Strategy.SPREAD), False)
    needs = worker_needs("Pool", {"num_gpus": 1, "scheduling_strategy": "PACK"})
    assert needs == (Shape(cpus=0, gpus=UNIT), True)


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        (Shape(), 8),
        (Shape(cpus=3 * UNIT), 2),
        (Shape(cpus=0, gpus=UNIT), 4),
        (Shape(cpus=0, gpus=3 * UNIT), 1),
        (Shape(cpus=0, gpus=3_000), 12),
        (Shape(gpus=2_500), 8),
        (Shape(memory_bytes=6 * GIB), 2),
        (Shape(cpus=0, custom=(("tpu", 5_000),)), 2),
        (Shape(cpus=0, custom=(("fpga", 1),)), 0),
        (Shape(labels=(("zone", "us"),)), 0),
        (Shape(labels=(("zone", "eu"),)), 8),
        (Shape(node="other"), 0),
        (Shape(node="other", is_soft=True), 8),
    ],
)
def test_how_many_workers_fit_on_a_node(shape, count):
    node = NodeFacts("n", 8, 0, 16 * GIB, 0.0, gpus=4 * UNIT, custom={"tpu": UNIT}, labels={"zone": "eu"})
    assert fitting(node, shape) == count


def test_a_pool_has_as_many_workers_as_gpus_or_as_shares_of_them(gpus):
    with Pool(num_gpus=1) as whole:
        assert whole._processes == 2
        assert whole.map(square, range(4)) == [0, 1, 4, 9]
        assert distpool.available_resources()["GPU"] == 0
    with Pool(num_gpus=0.3) as shares:
        assert shares._processes == 6
        assert shares.map(square, range(4)) == [0, 1, 4, 9]


def test_a_pool_goes_on_with_the_workers_that_find_room_and_says_why(gpus, caplog):
    with Pool(3, num_gpus=1) as pool:
        assert pool.map(square, range(8)) == [number**2 for number in range(8)]
        assert len(pool._pool) == 2
        until(lambda: caplog.records)
    (note,) = [record.getMessage() for record in caplog.records]
    assert "asked for 3 workers and has 2: needs 1 GPU on one node; largest free: 0 GPUs on local" in note


def test_what_this_machine_does_not_have_is_an_error_at_once_with_a_table(gpus):
    with pytest.raises(ResourcesUnavailable) as caught:
        Pool(num_gpus=3)
    lines = [line.split() for line in str(caught.value).splitlines()]
    assert lines[1:] == [["CPUs", "GPUs"], ["needed", "0", "3"], ["node", "local", str(distpool.cpu_count()), "2"]]
    for options in ({"resources": {"fpga": 1}}, {"labels": {"zone": "eu"}}, {"memory": "1000TiB"}):
        with pytest.raises(PoolBroken, match="no node can ever have"):
            Pool(1, **options)


@pytest.mark.parametrize("kind", [ProcessPoolExecutor, Executor])
def test_the_calls_of_an_executor_fail_when_its_workers_can_never_be_had(gpus, kind):
    with kind(1, num_gpus=3) as executor:
        assert isinstance(executor.submit(square, 2).exception(), ResourcesUnavailable)


def test_an_executor_with_other_options_has_workers_of_its_own(gpus):
    with Executor(1) as executor:
        on_gpu = executor.with_options(num_gpus=0.5, retries=1)
        assert list(on_gpu.map(square, range(3))) == [0, 1, 4]
        assert executor.with_options(num_gpus=0.5)._owner is on_gpu._owner
        assert on_gpu._owner._max_workers == 4
        assert distpool.available_resources()["GPU"] < 2
        assert executor.submit(square, 3).result() == 9
        with pytest.raises(TypeError, match=r"no option 'num_gpu'.*did you mean 'num_gpus'"):
            executor.with_options(num_gpu=1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        on_gpu.submit(square, 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.with_options(num_gpus=1).submit(square, 1)


def test_what_there_is_and_what_is_free(gpus):
    (node,) = distpool.nodes()
    assert (node.name, node.state, node.labels) == ("local", "up", {})
    assert node.resources == node.available == distpool.cluster_resources() == distpool.available_resources()
    assert (node.resources["GPU"], node.resources["tpu"]) == (2, 1)
    with Pool(1, resources={"tpu": 0.25}, num_cpus=1) as pool:
        pool.apply(square, (2,))
        free = distpool.available_resources()
        assert (free["tpu"], free["GPU"]) == (0.75, 2)
        assert free["CPU"] == node.resources["CPU"] - 1
