"""A cluster's processes on this machine, started by the command as a user would."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from distpool.runtime.own_log import log_path
from tests.runtime.programs import LIBRARY, LIMIT_S

COMMAND = [sys.executable, "-m", "distpool.cli"]


class Cluster:
    """The processes of one folder of keys. What is left of them at the end is killed."""

    def __init__(self, folder: Path) -> None:
        self.keys = folder / "keys"
        self.output = folder / "output"
        self.output.mkdir()
        self.processes: list[subprocess.Popen] = []
        self.address = ""

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DISTPOOL_")}
        return {**kept, "PYTHONPATH": LIBRARY, "PYTHONWARNINGS": "error", "DISTPOOL_HOME": str(self.keys), **more}

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess:
        """A command that ends by itself."""
        return subprocess.run(
            [*COMMAND, *arguments], env=self.environment(**more), capture_output=True, text=True, timeout=LIMIT_S
        )

    def start(self, name: str, *arguments: str, **more: str) -> subprocess.Popen:
        """One that stays; its output goes to a file."""
        with open(self.output / name, "a") as output:
            process = subprocess.Popen(
                [*COMMAND, *arguments], env=self.environment(**more), stdout=output, stderr=subprocess.STDOUT
            )
        self.processes.append(process)
        return process

    def said(self, name: str) -> str:
        return (self.output / name).read_text()

    def logged(self, name: str) -> str:
        """What a node, or the head, has in its own log."""
        path = log_path(self.keys, name)
        return path.read_text() if path.exists() else ""

    def start_head(self, *arguments: str) -> subprocess.Popen:
        """The first one at a port that nobody else on this machine has, and the next ones there too."""
        if not self.address and "--port" not in arguments:
            arguments = (*arguments, "--port", "0")
        before = len(self._told_by_heads())
        process = self.start("head", "head", "--json", *arguments)
        self.until(lambda: len(self._told_by_heads()) > before)
        self.address = json.loads(self._told_by_heads()[before])["address"]
        return process

    def _told_by_heads(self) -> list[str]:
        """Their JSON objects, without what they have logged."""
        lines = self.said("head").splitlines(keepends=True) if (self.output / "head").exists() else []
        return [line for line in lines if line.startswith("{") and line.endswith("\n")]

    def start_node(self, name: str, *arguments: str, **more: str) -> subprocess.Popen:
        return self.start(name, "node", "--name", name, *arguments, **more)

    def status(self) -> dict:
        result = self.run("status", "--json")
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def nodes(self) -> set[str]:
        """Those that are there."""
        return {node["node"] for node in self.status()["nodes"] if node["state"] != "away"}

    def until(self, is_so, limit_s: float = LIMIT_S) -> float:
        """Wait for it; how long that took."""
        began_at = time.monotonic()
        while not is_so():
            assert time.monotonic() - began_at < limit_s, {
                path.name: path.read_text() for path in self.output.iterdir()
            }
            time.sleep(0.01)
        return time.monotonic() - began_at

    def end(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    made = Cluster(folder)
    try:
        yield made
    finally:
        made.end()


@contextlib.contextmanager
def cluster_of_two(folder: Path, cpus: int, **more: str) -> Iterator[Cluster]:
    """A head and two nodes of so many CPUs each, whose environment names the cluster, and has `more`."""
    with cluster(folder) as made:
        made.start_head()
        for name in ("first", "second"):
            made.start_node(name, "--cpus", f"{cpus}", DISTPOOL_ADDRESS=made.address, **more)
        made.until(lambda: made.nodes() == {"first", "second"})
        yield made
