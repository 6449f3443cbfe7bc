"""The agent that follows one that was killed offers no device on which an old worker still lives."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from distpool.base_errors import DistpoolError
from distpool.protocol.devices import Device
from distpool.runtime.gpus.locks import claimed
from tests.runtime.programs import LIBRARY, LIMIT_S

ONE, TWO = (Device(f"GPU-{at}/x", "pretend", 0) for at in (1, 2))

AGENT = """
    import os, subprocess, sys
    from pathlib import Path
    from distpool.protocol.devices import Device
    from distpool.runtime.gpus.locks import claimed

    equipment = claimed([Device("GPU-1/x", "pretend", 0), Device("GPU-2/x", "pretend", 0)], Path(sys.argv[1]), "node")
    given, locks = equipment.hand_out([1])
    assert given.locks == len(locks) == 1
    worker = subprocess.Popen(["sleep", "60"], pass_fds=locks)
    print(worker.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def homes():
    """Equipment that a test has claimed; its locks are let go of at the end."""
    made = []

    def claim(devices, folder, node="node", limit_s=0.0):
        made.append(claimed(devices, folder, node, limit_s))
        return made[-1]

    yield claim
    for equipment in made:
        for lock in equipment.hand_out(range(len(equipment.devices())))[1]:
            os.close(lock)


def test_a_device_is_offered_when_the_last_worker_that_had_it_has_ended(tmp_path, homes, caplog):
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(AGENT), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": LIBRARY},
    ) as agent:
        worker = int(agent.stdout.readline())
        watch = os.pidfd_open(worker)
        try:
            assert list(homes([ONE, TWO], tmp_path).devices()) == [], "its agent lives"
            agent.kill()
            agent.wait()
            assert list(homes([ONE, TWO], tmp_path).devices()) == [ONE]
            assert f"GPU-2/x is not offered: process {worker}, which an agent" in caplog.text
            signal.pidfd_send_signal(watch, signal.SIGKILL)
            assert list(homes([TWO], tmp_path, limit_s=LIMIT_S).devices()) == [TWO], "it is waited for"
        finally:
            os.close(watch)


def test_nodes_of_other_names_have_locks_of_their_own(tmp_path, homes):
    assert homes([ONE], tmp_path, "a").devices() == homes([ONE], tmp_path, "b/../a").devices() == (ONE,)
    assert sorted(path.name for path in (tmp_path / "devices").iterdir()) == ["a", "b%2F..%2Fa"]


def test_a_machine_without_devices_needs_no_locks(tmp_path):
    assert claimed([], tmp_path, "node").devices() == ()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "devices").write_text("")
    with pytest.raises(DistpoolError, match=r"the folder .*devices cannot be made|devices must be a folder"):
        claimed([ONE], tmp_path, "node")
