"""What the threads of workers and agents of this machine are doing: they are asked by a signal.

Only a process that has the memory file for its answer, and catches the signal, is sent it: any other would be ended by
it. No right to look into the process is needed, and no further program.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple

from distpool.runtime.stack_answers import FILE, SIGNAL

_LINK = re.compile(rf"/memfd:{FILE}(?P<cluster>[0-9a-f]*):(?P<role>.*) \(deleted\)", re.DOTALL)
_BIT = 1 << (SIGNAL - 1)
_ANSWER_LIMIT_S = 2.0
_LOOK_EVERY_S = 0.002
_AT_ONCE = 16


class Askable(NamedTuple):
    """A process that can be asked. `role`: "worker", "head", or "node" and its name. `cluster`: the mark of an agent's.
    `file`: for its answers."""

    pid: int
    role: str
    cluster: str
    file: Path


def askable_processes() -> list[Askable]:
    """Those of this user on this machine."""
    pids = sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [found for pid in pids if (found := _askable(pid)) is not None]


def those_below(roots: set[int], there: list[Askable]) -> list[Askable]:
    """Of those that are there: these processes, and their workers."""
    return [process for process in there if process.pid in roots or roots.intersection(ancestors_of(process.pid))]


def stacks_of(processes: list[Askable]) -> list[str]:
    """What the threads of each are doing; or in brackets why that is not known."""
    # At the same time, as one that is stopped is waited for.
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(_stack_of, processes))


def ancestors_of(pid: int) -> Iterator[int]:
    """Its parent, that one's parent, and so on."""
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
        except OSError:
            return
        yield pid


def _stack_of(process: Askable) -> str:
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return "(it has ended)"
    try:
        # Only now, when the number cannot become another process's.
        if _askable(process.pid) != process:
            return "(it has ended)"
        with open(process.file, "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # one question at a time
            file.truncate(0)
            deaf = {thread for thread, blocked, _ in _threads(process.pid) if blocked}
            signal.pidfd_send_signal(descriptor, SIGNAL)
            return _answer(process.pid, file, deaf)
    except (FileNotFoundError, ProcessLookupError):
        return "(it has ended)"
    finally:
        os.close(descriptor)


def _answer(pid: int, file: IO[bytes], deaf: set[str]) -> str:
    """`deaf`: the threads that block the signal for good."""
    until = time.monotonic() + _ANSWER_LIMIT_S
    text = b""
    while True:
        # A thread blocks the signal while it answers. This is looked at first, so that the answer is whole then.
        is_over = not any(waits or (blocked and thread not in deaf) for thread, blocked, waits in _threads(pid))
        text += file.read()
        if (text and is_over) or (text and time.monotonic() > until):
            return text.decode(errors="replace").rstrip()
        if time.monotonic() > until:
            return f"(no answer within {_ANSWER_LIMIT_S:g} s; its state: {_fields(Path(f'/proc/{pid}'))['State']})"
        time.sleep(_LOOK_EVERY_S)


def _askable(pid: int) -> Askable | None:
    folder = Path(f"/proc/{pid}")
    try:
        if folder.stat().st_uid != os.getuid() or not int(_fields(folder)["SigCgt"], 16) & _BIT:
            return None
        for entry in (folder / "fd").iterdir():
            match = _LINK.fullmatch(os.readlink(entry))
            if match is not None:
                return Askable(pid, match["role"], match["cluster"], entry)
    except (OSError, KeyError):
        pass  # it has just ended, or is none that may be looked at
    return None


def _threads(pid: int) -> list[tuple[str, bool, bool]]:
    """Of each: its number, whether it blocks the signal, and whether the signal waits for it or any other."""
    threads = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            fields = _fields(task)
        except OSError:
            continue  # it has just ended
        waits = (int(fields["SigPnd"], 16) | int(fields["ShdPnd"], 16)) & _BIT
        threads.append((task.name, bool(int(fields["SigBlk"], 16) & _BIT), bool(waits)))
    return threads


def _fields(folder: Path) -> dict[str, str]:
    """The kernel's account of a process or thread."""
    lines = (folder / "status").read_text(errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
