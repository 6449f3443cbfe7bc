"""`python -m distpool script.py`: the standard library's process pools replaced by distpool's, and in children too.

Nothing else ever replaces anything. This module decides what the command line means and which names change:
`multiprocessing.pool.Pool`, and through it `multiprocessing.Pool` and every context's `Pool`; `ProcessPoolExecutor` of
`concurrent.futures` and of its `process` module. Everything else of the standard library stays as it is: processes,
queues, locks, managers and `ThreadPool`. What the pools do is left to `distpool.pool` and `distpool.futures`, how a
program is run to `distpool.script`.

Fork children inherit the change. Children under spawn and forkserver get it inside their preparation data, which they
unpickle before they import the script as `__mp_main__`, so that the script's imports find the replaced names there too.
"""

import concurrent.futures
import concurrent.futures.process
import importlib.metadata
import multiprocessing.pool
import multiprocessing.spawn
import os
import sys
from abc import ABCMeta
from collections.abc import Callable
from types import ModuleType
from typing import Any

# Imported before anything is replaced: they take the standard classes they build on at their import.
import distpool.futures
import distpool.pool
from distpool.script import PACKAGE_FOLDER, run_module, run_script

USAGE = """\
usage: python -m distpool [-h] [--version] program [argument ...]

Run an unmodified Python program with multiprocessing.Pool and concurrent.futures.ProcessPoolExecutor replaced by
distpool's, in its process and in the processes it starts with multiprocessing.

program:
  script.py   a script, or a folder or zip archive with a __main__.py
  -m module   a module or package, as with python -m

options:
  -h, --help  show this message and exit
  --version   show distpool's version and exit
"""

# Run in the child by a callable that needs no import; the parent's path comes along because the child has only its own
# yet, on which distpool or what it needs may be missing. prepare() sets the same path a moment later.
CHILD_CODE = """\
import sys
sys.path[:] = search_path
import distpool.drop_in
distpool.drop_in.replace_pools()
"""


def main(command_line: list[str]) -> int:
    """Do what `python -m distpool command_line…` asks; returns the exit code unless the program itself exits."""
    match command_line:
        case ["-h" | "--help", *_]:
            print(USAGE, end="")
        case ["--version", *_]:
            print("distpool", _version())
        case ["-m", name, *arguments]:
            replace_pools()
            run_module(name, arguments)
        case [path, *arguments] if not path.startswith("-"):
            replace_pools()
            run_script(path, arguments)
        case _:
            print(USAGE + "\n" + _complaint(command_line), file=sys.stderr)
            return 2
    return 0


def _complaint(command_line: list[str]) -> str:
    match command_line:
        case []:
            return "error: no program given"
        case ["-m"]:
            return "error: argument expected for the -m option"
        case _:
            return f"error: unknown option {command_line[0]!r}; valid ones: -h, --help, --version, -m"


def _version() -> str:
    try:
        return importlib.metadata.version("distpool")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def replace_pools() -> None:
    """Replace the standard process pools in this process, and in its children by whatever start method; idempotent."""
    if isinstance(multiprocessing.pool, _PoolModule):
        return
    # By assignment to the class, not to the name: ThreadPool and the standard Pool find their own methods through the
    # name `Pool` of the module's globals, which must go on meaning the standard class.
    multiprocessing.pool.__class__ = _PoolModule
    for module in (concurrent.futures, concurrent.futures.process):
        vars(module)["ProcessPoolExecutor"] = distpool.futures.ProcessPoolExecutor
    spawn: Any = multiprocessing.spawn
    spawn.get_preparation_data = _with_replacement(spawn.get_preparation_data)
    if os.name == "posix":
        _keep_main_out_of_fork_server()


class Pool(distpool.pool.Pool, metaclass=ABCMeta):
    """distpool's Pool under the standard one's name: a ThreadPool goes on passing for one where a library asks."""


Pool.register(multiprocessing.pool.ThreadPool)


class _PoolModule(ModuleType):
    """The type of the module `multiprocessing.pool` once pools are replaced: importers get distpool's Pool."""

    _pool: Any = Pool

    @property
    def Pool(self) -> Any:
        return type(self)._pool

    @Pool.setter
    def Pool(self, value: Any) -> None:
        # unittest.mock saves what the module's dict holds, the standard class, and puts that back in the end.
        type(self)._pool = Pool if value is vars(self)["Pool"] else value


class _Replacement:
    """Unpickles to nothing, and replaces the pools of the process that unpickles it."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        search_path = [folder or os.getcwd() for folder in sys.path]
        if PACKAGE_FOLDER not in search_path:
            search_path.append(PACKAGE_FOLDER)
        return exec, (CHILD_CODE, {"search_path": search_path})


def _with_replacement(get_preparation_data: Callable[[str], dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
    def get_preparation_data_with_replacement(name: str) -> dict[str, Any]:
        return {"distpool_replacement": _Replacement(), **get_preparation_data(name)}

    return get_preparation_data_with_replacement


def _keep_main_out_of_fork_server() -> None:
    """Let each forkserver child import the script itself, after the replacement.

    The fork server gets no preparation data, so a script that it imported in advance would be bound to the standard
    classes. Other preloaded modules stay: they may be large, and seldom import a pool by name.
    """
    from multiprocessing import forkserver

    ensure_running = forkserver.ForkServer.ensure_running

    def ensure_running_without_main(self: Any) -> None:
        asked = self._preload_modules
        self._preload_modules = [name for name in asked if name != "__main__"]
        try:
            ensure_running(self)
        finally:
            self._preload_modules = asked

    forkserver.ForkServer.ensure_running = ensure_running_without_main  # type: ignore[method-assign]
    forkserver.ensure_running = forkserver._forkserver.ensure_running
