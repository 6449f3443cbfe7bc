"""Run the fault matrix: every fault on every class and start method, each cell in a process of its own.

    python -m tests.faults [--with-standard] [--write] [--only TEXT] [--cut-off SECONDS]

A cell that has not ended in time is a hang: its processes are killed. `--with-standard` runs the standard library's
classes too. `--write` puts the table into docs/guarantees.md. The exit status is 1 when distpool broke a promise.
"""

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from .cell import KINDS, METHODS, Subject, run_cell
from .faults import BY_NAME, Fault
from .table import DOCUMENT, LEGEND, Column, Entry, heading_of, render, write_into

STARTUP_S = 20.0


def main() -> int:
    options = parsed(sys.argv[1:])
    if options.cell:
        fault, *column = options.cell
        print(msgspec.json.encode(entry_of(BY_NAME[fault], tuple(column), options.cut_off)).decode())
        return 0
    columns = [("distpool", kind, method) for kind in KINDS for method in METHODS]
    if options.with_standard:
        columns += [("multiprocessing", kind, method) for kind in KINDS if kind != "Executor" for method in METHODS]
    faults = [name for name in BY_NAME if options.only in name]
    cells: dict[Column, dict[str, Entry]] = {column: {} for column in columns}
    for column, entries in cells.items():
        for name in faults:
            entries[name] = run_apart(name, column, options.cut_off)
            print(f"{heading_of(column):>26}  {name:<36} {entries[name].in_words()}", flush=True)
    table = render(faults, cells)
    print(f"\n{table}\n{LEGEND}")
    if options.write:
        machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, 2 workers"
        write_into(DOCUMENT, f"{table}\n\n{LEGEND}. {machine}.")
    broken = [
        f"{heading_of(column)}: {name}: {entry.in_words()}"
        for column, entries in cells.items()
        for name, entry in entries.items()
        if column[0] == "distpool" and not entry.as_promised
    ]
    print("\n".join(["", f"{len(broken)} cells of distpool's are not as promised", *broken]))
    return 1 if broken else 0


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Run the fault matrix.")
    parser.add_argument("--with-standard", action="store_true", help="the standard library's classes too")
    parser.add_argument("--write", action="store_true", help=f"put the table into docs/{DOCUMENT.name}")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the faults whose name has this text")
    parser.add_argument("--cut-off", type=float, default=5.0, metavar="SECONDS", help="after which a cell is a hang")
    parser.add_argument("--cell", nargs=4, metavar=("FAULT", "LIBRARY", "CLASS", "METHOD"), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def run_apart(fault: str, column: Column, cut_off_s: float) -> Entry:
    """One cell in a process, and in a session, of its own."""
    command = [sys.executable, "-m", __package__, "--cut-off", str(cut_off_s), "--cell", fault, *column]
    # A file and not a pipe: a worker that outlives its caller would hold a pipe open.
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL, start_new_session=True) as process,
    ):
        try:
            process.wait(3 * cut_off_s + STARTUP_S)
            output.seek(0)
            return msgspec.json.decode(output.read(), type=Entry)
        except subprocess.TimeoutExpired:
            return Entry("HANG", cut_off_s, innocent_lost=True, unusable=True)
        except msgspec.DecodeError:
            return Entry(f"the caller ended with status {process.returncode}", innocent_lost=True, unusable=True)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # Nothing is left of it.


def entry_of(fault: Fault, column: Column, cut_off_s: float) -> Entry:
    """Run the cell here. Workers that hang cannot end this process: whoever started it kills them."""
    library, kind, method = column
    with tempfile.TemporaryDirectory(prefix="fault-matrix-") as folder:
        subject = Subject(kind, method, library)
        verdict = run_cell(subject, fault, Path(folder), cut_off_s)
    entry = Entry(
        seen=verdict.faulty.in_words(),
        seconds=cut_off_s if verdict.faulty.hangs else verdict.faulty_s,
        innocent_lost=verdict.innocent_lost(),
        unusable=verdict.is_unusable(),
        ran_twice=bool(verdict.ran_twice()),
    )
    is_to_break = kind == "ProcessPoolExecutor" and fault.breaks
    entry.as_promised = (
        type(verdict.faulty.error) is fault.seen_by(kind)
        and entry.unusable == is_to_break
        and (is_to_break or not entry.innocent_lost)
        and not entry.ran_twice
    )
    if library == "multiprocessing":
        # Its pool may not end by itself, and this process would wait for it.
        print(msgspec.json.encode(entry).decode(), flush=True)
        os._exit(0)
    subject.end()
    return entry


if __name__ == "__main__":
    sys.exit(main())
