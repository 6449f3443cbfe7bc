"""What the threads of workers and agents of this machine are doing: they are asked by a signal.

Only a process that has the memory file for its answer, and catches the signal, is sent it: any other would be ended by
it. No right to look into the process is needed, and no further program.

Each thread is asked for itself, one after the other. One that told of the others would read what they are just changing
or freeing: that ended heads and nodes, with SIGSEGV.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from distpool.runtime.stack_answers import FILE, SIGNAL

_LINK = re.compile(rf"/memfd:{FILE}(?P<cluster>[0-9a-f]*):(?P<role>.*) \(deleted\)", re.DOTALL)
_BIT = 1 << (SIGNAL - 1)
_ANSWER_LIMIT_S = 2.0
_SILENCE_S = 0.05
"""Of a thread that runs, and has got the signal: it is none of Python's, and will not answer."""

_LOOK_EVERY_S = 0.001
_AT_ONCE = 16

_TGKILL = {"x86_64": 234, "aarch64": 131, "loongarch64": 131, "ppc64le": 250, "riscv64": 131, "s390x": 241}
"""The system call's number on each kind of machine. C libraries have offered it only since 2019."""


class Askable(NamedTuple):
    """A process that can be asked. `role`: "worker", "head", or "node" and its name. `cluster`: the mark of an agent's.
    `file`: for its answers."""

    pid: int
    role: str
    cluster: str
    file: Path


class _State(NamedTuple):
    """Of a thread. `text`: as the kernel shows it, "S (sleeping)". `blocks`: it takes no question now, as it answers
    one, or for good. `has_question`: one waits for it."""

    text: str
    blocks: bool
    has_question: bool


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
    if os.uname().machine not in _TGKILL:
        return f"(how to ask a thread is not known on {os.uname().machine})"
    try:
        if _askable(process.pid) != process:
            return "(it has ended)"
        with open(process.file, "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # one question at a time
            return _told_by_threads(process.pid, file)
    except (FileNotFoundError, ProcessLookupError):
        return "(it has ended)"


def _told_by_threads(pid: int, file: IO[bytes]) -> str:
    """The main thread first. Raises FileNotFoundError, ProcessLookupError: it has ended."""
    until = time.monotonic() + _ANSWER_LIMIT_S
    told = [_told_by_thread(pid, pid, file, until)]
    for tid in sorted(int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()):
        with suppress(FileNotFoundError, ProcessLookupError):  # only this thread has ended
            if tid != pid and not _state(pid, tid).blocks:  # as those of ZeroMQ
                told.append(_told_by_thread(pid, tid, file, max(until, time.monotonic() + _SILENCE_S)))
    return "\n\n".join(text for text in told if text)


def _told_by_thread(pid: int, tid: int, file: IO[bytes], until: float) -> str:
    """Nothing by one that is none of Python's."""
    before = _state(pid, tid)
    who = f"{'Main thread' if tid == pid else 'Thread'} {tid}, {before.text}"
    file.truncate(0)
    _ask(pid, tid)
    asked_at = time.monotonic()
    while True:
        # A thread takes no other question while it answers. This is looked at first, so that the answer is whole then.
        now = _state(pid, tid)
        file.seek(0)
        text = file.read().decode(errors="replace").strip()
        has_got_it = not now.has_question and not now.blocks
        if has_got_it and (text or now.text[0] == "S" or time.monotonic() - asked_at > _SILENCE_S):
            return f"{who} {text.removeprefix('Stack ')}" if text else ""
        if time.monotonic() > until:
            return f"{who}: no answer within {_ANSWER_LIMIT_S:g} s"
        time.sleep(_LOOK_EVERY_S)


def _ask(pid: int, tid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_TGKILL[os.uname().machine], pid, tid, SIGNAL) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


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


def _state(pid: int, tid: int) -> _State:
    fields = _fields(Path(f"/proc/{pid}/task/{tid}"))
    waiting = int(fields["SigPnd"], 16) | int(fields["ShdPnd"], 16)
    return _State(fields["State"], bool(int(fields["SigBlk"], 16) & _BIT), bool(waiting & _BIT))


def _fields(folder: Path) -> dict[str, str]:
    """The kernel's account of a process or thread."""
    lines = (folder / "status").read_text(errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
