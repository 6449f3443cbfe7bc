"""What the commands have in common: the options that several have, and how facts are printed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distpool.quantities import duration_s

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_head(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--head", metavar="ADDRESS", help="DISTPOOL_ADDRESS, or the head that runs on this machine")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def seconds(text: str) -> float:
    """The type of an option that is a time, such as "30s"."""
    try:
        return duration_s(float(text) if text.strip().isdecimal() else text, "the time")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def print_facts(facts: dict[str, Any], options: argparse.Namespace, text: str) -> None:
    """As JSON where that is asked for, else as text for people."""
    print(json.dumps(facts) if options.json else text, flush=True)


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns as wide as they have to be; the first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
