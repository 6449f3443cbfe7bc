"""Whole programs, run with one library and with the other in its place."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import dataclass
from pathlib import Path

import psutil

import distpool

from .comparison import LIMIT_S, Pair, normalised

MODULES = {
    "multiprocessing": {"mp": "multiprocessing", "futures": "concurrent.futures"},
    "distpool": {"mp": "distpool", "futures": "distpool.futures"},
}

_STANDARD_HANGS = 2


@dataclass(frozen=True)
class Run:
    """How a program ended. Lines of workers come in any order, so the output is compared sorted."""

    status: int
    output: list[str]
    errors: str


def run_script(
    folder: Path,
    library: str,
    source: str,
    *,
    method: str = "",
    arguments: tuple[str, ...] = (),
    stop_at: str | None = None,
) -> Run:
    """Run `source`, in which MP and FUTURES stand for the library's modules and METHOD for the start method.

    A program that does not end in time, or that prints `stop_at` to its error stream, is killed with all its processes,
    and its status is -9.
    """
    home = folder / library
    home.mkdir(exist_ok=True)
    script = home / "program.py"
    text = textwrap.dedent(source).replace("METHOD", repr(method))
    names = MODULES[library]
    script.write_text(text.replace("MP", names["mp"]).replace("FUTURES", names["futures"]))
    return run_command([sys.executable, *(arguments or (str(script),))], home, stop_at)


def run_command(command: list[str], folder: Path, stop_at: str | None = None) -> Run:
    library_folder = str(Path(distpool.__file__).parent.parent)
    with (folder / "output").open("w+") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            # Unbuffered, the parts of one print() from two workers would mix.
            env={**os.environ, "PYTHONPATH": library_folder, "PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": ""},
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        out_of_time = threading.Timer(LIMIT_S, _kill, (process.pid,))
        out_of_time.start()
        errors = []
        with process.stderr:
            for line in process.stderr:
                errors.append(line)
                if stop_at is not None and stop_at in line:
                    _kill(process.pid)
        process.wait()
        out_of_time.cancel()
        out_of_time.join()
        output.seek(0)
        return Run(process.returncode, sorted(normalised(output.read()).splitlines()), normalised("".join(errors)))


def _kill(session: int) -> None:
    """All processes of the session, none of which starts another meanwhile, but those that remove what is left."""
    os.killpg(session, signal.SIGSTOP)
    for process in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(process.pid) == session:
                is_tracker = "multiprocessing.resource_tracker" in " ".join(process.info["cmdline"] or ())
                os.kill(process.pid, signal.SIGCONT if is_tracker else signal.SIGKILL)


def run_on_both(folder: Path, source: str, *, method: str = "", arguments: tuple[str, ...] = ()) -> Pair[Run]:
    """The standard library is run again when it hangs: now and then it does, at the end of a program with an open pool
    of forked workers. distpool may not."""
    standard = run_script(folder, "multiprocessing", source, method=method, arguments=arguments)
    for _ in range(_STANDARD_HANGS):
        if standard.status != -signal.SIGKILL:
            break
        standard = run_script(folder, "multiprocessing", source, method=method, arguments=arguments)
    return Pair(standard, run_script(folder, "distpool", source, method=method, arguments=arguments))


def require_same(runs: Pair[Run], *, status: int = 0) -> None:
    """Both ended with `status` and printed the same."""
    assert runs.standard.status == status, f"the program does not work on the standard library:\n{runs.standard.errors}"
    assert runs.distpool.status == status, runs.distpool.errors
    assert runs.distpool.output == runs.standard.output
