"""A cluster on this machine for as long as somebody needs it: a head and nodes, in a temporary folder of their own."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from distpool.base_errors import DistpoolError
from distpool.runtime.parentage import die_with_parent
from distpool.runtime.temporary_folders import TemporaryFolder

# Not with the working directory on the path, where there may be modules of any name.
_COMMAND = [sys.executable, "-P", "-m", "distpool.cli"]
_START_LIMIT_S = 30.0
_LOOK_S = 0.1
_END_LIMIT_S = 3.0

Mask = set[int | signal.Signals]


class LocalCluster:
    """Its processes end with the thread that made it, however that ends. They hear nothing of the terminal."""

    def __init__(self, nodes: int, cpus: int, is_interrupted: Callable[[], bool]) -> None:
        """Start it, and wait until all nodes have joined. Raises DistpoolError with what they have said, and
        KeyboardInterrupt once `is_interrupted()` says so; nothing is left then."""
        self._is_interrupted = is_interrupted
        self._folder = TemporaryFolder("run")
        self._processes: list[subprocess.Popen[bytes]] = []
        self.environment = {**os.environ, "DISTPOOL_HOME": str(self._folder.path / "keys")}
        """Of programs that are to use it."""
        try:
            head = self._start("head", "--json", "--port", "0")
            self.environment["DISTPOOL_ADDRESS"] = json.loads(self._first_line(head, "head"))["address"]
            started = []
            for number in range(1, nodes + 1):
                options = ("--head", self.environment["DISTPOOL_ADDRESS"], "--cpus", str(cpus))
                started.append(self._start("node", "--name", f"node-{number}", *options))
            for number, node in enumerate(started, 1):
                self._first_line(node, f"node {number}")
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """End its processes, nodes first, and remove its folder."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGINT)
        until = time.monotonic() + _END_LIMIT_S
        for process in reversed(self._processes):
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._folder.remove()

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with open(self._errors_of(len(self._processes)), "wb") as errors:
            process = subprocess.Popen(
                [*_COMMAND, *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                preexec_fn=partial(as_child, os.getpid()),
            )
        self._processes.append(process)
        return process

    def _errors_of(self, number: int) -> Path:
        return self._folder.path / f"errors-{number}"

    def _first_line(self, process: subprocess.Popen[bytes], name: str) -> bytes:
        """What it prints once it serves."""
        assert process.stdout is not None
        line = b""
        until = time.monotonic() + _START_LIMIT_S
        while not line.endswith(b"\n"):
            if self._is_interrupted():
                raise KeyboardInterrupt
            if select.select([process.stdout], [], [], _LOOK_S)[0]:
                piece = os.read(process.stdout.fileno(), 4096)
                if not piece:
                    raise DistpoolError(f"the {name} of the temporary cluster ended: {self._last_words(process)}")
                line += piece
            elif time.monotonic() > until:
                raise DistpoolError(
                    f"the {name} of the temporary cluster did not start within {_START_LIMIT_S:g} s: "
                    f"{self._last_words(process)}"
                )
        return line

    def _last_words(self, process: subprocess.Popen[bytes]) -> str:
        said = self._errors_of(self._processes.index(process)).read_text(errors="replace")
        return said.strip() or "it said nothing"


def as_child(parent_pid: int, mask: Mask | None = None) -> None:
    """In a child, before it becomes another program: end with the parent, and block no signal but those of `mask`."""
    signal.pthread_sigmask(signal.SIG_SETMASK, mask or set())
    die_with_parent(parent_pid)


def start_program(command: list[str], environment: dict[str, str], mask: Mask) -> subprocess.Popen[bytes]:
    """On this process's terminal; it ends with this process. Raises OSError."""
    prepare: Callable[[], None] = partial(as_child, os.getpid(), mask)
    return subprocess.Popen(command, env=environment, preexec_fn=prepare)
