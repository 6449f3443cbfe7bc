"""What of a driver's program nodes get: the folder that is shipped, and by which of its paths its code is found.

The folder is the one that `distpool.init` was given, or that of the program's script; a program of `-c`, a notebook or
a console script of an installed package has none. Of a folder that holds more than a program (the home folder, one for
temporary files) only the modules that lie directly in it are taken.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
import tempfile
from multiprocessing import process, spawn
from typing import Any

from distpool.config import Settings
from distpool.protocol.code import (
    Surroundings,
)
from distpool.runtime import initialization
from distpool.runtime.main_view import ImportedMain
from distpool.runtime.packages import Package
from distpool.runtime.program_paths import ProgramPaths

_PLACES = ("dir", "orig_dir", "init_main_from_path")
_PACKAGES = ("site-packages", "dist-packages")


class ProgramCode:
    """The code of this program as it was when its first group was opened on nodes."""

    def __init__(self, settings: Settings) -> None:
        """Raises DistpoolError when the folder cannot be shipped as it is; the message names what is in the way."""
        chosen = initialization.chosen()
        self.package: Package | None = None
        if chosen.working_dir is not False:
            folder = chosen.working_dir or folder_of_program()
            if folder is not None:
                only_modules = chosen.working_dir is None and _holds_more(folder)
                self.package = Package(folder, settings, only_modules=only_modules)
        self._is_everywhere = chosen.working_dir is False
        self.surroundings = Surroundings(
            "" if self.package is None else self.package.hash,
            0 if self.package is None else self.package.size,
            list(chosen.environment.items()),
            list(chosen.requirements),
        )

    def main(self) -> dict[str, Any]:
        """By what `multiprocessing.spawn` makes a process like this one, but for `sys.path`; and the key by which it
        speaks to this program's managers."""
        current = process.current_process()
        data: dict[str, Any] = spawn.get_preparation_data(current.name)
        main = {"authkey": bytes(current.authkey)} | {
            name: data[name] for name in ("sys_argv", *_PLACES, "init_main_from_name") if name in data
        }
        for name in _PLACES:
            if name in main:
                main[name] = self._resolved(main[name])
        if not self._has_script(main.get("init_main_from_path")):
            main.pop("init_main_from_path", None)
        return main

    def paths(self) -> ProgramPaths:
        """By which workers find modules, as it is now."""
        own: list[str] = []
        others: list[str] = []
        for entry in sys.path:
            entry = self._resolved(os.path.abspath(entry))
            (own if _is_of_interpreter(entry) else others).append(entry)
        return ProgramPaths("" if self.package is None else self.package.folder, others, own)

    def view_of_main(self) -> ImportedMain:
        """What a worker's `__main__` has: what is in a script that nodes do not have travels by value."""
        is_module = getattr(sys.modules["__main__"], "__spec__", None) is not None
        return ImportedMain(importable=is_module or self._has_script(_main_file()))

    def close(self) -> None:
        if self.package is not None:
            self.package.close()

    def _has_script(self, path: str | None) -> bool:
        """Whether workers can import the program's script."""
        if path is None or self._is_everywhere:
            return path is not None
        return self.package is not None and self._resolved(path).removeprefix(f"{self.package.folder}{os.sep}") in (
            self.package.paths
        )

    def _resolved(self, path: str) -> str:
        """What lies in the folder without the links by which it may be known, as nodes do not have these."""
        real = os.path.realpath(path)
        if self.package is not None and f"{real}{os.sep}".startswith(f"{self.package.folder.rstrip(os.sep)}{os.sep}"):
            return real
        return path


def folder_of_program() -> str | None:
    """The folder by which the script's imports are found. None: there is no script, or it is an installed one."""
    path = _main_file()
    if path is None:
        return None
    folder = os.path.dirname(os.path.realpath(path))
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:  # python -m package.module
        for _ in range(spec.name.count(".")):
            folder = os.path.dirname(folder)
    return folder if os.path.isdir(folder) and not _is_of_interpreter(folder) else None


def _main_file() -> str | None:
    path = getattr(sys.modules["__main__"], "__file__", None)
    if path is None:
        return None
    original: str | None = process.ORIGINAL_DIR  # type: ignore[attr-defined]
    return os.path.normpath(os.path.join(original or "", path))


def _is_of_interpreter(folder: str) -> bool:
    """What is there belongs to this machine's installation: a node has its own."""
    names = folder.split(os.sep)
    if any(name in names for name in _PACKAGES):
        return True
    own = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "scripts")]
    own += [os.path.join(prefix, "bin") for prefix in {sys.prefix, sys.base_prefix}]
    own += [site.getuserbase()]
    places = {os.path.realpath(place) for place in own}
    real = os.path.realpath(folder)
    return any(real == place or real.startswith(f"{place}{os.sep}") for place in places) or real.endswith(".zip")


def _holds_more(folder: str) -> bool:
    """Than one program: the home folder or one above it, or one for everybody's temporary files."""
    home = os.path.realpath(os.path.expanduser("~"))
    shared = {os.path.realpath(place) for place in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm")}
    return folder in shared or f"{home}{os.sep}".startswith(folder.rstrip(os.sep) + os.sep)
