"""What is found on machines of several kinds, and what of it a process may use."""

import sys

import pytest

from distpool.protocol.devices import Device
from distpool.runtime.gpus import find_devices, nvidia
from distpool.runtime.gpus.pci import Pci
from tests.runtime.gpus.trees import (
    GIB,
    FakeNvml,
    card,
    kfd_node,
    memory_node,
    nvidia_command,
    nvidia_driver,
    pci,
)

NO_COMMAND = "/nowhere/nvidia-smi"


@pytest.fixture(autouse=True)
def without_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)


@pytest.fixture
def find(tmp_path):
    def find(environment=None, command=NO_COMMAND):
        return find_devices(environment or {}, command, tmp_path / "proc", tmp_path / "sys")

    return find


def four(monkeypatch, tmp_path, **about):
    """Four GPUs on two memory nodes, two of each behind one switch."""
    fake = FakeNvml(4, **about)
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    for at in range(4):
        pci(tmp_path / "sys", f"0000:{at + 0xA:02x}:00.0", f"0000:00:0{at // 2}.0", f"0000:0{at}:00.0", numa=at // 2)
    return fake


def test_a_machine_without_gpus_has_none(find):
    assert find() == ()


def test_by_the_library_with_memory_nodes_and_switches(find, monkeypatch, tmp_path):
    fake = four(monkeypatch, tmp_path)
    assert find() == tuple(Device(f"GPU-{at}", "nvidia", 80 * GIB, at // 2, at // 2, "NVIDIA A100") for at in range(4))
    assert fake.open == 0, "the library is let go of"


def test_nvlink_counts_for_more_than_a_switch(find, monkeypatch, tmp_path):
    four(monkeypatch, tmp_path, linked=[(0, 3), (1, 2)])
    assert [device.link for device in find()] == [0, 1, 1, 0]


def test_gpus_that_nothing_joins_are_grouped_by_memory_node(find, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(4))
    for at in range(4):
        pci(tmp_path / "sys", f"0000:{at + 0xA:02x}:00.0", f"0000:00:0{at}.0", numa=at % 2)
    assert [device.link for device in find()] == [0, 1, 0, 1]


def test_instances_are_devices_in_place_of_their_gpu(find, monkeypatch, tmp_path):
    four(monkeypatch, tmp_path, instances={1: ["MIG-a", "MIG-b"], 2: []})
    devices = find()
    assert [device.id for device in devices] == ["GPU-0", "MIG-a", "MIG-b", "GPU-3"]
    assert [device.memory_bytes // GIB for device in devices] == [80, 10, 10, 80]
    assert devices[1].link == devices[2].link
    assert [device.id for device in find({"CUDA_VISIBLE_DEVICES": "MIG-b,0"})] == ["MIG-b", "GPU-0"]
    assert [device.id for device in find({"CUDA_VISIBLE_DEVICES": "1"})] == ["MIG-a", "MIG-b"]


def test_the_size_of_memory_need_not_be_known(find, monkeypatch, tmp_path):
    four(monkeypatch, tmp_path, fails="memory")
    assert {device.memory_bytes for device in find()} == {0}


SMI = """
case "$1" in
-L) cat <<END
GPU 0: NVIDIA H100 (UUID: GPU-aaaa-1)
GPU 1: NVIDIA H100 (UUID: GPU-bbbb-2)
  MIG 1g.20gb     Device  0: (UUID: MIG-c)
  MIG 2g.20gb     Device  1: (UUID: MIG-d)
END
;;
*) cat <<END
0, GPU-aaaa-1, NVIDIA H100, 81559, 00000000:0A:00.0, Disabled
1, GPU-bbbb-2, NVIDIA H100, 81559, 00000000:0B:00.0, Enabled
2, GPU-cccc-3, NVIDIA GB10, [N/A], 00000000:0C:00.0, [N/A]
END
;;
esac
"""


@pytest.mark.parametrize("fails", ["init", "count"])
def test_by_the_command_where_the_library_has_nothing_to_say(find, tmp_path, monkeypatch, fails, caplog):
    fake = FakeNvml(4, fails=fails)
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    command = nvidia_command(tmp_path / "smi", SMI)
    devices = find(command=command)
    assert [(device.id, device.memory_bytes // GIB) for device in devices] == [
        ("GPU-aaaa-1", 79),
        ("MIG-c", 20),
        ("MIG-d", 20),
        ("GPU-cccc-3", 0),
    ]
    assert fake.open == 0
    assert ("NVML cannot tell" in caplog.text) == (fails == "count")


@pytest.mark.parametrize(
    ("script", "limit_s", "said"),
    [("exec sleep 30", 0.2, "did not answer within 0.2 s"), ("echo no driver; exit 9", 20.0, "failed: no driver")],
)
def test_a_command_that_hangs_or_fails_is_told_of_and_the_driver_is_asked(
    find, tmp_path, monkeypatch, caplog, script, limit_s, said
):
    monkeypatch.setattr(nvidia, "COMMAND_LIMIT_S", limit_s)
    nvidia_driver(tmp_path / "proc", "0000:0b:00.0", "Model: \t NVIDIA A10\nGPU UUID: \t GPU-b\n")
    nvidia_driver(tmp_path / "proc", "0000:0a:00.0", "Model: \t NVIDIA A10\nGPU UUID: \t GPU-????????-????\n")
    devices = find(command=nvidia_command(tmp_path / "smi", script))
    assert [(device.id, device.name) for device in devices] == [("0", "NVIDIA A10"), ("GPU-b", "NVIDIA A10")]
    assert said in caplog.text


def test_amds_gpus_by_the_topology_of_the_kernel(find, tmp_path):
    root = tmp_path / "sys"
    kfd_node(root, 0, cpu_cores_count=64)
    kfd_node(root, 1, simd_count=304, unique_id=0xABC, location_id=0x0C00, memory=192 * GIB, links=(3,), name="gfx942")
    kfd_node(root, 2, simd_count=304, unique_id=0xDEF, location_id=0x2200, domain=1, memory=192 * GIB, name="gfx942")
    kfd_node(root, 3, simd_count=304, location_id=0x0D00, memory=16 * GIB, links=(1,))
    pci(root, "0000:0c:00.0", "0000:00:01.0", numa=1)
    devices = find()
    assert devices == (
        Device("GPU-0000000000000abc", "amd", 192 * GIB, 0, 1, "gfx942"),
        Device("GPU-0000000000000def", "amd", 192 * GIB, 1, -1, "gfx942"),
        Device("2", "amd", 16 * GIB, 0, -1, ""),
    )
    chosen = find({"ROCR_VISIBLE_DEVICES": "2,GPU-0000000000000def", "HIP_VISIBLE_DEVICES": "1"})
    assert [device.id for device in chosen] == ["GPU-0000000000000def"], "one chooses among what the other left"


def test_intels_cards_but_not_what_is_inside_the_processor(find, tmp_path):
    root = tmp_path / "sys"
    card(root, 0, pci(root, "0000:00:02.0"), "0x8086")
    card(root, 2, pci(root, "0000:03:00.0", "0000:00:01.0"), "0x8086", 16 * GIB)
    card(root, 1, pci(root, "0000:04:00.0", "0000:00:01.1"), "0x8086")
    card(root, 3, pci(root, "0000:05:00.0", "0000:00:01.2"), "0x10de")
    devices = find()
    assert [(device.id, device.kind, device.memory_bytes // GIB) for device in devices] == [
        ("0", "intel", 16),
        ("1", "intel", 0),
    ]
    assert [device.id for device in find({"ZE_AFFINITY_MASK": "1.0,1.1"})] == ["1"]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("2,0", ["GPU-2", "GPU-0"]),
        (" 1 , 1", ["GPU-1"]),
        ("gpu-3,GPU-0", ["GPU-3", "GPU-0"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0,-1,1", ["GPU-0"]),
        ("0,9,1", ["GPU-0"]),
        ("0,,1", ["GPU-0"]),
    ],
)
def test_the_variable_of_whoever_started_this_process_says_which_may_be_used(find, monkeypatch, tmp_path, text, left):
    four(monkeypatch, tmp_path)
    assert [device.id for device in find({"CUDA_VISIBLE_DEVICES": text})] == left


def test_an_entry_that_names_nothing_is_told_of(find, monkeypatch, tmp_path, caplog):
    four(monkeypatch, tmp_path)
    find({"CUDA_VISIBLE_DEVICES": "0,9"})
    assert "CUDA_VISIBLE_DEVICES is '0,9': '9' is none of this machine's devices" in caplog.text


def test_the_processors_next_to_a_memory_node(tmp_path):
    memory_node(tmp_path, 1, "2-4,9")
    assert Pci(tmp_path).processors(1) == {2, 3, 4, 9}
    assert Pci(tmp_path).processors(0) == Pci(tmp_path).processors(-1) == set()
