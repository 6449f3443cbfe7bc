"""What a user gets wrong: a line within the connect limit says what was tried and what to check, and `distpool doctor`
shows it where it belongs."""

import json
import os
import re
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distpool.runtime import machine
from distpool.transport.keys import Identity, KeyFolder, Part, write_identity
from tests.runtime.programs import LIMIT_S

CONNECT_LIMIT = {"DISTPOOL_CONNECT_LIMIT": "1s"}
WITHIN_S = 4.0
"""The connect limit, a last look at the port, and what a busy machine adds; the limit by default is 5 s."""


def rows_of(run, *arguments, **environment):
    """What the doctor has found amiss, by the check; and its exit status."""
    done = run("doctor", "--json", *arguments, **environment)
    facts = json.loads(done.output)
    assert done.errors == ""
    assert facts["ok"] is (done.status == 0)
    return {check["check"]: check for check in facts["checks"] if check["result"] == "failed"}, done.status


def with_keys_of(home: Path, head: str) -> dict[str, str]:
    """A folder with a driver's and a node's key that no head knows, for the head of this public key."""
    KeyFolder(home)
    for part in (Part.DRIVER, Part.NODE):
        write_identity(home / f"{part.value}.key", Identity.make(part, head))
    return {"DISTPOOL_HOME": str(home)}


def no_form(running, folder):
    return "tcp:/alpha", {"DISTPOOL_HOME": str(running.keys)}


def no_name(running, folder):
    return "tcp://nowhere.invalid:7117", {"DISTPOOL_HOME": str(running.keys)}


def closed_port(running, folder):
    return "tcp://127.0.0.1:1", {"DISTPOOL_HOME": str(running.keys)}


def key_of_another_head(running, folder):
    return running.address, with_keys_of(folder / "other", Identity.make(Part.HEAD).public)


def key_that_is_not_let_in(running, folder):
    head = KeyFolder(running.keys).identity(Part.HEAD).public
    return running.address, with_keys_of(folder / "other", head)


def key_that_others_can_read(running, folder):
    home = with_keys_of(folder / "other", KeyFolder(running.keys).identity(Part.HEAD).public)
    os.chmod(folder / "other" / "driver.key", 0o644)
    return running.address, home


def key_of_another_part(running, folder):
    home = with_keys_of(folder / "other", KeyFolder(running.keys).identity(Part.HEAD).public)
    os.replace(folder / "other" / "node.key", folder / "other" / "driver.key")
    return running.address, home


def damaged_key(running, folder):
    home = with_keys_of(folder / "other", KeyFolder(running.keys).identity(Part.HEAD).public)
    os.truncate(folder / "other" / "driver.key", 150)
    return running.address, home


def no_key(running, folder):
    KeyFolder(folder / "other")
    return running.address, {"DISTPOOL_HOME": str(folder / "other")}


def open_folder(running, folder):
    (folder / "other").mkdir()
    os.chmod(folder / "other", 0o755)
    return running.address, {"DISTPOOL_HOME": str(folder / "other")}


def unknown_setting(running, folder):
    return running.address, {"DISTPOOL_HOME": str(running.keys), "DISTPOOL_ADRESS": "x"}


@pytest.mark.parametrize(
    ("situation", "row", "text"),
    [
        (no_form, "address", r"the address of the head is 'tcp:/alpha'; it must be like tcp://host:7117"),
        (
            no_name,
            "name",
            r"tcp://nowhere.invalid:7117: the name 'nowhere.invalid' cannot be resolved .*: check how it",
        ),
        (closed_port, "port", r"nothing listens at port 1 there: is `distpool head` running, and is this its port\?"),
        (
            key_of_another_head,
            "head, for a driver",
            r"the other end has another key than the one that is expected there",
        ),
        (key_that_is_not_let_in, "head, for a driver", r"this process's key is not let in; compare the keys with"),
        (key_that_others_can_read, "key of a driver", r"driver.key holds secrets: it must be a file of mode 0600"),
        (key_of_another_part, "key of a driver", r"driver.key is the key of a node, where that of a driver is needed"),
        (
            damaged_key,
            "key of a driver",
            r"driver.key is no key file of distpool \(.*\): make one with `distpool keys new`",
        ),
        (no_key, "head", r"there is no .*driver.key: `distpool keys new` makes|as there is no key"),
        (open_folder, "key folder", r"other must be a folder of mode 0700|other has mode 0755"),
        (unknown_setting, "settings", r"DISTPOOL_ADRESS in the environment is no setting \(did you mean DISTPOOL_ADD"),
    ],
)
def test_a_mistake_is_named_in_one_line_and_in_the_doctors_row(situation, row, text, running, run, tmp_path):
    address, environment = situation(running, tmp_path)
    began_at = time.monotonic()
    done = run("status", "--head", address, **environment, **CONNECT_LIMIT)
    assert time.monotonic() - began_at < WITHIN_S
    assert (done.status, done.output) == (1, "")
    assert done.errors.startswith("distpool status: ")
    assert done.errors.count("\n") == 1, done.errors
    assert re.search(text, done.errors), done.errors
    failed, status = rows_of(run, "--head", address, **environment, **CONNECT_LIMIT)
    assert status == 1
    assert row in failed, failed
    assert re.search(text, failed[row]["found"]), failed
    assert failed[row]["remedy"]


def test_another_program_at_the_port_is_told_from_a_head(running, run):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        home = {"DISTPOOL_HOME": str(running.keys)}
        home["DISTPOOL_CONNECT_LIMIT"] = "200ms"
        done = run("status", "--head", address, **home)
        assert done.status == 1
        assert "no head answered within 0.2 s; something listens at that port, but it does not speak" in done.errors
        failed, _ = rows_of(run, "--head", address, **home)
        assert set(failed) == {"head, for a driver", "head, for a node"}
        assert "see whether another program has this port" in failed["head, for a driver"]["remedy"]


def test_a_name_service_that_does_not_answer_is_not_waited_for(running, run, monkeypatch):
    def hang(*arguments, **options):
        time.sleep(1.0)
        raise socket.gaierror(-3, "too late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    home = {"DISTPOOL_HOME": str(running.keys), "DISTPOOL_CONNECT_LIMIT": "100ms"}
    done = run("status", "--head", "alpha", **home)
    assert "the name 'alpha' was not resolved within 0.1 s: check how it is spelled" in done.errors


def test_other_versions_are_told_with_both_sides(running):
    command = (
        "import sys, distpool.protocol.messages as messages; messages.PROTOCOL_VERSION = 99\n"
        "from distpool.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    for arguments in (["status"], ["doctor"]):
        done = subprocess.run(
            [sys.executable, "-c", command, *arguments],
            env=running.environment(),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert done.returncode == 1
        assert re.search(r"protocol +\d+ +99", done.stdout + done.stderr)
    assert re.search(r"^head, for a driver +FAILED .*the versions differ", done.stdout, re.MULTILINE)
    assert "→ install the same distpool and Python on all machines of the cluster" in done.stdout


def test_all_is_well_with_a_cluster_and_without(running, run):
    done = run("doctor", DISTPOOL_HOME=str(running.keys))
    assert (done.status, done.errors) == (0, "")
    assert re.search(
        r"^head, for a driver +ok +lets this key in, .*has 1 nodes with 2 CPUs$", done.output, re.MULTILINE
    )
    assert "FAILED" not in done.output
    without = run("doctor")
    assert without.status == 0
    assert re.search(r"^key folder +- ", without.output, re.MULTILINE)
    assert not Path(os.environ["DISTPOOL_HOME"]).exists(), "the doctor changes nothing"


# A node that cannot be one -------------------------------------------------------------------------------------------


def test_a_node_with_no_port_no_memory_files_no_shared_memory_or_too_few_files_refuses(running, run, monkeypatch):
    home = {"DISTPOOL_HOME": str(running.keys)}
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = running.run("node", "--name", "second", "--port", port)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"distpool node: cannot listen at tcp://127.0.0.1:{port}: Address already in use; stop what listens there, or "
        "choose another --port\n"
    )

    def none(*arguments):
        raise OSError(38, "Function not implemented")

    with monkeypatch.context() as patch:
        patch.setattr(os, "memfd_create", none)
        done = run("node", "--name", "second", **home)
    assert done.status == 1
    assert done.errors.startswith(
        "distpool node: this machine can be no node: memory files: memfd_create does not work"
    )
    with monkeypatch.context() as patch:
        patch.setattr(machine, "_SHARED_MEMORY", "/nowhere")
        done = run("node", "--name", "second", **home)
    assert done.status == 1
    assert "shared memory: /nowhere is missing or cannot be written to; remedy: mount a tmpfs" in done.errors
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most != resource.RLIM_INFINITY:
        done = run("node", "--name", "second", "--cpus", str(most), **home)
        assert done.status == 1
        assert re.search(rf"open files: {most} workers need \d+, the hard limit is {most}; remedy: ", done.errors)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--name", "head"], "'head' is no name of a node"),
        (["--name", ""], "'' is no name of a node"),
        (["--cpus", "0"], "0 is not at least 1"),
        (["--cpus", "many"], "'many' is not a whole number"),
        (["--port", "70000"], "70000 is not from 0 to 65535"),
    ],
)
def test_options_of_a_node_that_make_no_sense(arguments, text, run):
    done = run("node", *arguments)
    assert done.status == 2
    assert text in done.errors


def test_a_node_without_a_right_to_its_folder_refuses(run, tmp_path):
    (tmp_path / "file").write_text("")
    done = run("node", DISTPOOL_HOME=str(tmp_path / "file" / "keys"))
    assert done.status == 1
    assert done.errors == f"distpool node: the folder {tmp_path}/file/keys cannot be made: Not a directory\n"
