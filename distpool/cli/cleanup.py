"""`distpool cleanup`: remove what processes of this user have left behind that were killed, or whose machine was."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from distpool.cli.output import add_json, print_facts, table
from distpool.quantities import duration_s
from distpool.settings import current

if TYPE_CHECKING:
    from distpool.cli.output import Commands


def add_to(commands: Commands) -> None:
    cleanup = commands.add_parser("cleanup", help="remove what ended processes of this user have left behind")
    cleanup.add_argument("--dry-run", action="store_true", help="only show what would be removed")
    cleanup.add_argument(
        "--older-than",
        type=_duration,
        default="7d",
        metavar="TIME",
        help="of logs, since their last line (%(default)s)",
    )
    add_json(cleanup)
    cleanup.set_defaults(run=_cleanup)


def _cleanup(options: argparse.Namespace) -> int:
    from distpool.runtime.leftovers import leftovers, remove

    found = list(leftovers(current(), options.older_than))
    failures = {} if options.dry_run else {entry.path: remove(entry) for entry in found}
    failed = {path: why for path, why in failures.items() if why}
    facts = [{"path": str(entry.path), "why": entry.why} for entry in found if entry.path not in failed]
    what = "would be removed" if options.dry_run else "removed"
    rows = [(what, str(fact["path"]), str(fact["why"])) for fact in facts]
    rows += [("NOT removed", str(path), why) for path, why in failed.items()]
    text = table([("", "path", "why"), *rows]) if rows else "nothing was left behind"
    told = {"dry_run": options.dry_run, "removed": facts, "failed": {str(path): why for path, why in failed.items()}}
    print_facts(told, options, text)
    return 1 if failed else 0


def _duration(text: str) -> float:
    try:
        return duration_s(text, "the time")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
