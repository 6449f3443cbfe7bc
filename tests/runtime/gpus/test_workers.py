"""What a worker has of its devices: variables before any code of its program, processors, ids, and a lock."""

import fcntl
import itertools
import os
import sys
import types

import msgspec
import pytest

import distpool
from distpool.protocol.devices import DEVICES_LIMIT, Device, WorkerDevices
from distpool.protocol.messages import StartWorker
from distpool.runtime import worker_devices
from distpool.runtime.gpus.equipment import Equipment
from distpool.runtime.launcher import Launcher
from distpool.runtime.native_threads import VARIABLES
from distpool.runtime.worker_devices import take_devices
from tests.runtime.gpus.trees import memory_node
from tests.runtime.programs import output_of

METHODS = ["fork", "forkserver", "spawn"]
GPUS = tuple(Device(f"GPU-{at}", "pretend", 0, numa=at) for at in range(3))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for variable in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", *VARIABLES):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def granting(monkeypatch):
    """From now on workers are granted devices, each these positions."""

    def grant(equipment, *positions):
        orders = itertools.cycle(positions)
        handle = Launcher.handle

        def with_devices(launcher, message):
            if isinstance(message, StartWorker):
                launcher.equipment = equipment
                message = msgspec.structs.replace(message, devices=next(orders))
            return handle(launcher, message)

        monkeypatch.setattr(Launcher, "handle", with_devices)

    return grant


def what_it_has():
    return os.environ.get("CUDA_VISIBLE_DEVICES"), distpool.get_gpu_ids(), os.sched_getaffinity(0)


@pytest.mark.parametrize("method", METHODS)
def test_a_worker_has_the_variable_and_the_ids_and_the_program_has_not(granting, method):
    granting(Equipment(GPUS), (2, 0))
    with distpool.get_context(method).Pool(1) as pool:
        assert pool.apply(what_it_has) == ("GPU-2,GPU-0", ["GPU-2", "GPU-0"], os.sched_getaffinity(0))
    pool.join()
    assert what_it_has()[:2] == (None, [])


@pytest.mark.parametrize("method", METHODS)
def test_a_worker_without_devices_has_what_the_program_has(monkeypatch, granting, method):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,8")
    granting(Equipment(GPUS), ())
    with distpool.get_context(method).Pool(1) as pool:
        assert pool.apply(what_it_has)[:2] == ("7,8", [])
    pool.join()


PROGRAM = """
    import os, sys
    import distpool

    SEEN = os.environ.get("CUDA_VISIBLE_DEVICES")

    def seen():
        return SEEN

    if __name__ == "__main__":
        import msgspec
        from distpool.protocol.devices import Device
        from distpool.protocol.messages import StartWorker
        from distpool.runtime.gpus.equipment import Equipment
        from distpool.runtime.launcher import Launcher

        handle = Launcher.handle

        def with_devices(launcher, message):
            if isinstance(message, StartWorker):
                launcher.equipment = Equipment([Device("GPU-x", "pretend", 0)])
                message = msgspec.structs.replace(message, devices=(0,))
            return handle(launcher, message)

        Launcher.handle = with_devices
        with distpool.get_context("spawn").Pool(1) as pool:
            print(SEEN, pool.apply(seen))
        pool.join()
"""


def test_a_spawned_worker_has_it_before_its_main_module_is_imported(tmp_path):
    assert output_of(tmp_path, PROGRAM) == "None GPU-x\n"


def test_a_worker_runs_on_the_processors_next_to_its_device_and_has_as_many_threads(granting, tmp_path):
    first, *others = sorted(os.sched_getaffinity(0))
    memory_node(tmp_path, 0, f"{first}")
    granting(Equipment(GPUS, root=tmp_path), (0,), (0, 1))
    with distpool.get_context("fork").Pool(1) as pool:
        assert pool.apply(what_it_has)[2] == {first}
        assert pool.apply(os.getenv, ["OMP_NUM_THREADS"]) == "1"
    pool.join()
    with distpool.get_context("fork").Pool(1) as pool:
        assert pool.apply(what_it_has)[2] == {first, *others}, "of one of its devices it is not known"
    pool.join()


def test_processors_that_this_process_may_not_use_change_nothing(monkeypatch):
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: pytest.fail("nothing is to be changed"))
    monkeypatch.setattr(worker_devices, "_ids", [])
    assert take_devices(WorkerDevices(processors=(4096,)), 7) == 7


@pytest.mark.parametrize("method", METHODS)
def test_the_lock_of_a_device_is_held_for_as_long_as_its_worker_lives(granting, tmp_path, method):
    path = tmp_path / "lock"
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX)
    granting(Equipment(GPUS[:1], [lock]), (0,))
    with distpool.get_context(method).Pool(1) as pool:
        pid = pool.apply(os.getpid)
        os.close(lock)
        with open(path) as other:
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            assert pool.apply(os.getpid) == pid, "and it is no stream of its own"
            pool.terminate()
            pool.join()
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_fork_of_a_process_that_has_used_cuda_is_warned_of(granting, monkeypatch, caplog):
    torch = types.ModuleType("torch")
    torch.cuda = types.SimpleNamespace(is_initialized=lambda: True)
    monkeypatch.setitem(sys.modules, "torch", torch)
    granting(Equipment(GPUS), (0,), (1,))
    with distpool.get_context("fork").Pool(2) as pool:
        pool.map(abs, range(4), chunksize=1)
    pool.join()
    assert [record.message for record in caplog.records if "torch.cuda was initialized" in record.message] != []
    assert caplog.text.count("torch.cuda was initialized") == 1


def test_a_device_that_the_node_does_not_have_ends_the_lease_with_the_reason(granting):
    granting(Equipment(GPUS), (3,))
    executor = distpool.Executor(1)
    error = executor.submit(abs, -1).exception(timeout=20)
    assert isinstance(error, distpool.PoolBroken)
    assert str(error).startswith("a worker could not be started")
    assert ": there is no device 3 on this node, which has 3" in str(error)
    executor.shutdown()


def test_variables_are_those_of_each_kind_and_what_would_choose_again_is_removed():
    kinds = [Device("a", "nvidia", 0), Device("b", "amd", 0), Device("0", "intel", 0), Device("c", "nvidia", 0)]
    given, _ = Equipment(kinds).hand_out([3, 0, 1, 2])
    assert dict(given.variables) == {
        "CUDA_VISIBLE_DEVICES": "c,a",
        "ROCR_VISIBLE_DEVICES": "b",
        "HIP_VISIBLE_DEVICES": None,
        "ZE_AFFINITY_MASK": "0",
    }


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([3], "no device 3 on this node, which has 3"),
        ([-1], "no device -1"),
        ([0] * (DEVICES_LIMIT + 1), "cannot have"),
    ],
)
def test_devices_that_are_none_are_refused(positions, message):
    with pytest.raises(LookupError, match=message):
        Equipment(GPUS).hand_out(positions)
