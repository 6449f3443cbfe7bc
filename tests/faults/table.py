"""The fault matrix as a table: what a cell says in words, and where the table stands in the documentation."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "guarantees.md"
BEGIN = "<!-- fault matrix: begin -->"
END = "<!-- fault matrix: end -->"
LEGEND = "† an innocent call was lost too; ‡ no call could be made afterwards; (×2) an innocent call ran twice"


class Entry(msgspec.Struct):
    """One cell, as its process reports it. `seen`: the exception type, HANG, or what went wrong with the cell."""

    seen: str
    seconds: float = 0.0
    innocent_lost: bool = False
    unusable: bool = False
    ran_twice: bool = False
    as_promised: bool = False

    def in_words(self) -> str:
        marks = " †" * self.innocent_lost + " ‡" * self.unusable + " (×2)" * self.ran_twice
        if self.seen == "HANG":
            return f"**HANG** >{self.seconds:.0f} s{marks}"
        return f"{self.seen} {self.seconds:.3f} s{marks}"


Column = tuple[str, str, str]
"""(library, class, start method)"""


def heading_of(column: Column) -> str:
    library, kind, method = column
    short = {"ProcessPoolExecutor": "PPE"}.get(kind, kind)
    return f"{'standard ' if library == 'multiprocessing' else ''}{short} ({method})"


def render(faults: Iterable[str], cells: Mapping[Column, Mapping[str, Entry]]) -> str:
    """A Markdown table: one row for each fault, one column for each class and start method, and the sums."""
    rows = [["fault in one call", *(heading_of(column) for column in cells)], ["---"] * (len(cells) + 1)]
    rows += [[fault, *(entries[fault].in_words() for entries in cells.values())] for fault in faults]
    for name, is_counted in SUMS.items():
        rows.append([f"**{name}**", *(f"**{sum(map(is_counted, entries.values()))}**" for entries in cells.values())])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


SUMS = {
    "hangs": lambda entry: entry.seen == "HANG",
    "innocent calls lost": lambda entry: entry.innocent_lost,
    "no call possible afterwards": lambda entry: entry.unusable,
    "as promised": lambda entry: entry.as_promised,
}


def write_into(document: Path, table: str) -> None:
    """Put the table between the markers of the document."""
    text = document.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    document.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")
