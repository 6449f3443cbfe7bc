"""A head and its nodes as processes of their own: they join, leave, are lost, and come back."""

import json
import os
import re
import signal
import time
from pathlib import Path

from distpool.config import SETTINGS

GIVEN_UP_WITHIN_S = 5.0


def test_nodes_join_a_head_and_are_listed_with_what_they_have(processes):
    processes.start_head()
    processes.start_node("first", "--cpus", "3")
    processes.start_node("second", "--cpus", "5")
    processes.until(lambda: processes.nodes() == {"first", "second"})
    status = processes.status()
    assert {node["node"]: node["cpus"] for node in status["nodes"]} == {"first": 3, "second": 5}
    assert all(node["memory_bytes"] > 0 and node["leases"] == 0 for node in status["nodes"])
    assert status["drivers"] == 0
    text = processes.run("status").stdout
    assert re.search(r"^first +up +3 +0 +[\d.]+ GiB +0 +0 B +\d+ s ago$", text, re.MULTILINE)


def test_a_node_that_is_told_to_end_leaves_at_once(processes):
    processes.start_head()
    node = processes.start_node("first")
    processes.until(lambda: processes.nodes() == {"first"})
    for number in (signal.SIGTERM, signal.SIGINT):
        node.send_signal(number)
        assert node.wait(5) == 0
        assert processes.nodes() == set()
        node = processes.start_node("first")
        processes.until(lambda: processes.nodes() == {"first"})


def test_a_node_that_is_killed_is_given_up_and_its_name_is_free_again(processes):
    processes.start_head()
    node = processes.start_node("first")
    processes.until(lambda: processes.nodes() == {"first"})
    node.kill()
    assert processes.until(lambda: processes.nodes() == set()) < GIVEN_UP_WITHIN_S
    processes.start_node("first")
    processes.until(lambda: processes.nodes() == {"first"})


def test_a_node_that_is_silent_for_too_long_is_given_up_and_joins_anew(processes):
    processes.start_head()
    node = processes.start_node("first")
    processes.until(lambda: processes.nodes() == {"first"})
    node.send_signal(signal.SIGSTOP)
    assert processes.until(lambda: processes.nodes() == set()) < GIVEN_UP_WITHIN_S
    node.send_signal(signal.SIGCONT)
    assert processes.until(lambda: processes.nodes() == {"first"}) < GIVEN_UP_WITHIN_S
    assert node.poll() is None


def test_a_pause_that_is_shorter_is_not_noticed(processes):
    processes.start_head()
    node = processes.start_node("first")
    processes.until(lambda: processes.nodes() == {"first"})
    node.send_signal(signal.SIGSTOP)
    time.sleep(SETTINGS.silence_limit_s / 3)
    node.send_signal(signal.SIGCONT)
    (found,) = processes.status()["nodes"]
    assert found["joined_s"] > SETTINGS.silence_limit_s / 3


def test_a_head_that_was_killed_is_found_again_by_its_nodes(processes):
    head = processes.start_head()
    nodes = [processes.start_node(name) for name in ("first", "second")]
    processes.until(lambda: processes.nodes() == {"first", "second"})
    address = processes.address
    head.kill()
    head.wait()
    refused = processes.run("status")
    assert refused.returncode == 1
    assert "no head of" in refused.stderr
    time.sleep(0.5)
    processes.start_head()
    assert processes.address == address, "its nodes look for it where it was"
    assert processes.until(lambda: processes.nodes() == {"first", "second"}) < GIVEN_UP_WITHIN_S
    assert all(node.poll() is None for node in nodes)


def test_a_second_head_of_the_same_folder_and_one_on_the_same_port_are_refused(processes, tmp_path):
    processes.start_head()
    second = processes.run("head")
    assert second.returncode == 1
    assert re.fullmatch(rf"distpool head: a head of .* runs already at {processes.address}: stop it.*\n", second.stderr)
    port = processes.address.rpartition(":")[2]
    other = processes.run("head", "--port", port, DISTPOOL_HOME=str(tmp_path / "other"))
    assert other.returncode == 1
    assert other.stderr == (
        f"distpool head: cannot listen at tcp://127.0.0.1:{port}: Address already in use; stop what listens there, or "
        "choose another --port\n"
    )


def test_two_clusters_on_one_machine_do_not_meet(processes, tmp_path):
    processes.start_head()
    processes.start_node("first")
    other = {"DISTPOOL_HOME": str(tmp_path / "other")}
    processes.start("other head", "head", "--json", **other)
    processes.until(lambda: processes.said("other head"))
    address = json.loads(processes.said("other head"))["address"]
    assert address != processes.address
    processes.start_node("first", **other)
    processes.until(lambda: processes.nodes() == {"first"})
    stranger = processes.run("status", "--head", address)
    assert stranger.returncode == 1
    assert stranger.stderr.count("\n") == 1
    assert "the other end has another key than the one that is expected there" in stranger.stderr


def test_a_name_that_another_node_has_is_refused(processes):
    processes.start_head()
    processes.start_node("first")
    processes.until(lambda: processes.nodes() == {"first"})
    second = processes.run("node", "--name", "first")
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1].endswith(
        "there is a node of the name 'first' already: give this one another name"
    )


def test_a_key_that_is_revoked_ends_the_connection_that_there_is(processes, tmp_path):
    processes.start_head()
    assert processes.run("keys", "new", "gpu-1", "--file", str(tmp_path / "gpu-1.key")).returncode == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (tmp_path / "gpu-1.key").rename(elsewhere / "node.key")
    processes.start_node("gpu-1", "--head", processes.address, DISTPOOL_HOME=str(elsewhere))
    processes.start_node("first")
    processes.until(lambda: processes.nodes() == {"first", "gpu-1"})
    assert processes.run("keys", "revoke", "gpu-1").returncode == 0
    assert processes.until(lambda: processes.nodes() == {"first"}) < GIVEN_UP_WITHIN_S
    assert "a frame with a key that is not let in any more" in processes.said("head")
    late = processes.run("node", "--head", processes.address, DISTPOOL_HOME=str(elsewhere))
    assert late.returncode == 1
    assert "this process's key is not let in" in late.stderr


def test_a_key_of_a_driver_makes_no_node(processes):
    processes.start_head()
    os.replace(processes.keys / "driver.key", processes.keys / "node.key")
    refused = processes.run("node")
    assert refused.returncode == 1
    assert "node.key is the key of a driver, where that of a node is needed" in refused.stderr


def test_no_secret_is_in_an_argument_the_environment_the_output_or_a_readable_file(processes):
    processes.start_head()
    processes.start_node("first")
    processes.until(lambda: processes.nodes() == {"first"})
    shown = [processes.run(*command).stdout for command in (["status"], ["keys", "list"], ["keys", "show-public"])]
    about = [Path(f"/proc/{process.pid}/{name}") for process in processes.processes for name in ("cmdline", "environ")]
    shown += [path.read_bytes().decode(errors="replace") for path in [*about, *processes.output.iterdir()]]
    assert "node" in "".join(shown)
    secrets = [re.search('secret = "(.*)"', path.read_text())[1] for path in processes.keys.glob("*.key")]
    assert len(secrets) == 3
    for secret in secrets:
        assert not any(secret in text for text in shown)
    assert all(path.stat().st_mode & 0o077 == 0 for path in processes.keys.iterdir())
