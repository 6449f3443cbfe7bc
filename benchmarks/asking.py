"""Ask the questions: each time in a fresh process, with a time limit, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil
from libraries import NOT_OFFERED, OURS, PEERS, STANDARD

FOLDER = Path(__file__).resolve().parent
LIMIT_S = 300
STOP_LIMIT_S = 5


@dataclass(frozen=True)
class Answer:
    """`figures` by key, or why there are none: `error` when it failed, `not_offered` when there is no such call."""

    question: str
    library: str
    round: int
    figures: dict[str, float] | None = None
    error: str | None = None
    not_offered: str | None = None


def ask(questions, peers, rounds, peer_rounds, peer_limit_s):
    """The answers of all rounds. A peer that does not offer a question or fails in it is not asked it again."""
    answers, given_up = [], set()
    for number in range(rounds):
        for question in questions:
            libraries = [STANDARD, OURS, *(peers if number < peer_rounds else [])]
            # By turns, so that none is always the one that finds the caches warm.
            for library in libraries if number % 2 == 0 else reversed(libraries):
                if (question, library) in given_up:
                    continue
                show_progress(f"round {number + 1} of {rounds}: {question}, {library}")
                answer = answer_of(question, library, number, peer_limit_s if library in PEERS else LIMIT_S)
                answers.append(answer)
                if answer.figures is None and library in PEERS:
                    given_up.add((question, library))
        print(f"round {number + 1} of {rounds} is done", file=sys.stderr, flush=True)
    return answers


def show_progress(text):
    """On a terminal, one line that is written over."""
    if sys.stderr.isatty():
        print(f"{text:70}", end="\r", file=sys.stderr, flush=True)


def answer_of(question, library, number, limit_s):
    # Files, not pipes: a library's helper that outlives its driver holds a pipe open.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as complaints:
        command = [sys.executable, str(FOLDER / f"{question}.py"), library]
        process = subprocess.Popen(
            command, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=complaints, text=True
        )
        try:
            status = process.wait(limit_s)
            reason = f"exit status {status}"
        except subprocess.TimeoutExpired:
            status, reason = None, f"no answer in {limit_s:g} s"
        finally:
            stop(process)
        output.seek(0)
        complaints.seek(0)
        lines, reasons = output.read().splitlines(), complaints.read().strip().splitlines()
    if status == 0 and lines:
        figures = json.loads(lines[-1])
        if NOT_OFFERED in figures:
            return Answer(question, library, number, not_offered=figures[NOT_OFFERED])
        return Answer(question, library, number, figures=figures)
    if status is not None and reasons:
        reason = reasons[-1][:200]
    return Answer(question, library, number, error=reason)


def environment():
    """That of this process, with this checkout's distpool, and with compiled modules kept as users keep them."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    kept["PYTHONPATH"] = os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return kept


def stop(process):
    """End the process and whatever it has started, if it has not ended by itself."""
    if process.poll() is not None:
        return
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        pass  # killed below, as all that it leaves
    for member in family:
        # psutil compares the start times, so a pid that is another's by now is left alone.
        try:
            member.kill()
        except psutil.NoSuchProcess:
            pass  # has ended meanwhile
    process.wait()
