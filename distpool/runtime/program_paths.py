"""The paths of a program on the machine of a node: where its modules, its script and its working directory are there.

| `sys.path` of a worker, in this order | where the code was shipped | where it was not |
|---|---|---|
| the program's entries within the folder that is shipped, and the folder itself | in the node's copy | |
| the program's other entries, if the node has them | | as they are |
| the entries of the node's own interpreter: its standard library and packages | as they are | as they are |
| the program's other entries, if the node has them | as they are | |
| the entries of the program's interpreter, if the node has them | as they are | as they are |
"""

from __future__ import annotations

import os
from typing import Any

import msgspec


class ProgramPaths(msgspec.Struct, frozen=True):
    """`folder`: that is shipped, or nothing. `entries`: of the program's `sys.path`, in order; `installed`: those that
    belong to its interpreter."""

    folder: str
    entries: list[str]
    installed: list[str]


def main_here(main: dict[str, Any], paths: ProgramPaths, folder: str, own: list[str]) -> dict[str, Any]:
    """For `multiprocessing.spawn.prepare` in a worker of a node. `folder`: the node's copy, or nothing; `own`:
    `sys.path` of this interpreter."""
    here = {**main, "sys_path": _entries_here(paths, folder, own)}
    script = main.get("init_main_from_path")
    if script is not None and folder:
        here["init_main_from_path"] = _moved(script, paths.folder, folder) or script
    for name in ("dir", "orig_dir"):
        place = main.get(name)
        if place is None:
            continue
        moved = _moved(place, paths.folder, folder) if folder else place
        if moved is None or not os.path.isdir(moved):
            moved = folder or None
        if moved is None:
            del here[name]  # a worker stays where its node is
        else:
            here[name] = moved
    return here


def _entries_here(paths: ProgramPaths, folder: str, own: list[str]) -> list[str]:
    others = [entry for entry in paths.entries if os.path.exists(entry)]
    if folder:
        moved = [place for entry in paths.entries if (place := _moved(entry, paths.folder, folder)) is not None]
        others = [entry for entry in others if _moved(entry, paths.folder, folder) is None]
        found = [*moved, folder, *own, *others]
    else:
        found = [*others, *own]
    found += [entry for entry in paths.installed if os.path.exists(entry)]
    return list(dict.fromkeys(found))


def _moved(path: str, old: str, new: str) -> str | None:
    """Where a path within a folder is now; None for one that lies elsewhere."""
    if path == old:
        return new
    return os.path.join(new, path[len(old) + 1 :]) if path.startswith(f"{old}{os.sep}") else None
