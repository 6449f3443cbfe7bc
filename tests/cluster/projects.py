"""Programs in folders of their own, which the nodes of a test do not have."""

import contextlib
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.processes import Cluster
from tests.runtime.programs import LIMIT_S

GUARD = 'if __name__ == "__main__":'


class Project:
    """A folder with files, and programs that run in it."""

    def __init__(self, processes: Cluster, folder: Path, files: dict[str, str]) -> None:
        self.processes = processes
        self.folder = folder
        for name, text in files.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    @contextlib.contextmanager
    def started(self, *arguments: str, cwd: Path | None = None, **environment: str) -> Iterator[subprocess.Popen]:
        """`python ARGUMENTS` in the folder; what is left of it at the end is killed."""
        environment = {"DISTPOOL_ADDRESS": self.processes.address, "PYTHONWARNINGS": "ignore", **environment}
        with subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd or self.folder,
            env=self.processes.environment(**environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, *arguments: str, cwd: Path | None = None, **environment: str) -> list[str]:
        """The lines that it prints; it must end well and print no error."""
        with self.started(*arguments, cwd=cwd, **environment) as process:
            output, errors = process.communicate(timeout=LIMIT_S)
        assert (process.returncode, errors) == (0, ""), output + errors
        return output.splitlines()

    def remove(self) -> None:
        shutil.rmtree(self.folder)


def received(processes: Cluster, *nodes: str) -> int:
    """How many packages these nodes have received."""
    return sum(processes.logged(node).count("received the code") for node in nodes)


def kept(processes: Cluster) -> list[Path]:
    """What the nodes of this cluster keep of the code of drivers, complete or not."""
    folder = processes.keys / "cache" / "code"
    return sorted(path for path in folder.glob("*") if path.suffix != ".lock") if folder.exists() else []
