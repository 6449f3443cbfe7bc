"""`distpool logs`: what the head and the nodes of this machine have written down about themselves."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from distpool.base_errors import DistpoolError
from distpool.cli.output import add_head, add_json, print_facts, table
from distpool.cli.processes import at_least_one
from distpool.logic.sizes import size_text
from distpool.runtime.own_log import log_folder, log_path, logs_in, parts_of
from distpool.transport.home import home_folder

if TYPE_CHECKING:
    from distpool.cli.output import Commands

_LOOK_EVERY_S = 0.2


def add_to(commands: Commands) -> None:
    logs = commands.add_parser("logs", help="the log of the head or of a node; without a name: which there are here")
    logs.add_argument("name", nargs="?", metavar="NODE|head", help="whose log to show")
    logs.add_argument("-n", "--lines", type=at_least_one, default=100, help="how many of the last (%(default)s)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    add_head(logs)
    add_json(logs)
    logs.set_defaults(run=_logs)


def _logs(options: argparse.Namespace) -> None:
    home = Path(home_folder())
    if options.name is None:
        _list(home, options)
        return
    path = log_path(home, options.name)
    if not path.exists():
        raise DistpoolError(_where_else(home, options))
    with open(path, encoding="utf-8", errors="replace") as file:
        # What is older is read first; then the file itself, from which there is more to come.
        lines = [*_older_lines(path, options.lines), *file][-options.lines :]
        if options.json:
            print_facts(
                {"name": options.name, "path": str(path), "lines": [line.rstrip("\n") for line in lines]}, options, ""
            )
            return
        sys.stdout.writelines(lines)
        sys.stdout.flush()
        if options.follow:
            for piece in followed(path, file):
                sys.stdout.write(piece)
                sys.stdout.flush()


def _list(home: Path, options: argparse.Namespace) -> None:
    facts: list[dict[str, Any]] = []
    for name, path in logs_in(home).items():
        size = sum(part.stat().st_size for part in parts_of(path))
        facts.append({"name": name, "path": str(path), "bytes": size, "written": path.stat().st_mtime})
    now = time.time()
    rows = [
        (fact["name"], size_text(fact["bytes"]), f"{now - fact['written']:.0f} s ago", fact["path"]) for fact in facts
    ]
    text = table([("log of", "size", "written", "path"), *rows])
    print_facts({"logs": facts}, options, text if rows else f"there are no logs in {log_folder(home)}")


def _older_lines(path: Path, count: int) -> list[str]:
    """Of the files before this one, up to so many."""
    lines: list[str] = []
    for part in parts_of(path)[1:]:
        if len(lines) >= count:
            break
        lines = part.read_text("utf-8", errors="replace").splitlines(keepends=True) + lines
    return lines


def followed(path: Path, file: TextIO) -> Iterator[str]:
    """What comes to the log of which `file` has been read to its end, also when the next file has been begun."""
    yield from _until_replaced(path, file)
    while True:
        with open(path, encoding="utf-8", errors="replace") as following:
            yield from _until_replaced(path, following)


def _until_replaced(path: Path, file: TextIO) -> Iterator[str]:
    """What comes to the file, until another one has its name."""
    is_replaced = False
    while True:
        piece = file.read()
        if piece:
            yield piece
        elif is_replaced:
            return
        else:
            try:
                is_replaced = os.stat(path).st_ino != os.fstat(file.fileno()).st_ino
            except FileNotFoundError:
                pass  # in this moment it is given its next name
            if not is_replaced:
                time.sleep(_LOOK_EVERY_S)


def _where_else(home: Path, options: argparse.Namespace) -> str:
    """A node of another machine has its log there, and the head knows where."""
    from distpool.runtime.asking import asked_status

    here = ", ".join(logs_in(home)) or "none"
    missing = f"there is no log of {options.name!r} in {log_folder(home)} (there are: {here})"
    try:
        nodes = asked_status(options.head).nodes
    except DistpoolError as error:
        return f"{missing}, and no head to ask for a node of that name: {error}"
    for node in nodes:
        if node.node == options.name and node.log:
            machine, _, path = node.log.partition(":")
            return f"node {node.node!r} has its log on {machine} in {path}: run `distpool logs {node.node}` there"
    return (
        f"{missing}, and the head knows no node of that name; there are: {', '.join(n.node for n in nodes) or 'none'}"
    )
