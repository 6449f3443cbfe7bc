"""Environments with what a driver's `pip` asks for: made once on each node, beside its own packages.

An environment is a virtual one of the node's interpreter. After its own packages come those of the node, distpool among
them; pip is the node's, and so is its configuration.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path

from distpool import config
from distpool.base_errors import DistpoolError
from distpool.protocol.code import (
    Surroundings,
)

_LINES_SHOWN = 15

# pip ends with the thread that has started it, and so with its node.
_PIP = """
import os, runpy, sys
from distpool.runtime.parentage import die_with_parent
die_with_parent(int(sys.argv.pop(1)))
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def environment_key(surroundings: Surroundings) -> str:
    """By which the environment is known: the same requirements of the same interpreter; and the package, where pip may
    look into it."""
    requirements = surroundings.requirements
    package = surroundings.package if any(map(_may_be_local, requirements)) else ""
    facts = [sys.version, sys.executable, requirements, package]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _may_be_local(requirement: str) -> bool:
    return "://" not in requirement and ("/" in requirement or requirement.startswith(("-", ".")))


def make_environment(
    path: Path, requirements: list[str], folder: Path | None, limit_s: float, environment: Mapping[str, str]
) -> None:
    """`folder`: to which relative paths among the requirements are relative. `environment`: the variables for pip.

    Raises DistpoolError with pip's last lines.
    """
    venv.EnvBuilder(symlinks=True).create(path)
    python = python_of(path)
    packages = sysconfig.get_path("purelib", "venv", {"base": str(path), "platbase": str(path)})
    Path(packages, "distpool_node.pth").write_text(_paths_of_node(), encoding="utf-8")
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(requirements) + "\n")
        file.flush()
        arguments = ["install", "--no-input", "--disable-pip-version-check", "--requirement", file.name]
        try:
            done = subprocess.run(
                [python, "-W", "ignore", "-c", _PIP, str(os.getpid()), *arguments],
                cwd=folder or path,
                env={**environment, "PIP_USER": "0"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DistpoolError(f"pip took longer than {limit_s:g} s for {requirements}") from None
    if done.returncode:
        lines = done.stdout.decode(errors="replace").rstrip().splitlines()[-_LINES_SHOWN:]
        raise DistpoolError("\n".join([f"pip failed with exit code {done.returncode} for {requirements}:", *lines]))


def python_of(path: Path) -> str:
    """The environment's interpreter."""
    return str(path / "bin" / "python")


def _paths_of_node() -> str:
    """Lines that `site` reads: where this process finds its packages, after those of the environment."""
    own = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), sysconfig.get_config_var("DESTSHARED"))
    standard = set(map(os.path.realpath, own))
    entries = [entry for entry in sys.path if os.path.isdir(entry) and os.path.realpath(entry) not in standard]
    entries.append(str(Path(config.__file__).parent.parent))
    return "".join(f"import site; site.addsitedir({os.path.abspath(entry)!r})\n" for entry in entries)
