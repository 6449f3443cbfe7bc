"""Keys of a running cluster: machines that join with a token, and a head whose key is changed under a running pool."""

import json
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

from distpool.transport.keys import KeyFolder, Part
from tests.cluster.processes import COMMAND
from tests.runtime.programs import LIMIT_S

PROGRAM = """
import os, sys, time
from pathlib import Path
from distpool import Pool

def worker(delay_s):
    time.sleep(delay_s)
    return os.getpid()

def workers(pool):
    found = set()
    while len(found) < 2:
        found |= set(pool.map(worker, [0.02] * 4, chunksize=1))
    return found

if __name__ == "__main__":
    path = Path(sys.argv[1])
    with Pool(2) as pool:
        before = workers(pool)
        print("ready", flush=True)
        while not path.exists():
            assert pool.map(abs, range(-50, 0), chunksize=1) == list(range(50, 0, -1))
        print("again", flush=True)
        # The interpreter's lock is held while the connections end, and for longer than others have for the next one.
        until = time.monotonic() + 3.0
        sys.setswitchinterval(60.0)
        while time.monotonic() < until:
            pass
        sys.setswitchinterval(0.005)
        assert pool.map(abs, range(-50, 0), chunksize=1) == list(range(50, 0, -1))
        assert workers(pool) == before
    print("done", flush=True)
"""


def texts_in(*folders: Path) -> list[str]:
    """Of all files there, logs and the head's tables too."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path.read_bytes().decode(errors="replace") for path in files]


def secrets_of(*folders: Path) -> list[str]:
    return re.findall(r'secret = "(.*)"', "".join(texts_in(*folders)))


def test_a_node_and_a_driver_join_with_tokens_that_are_nowhere_else(processes, tmp_path):
    processes.start_head()
    there = {"DISTPOOL_HOME": str(tmp_path / "there")}
    file = tmp_path / "gpu-1.token"
    made = processes.run("keys", "token", "--name", "gpu-1", "--file", str(file))
    assert made.returncode == 0, made.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    node = ["--head", processes.address, "--token-file", str(file)]
    process = processes.start_node("gpu-1", *node, **there)
    processes.until(lambda: "has joined" in processes.said("gpu-1"))
    piped = processes.run("keys", "token", "--part", "driver", "--file", "-")
    joined = subprocess.run(
        [*COMMAND, "keys", "join", "--head", processes.address, "--token-file", "-"],
        input=piped.stdout,
        env=processes.environment(**there),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert joined.returncode == 0, joined.stderr
    status = processes.run("status", "--json", "--head", processes.address, **there)
    assert [found["node"] for found in json.loads(status.stdout)["nodes"]] == ["gpu-1"]
    entries = KeyFolder(processes.keys).allow_list().entries()
    assert [entry.name for entry in entries if entry.until is None] == ["node", "driver", "gpu-1", "driver-2"]
    # A node that is started again with the same command has its key already.
    process.terminate()
    process.wait()
    processes.start_node("gpu-1", *node, **there)
    processes.until(lambda: processes.said("gpu-1").count("has joined") == 2)
    assert "the token is not needed" in processes.said("gpu-1")
    # Another machine does not get in by a token that was used.
    late = processes.run("node", *node, DISTPOOL_HOME=str(tmp_path / "late"))
    assert (late.returncode, late.stderr.count("\n")) == (1, 1)
    assert "this token was used already, or was revoked: have another one made" in late.stderr

    shown = [made.stdout, made.stderr, joined.stdout, joined.stderr, late.stderr]
    running = [process.pid for process in processes.processes if process.poll() is None]
    assert len(running) == 2
    about = [Path(f"/proc/{pid}/{name}") for pid in running for name in ("cmdline", "environ")]
    shown += [path.read_bytes().decode(errors="replace") for path in [*about, *processes.output.iterdir()]]
    kept = "".join(texts_in(processes.keys))
    for token in (file.read_text().strip(), piped.stdout.strip()):
        # Nor any piece of the half that holds the secret.
        pieces = [token[at : at + 12] for at in range(len("distpool-join-node-") + 43, len(token) - 24)]
        assert not any(piece in text for text in [*shown, kept] for piece in [token, *pieces])
    secrets = secrets_of(processes.keys, tmp_path / "there")
    assert len(secrets) == 5
    assert not any(secret in text for text in shown for secret in secrets)
    for folder in (processes.keys, tmp_path / "there"):
        assert all(path.stat().st_mode & 0o077 == 0 for path in folder.rglob("*"))


def test_a_running_pool_does_not_notice_that_the_head_gets_a_new_key(processes, tmp_path):
    processes.start_head()
    there = tmp_path / "there"
    keys = KeyFolder(processes.keys)
    keys.add(Part.NODE, "gpu-1", KeyFolder(there).path_of(Part.NODE))
    old = keys.identity(Part.HEAD).public
    node = processes.start_node("gpu-1", "--cpus", "2", "--head", processes.address, DISTPOOL_HOME=str(there))
    processes.until(lambda: "has joined" in processes.said("gpu-1"))
    joined_at = time.monotonic()
    (tmp_path / "program.py").write_text(PROGRAM)
    program = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "changes")],
        env=processes.environment(DISTPOOL_ADDRESS=processes.address),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    processes.processes.append(program)
    with program.stdout:
        assert program.stdout.readline() == "ready\n"
        rotating = subprocess.Popen(
            [*COMMAND, "keys", "rotate", "--overlap", "1s"],
            env=processes.environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.processes.append(rotating)
        # It is told, and perhaps has done it already on a slow machine.
        processes.until(lambda: "next_head" in (text := (there / "node.key").read_text()) or old not in text)
        (tmp_path / "changes").touch()
        assert program.stdout.readline() == "again\n"
        with rotating.stdout:
            assert "from now on" in rotating.stdout.read()
        assert rotating.wait(LIMIT_S) == 0
        assert program.stdout.read() == "done\n"
    assert program.wait(LIMIT_S) == 0
    new = keys.identity(Part.HEAD).public
    assert new != old
    assert node.poll() is None
    (found,) = processes.status()["nodes"]
    assert found["joined_s"] > time.monotonic() - joined_at - 1.0, "the node has not joined anew"
    identity = KeyFolder(there).identity(Part.NODE)
    assert (identity.head, identity.next_head) == (new, "")


def test_to_change_the_key_of_a_head_that_does_not_run_is_refused(processes):
    assert processes.run("keys", "new").returncode == 0
    before = (processes.keys / "head.key").read_text()
    refused = processes.run("keys", "rotate")
    assert refused.returncode == 1
    assert re.fullmatch(
        r"distpool keys: no head of .* runs here, to tell its members .*: start it first\n", refused.stderr
    )
    assert (processes.keys / "head.key").read_text() == before
    assert not (processes.keys / "head.next").exists()
