"""`distpool run`: the program's address, what becomes of its exit code and signals, and that nothing stays."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import psutil
import pytest

from tests.cluster.processes import COMMAND
from tests.runtime.programs import LIBRARY, LIMIT_S, is_gone, until

WITH_POOL = """
    import os, sys
    import distpool

    def square(number):
        return os.getppid(), number * number

    if __name__ == "__main__":
        with distpool.Pool() as pool:
            told = pool.map(square, range(100))
        print(sum(number for _, number in told), pool._processes, os.getpid() in {pid for pid, _ in told})
        sys.exit(7)
"""

THAT_WAITS = """
    import os, signal, sys, time

    def note(number, frame):
        print("heard", number, flush=True)
        if number == signal.SIGTERM:
            os.kill(os.getpid(), signal.SIGKILL)

    signal.signal(signal.SIGUSR1, note)
    signal.signal(signal.SIGTERM, note)
    print("ready", os.environ["DISTPOOL_ADDRESS"], flush=True)
    while True:
        time.sleep(0.01)
"""

THAT_IS_INTERRUPTED = """
    import sys, time
    import distpool

    def square(number):
        return number * number

    if __name__ == "__main__":
        with distpool.Pool(1) as pool:
            pool.map(square, [1])
            try:
                print("ready", flush=True)
                while True:
                    time.sleep(0.01)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
                print(pool.map(square, [2, 3]), flush=True)
                sys.exit(9)
"""


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """With a temporary folder of its own, in which nothing may be left in the end."""
    with tempfile.TemporaryDirectory(prefix="dp-") as folder:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DISTPOOL_")}
        yield {**kept, "PYTHONPATH": LIBRARY, "TMPDIR": folder, "DISTPOOL_HOME": str(tmp_path / "keys")}
        assert not list(Path(folder).glob("distpool*"))


def script(folder, source):
    path = folder / "program.py"
    path.write_text(textwrap.dedent(source))
    return [sys.executable, str(path)]


def in_shell(environment, *arguments):
    return subprocess.run(
        [*COMMAND, "run", *arguments], env=environment, capture_output=True, text=True, timeout=LIMIT_S
    )


@pytest.fixture
def waiting(environment, tmp_path):
    """A program that waits for signals on a cluster of one node, and all processes of the command."""
    command = [*COMMAND, "run", "--nodes", "1", "--cpus", "1", "--", *script(tmp_path, THAT_WAITS)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline().startswith("ready tcp://127.0.0.1:")
            yield process, psutil.Process(process.pid).children(recursive=True)
        finally:
            process.kill()


def test_a_program_uses_all_nodes_of_a_cluster_that_ends_with_it_and_its_exit_code_is_passed_on(environment, tmp_path):
    done = in_shell(environment, "--nodes", "2", "--cpus", "2", "--", *script(tmp_path, WITH_POOL))
    assert (done.stdout, done.stderr, done.returncode) == ("328350 4 False\n", "", 7)
    assert not (tmp_path / "keys").exists(), "the user's own keys are not touched"


def test_signals_are_passed_on_and_all_processes_end(waiting):
    process, below = waiting
    assert len(below) >= 3, "a head, a node, and the program"
    process.send_signal(signal.SIGUSR1)
    assert process.stdout.readline() == f"heard {signal.SIGUSR1:d}\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == f"heard {signal.SIGTERM:d}\n"
    assert process.wait(LIMIT_S) == 128 + signal.SIGKILL, "what has ended the program is told as shells do"
    assert all(map(is_gone, below))


def test_what_a_terminal_sends_the_program_gets_once_and_its_cluster_stays_until_it_has_ended(environment, tmp_path):
    command = [*COMMAND, "run", "--nodes", "1", "--cpus", "1", "--", *script(tmp_path, THAT_IS_INTERRUPTED)]
    pid, terminal = pty.fork()
    if not pid:
        os.execve(command[0], command, environment)
    said = b""
    try:
        while not said.endswith(b"ready\r\n"):
            said += os.read(terminal, 1000)
        os.write(terminal, b"\x03")
        with contextlib.suppress(OSError):  # the end of a terminal
            while piece := os.read(terminal, 1000):
                said += piece
    finally:
        os.close(terminal)
        status = os.waitpid(pid, 0)[1]
    assert said.endswith(b"interrupted\r\n[4, 9]\r\n"), said
    assert os.waitstatus_to_exitcode(status) == 9


def test_all_processes_end_with_the_command_that_is_killed_and_its_folder_is_found(waiting, environment):
    process, below = waiting
    process.kill()
    process.wait()
    assert until(lambda: all(map(is_gone, below)))
    (left,) = Path(environment["TMPDIR"]).glob("distpool-run-*")
    os.utime(left, (0, 0))
    done = subprocess.run([*COMMAND, "cleanup", "--json"], env=environment, capture_output=True, text=True)
    assert [entry["path"] for entry in json.loads(done.stdout)["removed"]] == [str(left)]


def test_a_program_runs_with_the_address_that_is_given(environment):
    show = ["sh", "-c", "echo $DISTPOOL_ADDRESS; exit 5"]
    done = in_shell(environment, "--address", "alpha", "--", *show)
    assert (done.stdout, done.returncode) == ("tcp://alpha:7117\n", 5)
    done = in_shell({**environment, "DISTPOOL_ADDRESS": "beta:1"}, *show)
    assert (done.stdout, done.returncode) == ("tcp://beta:1\n", 5)


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        ([], 2, "no program was given"),
        (["--cpus", "2", "--", "true"], 2, "--cpus is of the nodes that --nodes starts"),
        (["--nodes", "none", "--", "true"], 2, "'none' is not a whole number"),
        (["--nodes", "0", "--", "true"], 2, "0 is not at least 1"),
        (["--nodes", "1", "--address", "a", "--", "true"], 2, "not allowed with argument"),
        (["--address", "a", "--", "no such program"], 127, "no such program: No such file or directory"),
        (["--address", "a", "--", "/"], 126, "/: Permission denied"),
        (["--address", "a b", "--", "true"], 1, "the address of the head is 'a b'; it must be like"),
        (["--", "true"], 1, "runs on this machine: start one with `distpool head`"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, status, text, run):
    done = run("run", *arguments)
    assert done.status == status
    assert text in done.errors


def test_a_program_that_cannot_be_run_ends_the_cluster(environment):
    done = in_shell(environment, "--nodes", "1", "--cpus", "1", "--", "no such program")
    assert (done.returncode, done.stderr) == (127, "distpool run: no such program: No such file or directory\n")


def test_a_cluster_that_does_not_start_says_why_and_leaves_nothing(environment, tmp_path):
    done = in_shell({**environment, "DISTPOOL_BEAT": "10s"}, "--nodes", "1", "--", "true")
    assert done.returncode == 1
    assert re.search(r"the head of the temporary cluster ended: .*DISTPOOL_BEAT: the silence limit is", done.stderr)
