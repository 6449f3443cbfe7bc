"""`distpool logs`: what the head and the nodes have written down about themselves, here and on other machines."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distpool.base_errors import DistpoolError
from distpool.cli.output import add_head, add_json, print_facts, table
from distpool.cli.processes import at_least_one
from distpool.ids import NodeId
from distpool.logic.shown import shown
from distpool.logic.sizes import size_text
from distpool.protocol.cluster import AskLog
from distpool.protocol.inquiries import LogTold
from distpool.runtime.own_log import Place, is_kept, log_folder, log_path, logs_in, part_of_log, parts_of
from distpool.transport.home import home_folder

if TYPE_CHECKING:
    from distpool.cli.output import Commands

_LOOK_EVERY_S = 0.2
_ASK_EVERY_S = 1.0
_MOST_BYTES = 16 * 1024 * 1024
_LONGEST_LINE = 4096

Read = Callable[[Place | None], tuple[list[str], Place]]
"""Lines of a log, with their ends: those that follow a place, or the last ones; and the place where they end."""


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
    with ExitStack() as stack:
        where, read, every_s = _found(path, home, options, stack)
        lines, place = read(None)
        lines = lines[-options.lines :]
        if options.json:
            facts = {"name": options.name, "path": where, "lines": [line.rstrip("\n") for line in lines]}
            print_facts(facts, options, "")
            return
        _show(lines)
        while options.follow:
            _wait(every_s)
            lines, place = read(place)
            _show(lines)


def _found(path: Path, home: Path, options: argparse.Namespace, stack: ExitStack) -> tuple[str, Read, float]:
    """Where the log lies, how it is read, and how often. One here of a process that has ended, perhaps because it was
    refused, does not hide that of a node elsewhere."""
    here = str(path), _reader_here(path), _LOOK_EVERY_S
    if is_kept(path):
        return here
    try:
        return *_reader_elsewhere(home, options, stack), _ASK_EVERY_S
    except DistpoolError:
        if path.exists():
            return here
        raise


def _wait(seconds: float) -> None:
    time.sleep(seconds)


def _show(lines: list[str]) -> None:
    sys.stdout.writelines(lines)
    sys.stdout.flush()


def _reader_here(path: Path) -> Read:
    def read(after: Place | None) -> tuple[list[str], Place]:
        text, place = part_of_log(path, after, _MOST_BYTES)
        return text.splitlines(keepends=True), place

    return read


def _reader_elsewhere(home: Path, options: argparse.Namespace, stack: ExitStack) -> tuple[str, Read]:
    """The log of a node that is not here, or of the head, is told by itself; and where it lies."""
    from distpool.cli.asking import Asking

    missing = (
        f"there is no log of {options.name!r} in {log_folder(home)} (there are: {', '.join(logs_in(home)) or 'none'})"
    )
    try:
        asking = stack.enter_context(Asking(options.head))
    except DistpoolError as error:
        raise DistpoolError(f"{missing}, and no head to ask for it: {error}") from None

    def ask(after: Place) -> LogTold:
        return asking.answer(AskLog(NodeId(options.name), asking.next_number(), *after), LogTold)

    def read(after: Place | None) -> tuple[list[str], Place]:
        told = ask(after or Place(0, 0))
        lines = [f"{shown(line, _LONGEST_LINE)}\n" for line in told.text.splitlines()]
        return lines, Place(told.file, told.offset)

    return shown(ask(Place(0, 0)).where), read


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
