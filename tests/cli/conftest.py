"""Commands run in the tests' own process where that is possible, which takes milliseconds."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from distpool.cli import main
from tests.cluster.processes import Cluster, cluster


class Done(NamedTuple):
    """How a command has ended, and what it has said."""

    status: int
    output: str
    errors: str


@pytest.fixture(scope="session")
def running(tmp_path_factory) -> Iterator[Cluster]:
    """A head, and one node of two CPUs, for all tests of commands: none of them changes what the others find."""
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        made.start_head()
        made.start_node("first", "--cpus", "2")
        made.until(lambda: "has joined" in made.said("first"))
        yield made


@pytest.fixture
def processes(tmp_path) -> Iterator[Cluster]:
    """A cluster of no process yet, which a test may break."""
    (tmp_path / "cluster").mkdir()
    with cluster(tmp_path / "cluster") as made:
        yield made


def with_drivers_key(made: Cluster, folder: Path) -> dict[str, str]:
    """The environment of another machine, whose folder has a driver's key only."""
    folder.mkdir(mode=0o700)
    (folder / "driver.key").write_bytes((made.keys / "driver.key").read_bytes())
    (folder / "driver.key").chmod(0o600)
    return {"DISTPOOL_HOME": str(folder), "DISTPOOL_ADDRESS": made.address}


@pytest.fixture
def run(monkeypatch, tmp_path, capfd) -> Callable[..., Done]:
    """Run a command in a working directory of its own, with nothing in the environment but what is given."""
    for name in [name for name in os.environ if name.startswith("DISTPOOL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTPOOL_HOME", str(tmp_path / "keys"))

    def run(*arguments: str, **environment: str) -> Done:
        capfd.readouterr()
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            try:
                status = main(list(arguments))
            except SystemExit as error:
                status = error.code
        return Done(status, *capfd.readouterr())

    return run


def json_of(done: Done) -> dict[str, Any]:
    """The facts of a command that has ended well."""
    assert (done.status, done.errors) == (0, ""), done
    return json.loads(done.output)
